package lock

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/skald-go/skald"
)

// Key is what a lock is on.
type Key struct {
	Resource skald.Resource `json:"resource"`
	Key      string         `json:"key"`
}

// String is for people.
func (k Key) String() string { return fmt.Sprintf("%s %q", k.Resource, k.Key) }

// Owner is whose a lock is: a saga, or the root of the family that it belongs to, in one of its rounds.
type Owner struct {
	// Root is the saga's id, or that of its outermost parent. Ids sort by the moment at which they were
	// drawn: the smaller one is older.
	Root skald.ID
	// Round counts how often the root has started. It fences off what an earlier round left behind.
	Round int
}

// older reports whether an owner is older than another.
func (o Owner) older(than Owner) bool { return bytes.Compare(o.Root[:], than.Root[:]) < 0 }

// Row is one saga's place in the queue for a lock. There is at most one for a key and a root.
type Row struct {
	Key
	Owner
	// Place orders the rows of a key, from 1: the first one holds the lock.
	Place int
	// Saga is the one whose step asked, Name that of its definition.
	Saga skald.ID
	Name string
	// Step that asked, empty for a reservation.
	Step string
	// Uses counts the steps that have landed under the lock and are neither undone nor decided: the lock is released with
	// the last. None has while the saga waits, or has the lock before it comes to the step.
	Uses int
	// Group whose held message Message waits; both are zero in the row of who took the lock at once.
	Group   string
	Message skald.ID
	// Since when it holds the lock, or waits for it.
	Since time.Time
}

// Store is what semantic locks need of a service's database. Methods that take a transaction run
// inside it; in a batch of the runtime's their writes may be deferred, at the latest to its Commit,
// whose error theirs is then. A store is safe for concurrent use.
type Store interface {
	// LockQueues returns the rows of keys, those of a key in the order of their places. Until the
	// transaction ends, or returns to a savepoint that was set before, no other transaction can add,
	// change or remove rows of any of keys, whether there are any or not.
	LockQueues(ctx context.Context, tx skald.Tx, keys []Key) ([]Row, error)
	// LockedBy returns the keys in whose queues a root has a row.
	LockedBy(ctx context.Context, tx skald.Tx, root skald.ID) ([]Key, error)
	// SaveLocks inserts rows, of which none is there of the same key and root; the keys' queues were
	// locked before.
	SaveLocks(ctx context.Context, tx skald.Tx, rows []Row) error
	// DeleteLocks removes the rows of these keys and roots; the keys' queues were locked before.
	DeleteLocks(ctx context.Context, tx skald.Tx, rows []Row) error
	// WakeHeld makes held messages of a group due now that have a next attempt: those that waited.
	WakeHeld(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) error
	// ListLocks returns the rows of up to limit keys that come after a key, in the order of resource,
	// key and place: an empty resource means all.
	ListLocks(ctx context.Context, resource skald.Resource, after Key, limit int) ([]Row, error)
}
