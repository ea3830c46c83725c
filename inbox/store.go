package inbox

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
)

// ErrFenced says that a partition's lease has passed to another holder: the batch is not
// committed, and the reader is given up.
var ErrFenced = errors.New("inbox: the partition's lease has passed to another instance")

// Store is what the consumer needs of a service's database. Methods that take a
// transaction run inside it; the others use a connection of their own. A store is safe
// for concurrent use; a transaction is used by one goroutine at a time.
//
// Slices may be long (a batch's worth): a store sends them in as few statements as its
// database allows, and none at all for an empty slice.
//
// What is written in a batch may be deferred to a later call of the batch's, at the latest to
// its Commit: that call's error is the write's then.
type Store interface {
	// TxType is the type of the transaction that handlers get, for example *sql.Tx.
	TxType() reflect.Type
	// Begin opens the transaction of a batch. On a database with one writer it takes the
	// write lock at once.
	Begin(ctx context.Context) (Batch, error)
	// Retryable reports whether the same batch may succeed if it is simply tried again:
	// busy, deadlock, serialization failure, connection lost.
	Retryable(err error) bool

	DedupStore
	BarrierStore
	HeldStore
	LeaseStore
	lock.Store
}

// Looker is a store that answers in one round trip what a batch begins with: what [Store.Handled],
// [Store.HeldAmong], [Store.LockBarriers] and [lock.Store.LockQueues] answer, in this order. Implementing it is optional.
type Looker interface {
	Look(ctx context.Context, tx skald.Tx, group string, q Question) (Known, error)
}

// Question is what a batch asks about its messages.
type Question struct {
	IDs      []skald.ID
	Keys     []ChannelKey // which of them are blocked
	Arrived  []skald.ID   // which of them are held
	Barriers []BarrierKey
	Locks    []lock.Key // whose queues are to be locked and read
}

// Known is what a store knows of a batch's messages.
type Known struct {
	Handled  []Handled
	Blocked  []ChannelKey
	Held     []skald.ID
	Barriers []Barrier
	Locks    []lock.Row // as [lock.Store.LockQueues] returns them
}

// look asks a store, in as few round trips as it can.
func look(ctx context.Context, s Store, tx skald.Tx, group string, q Question) (k Known, err error) {
	if together, ok := s.(Looker); ok {
		return together.Look(ctx, tx, group, q)
	}
	if k.Handled, err = s.Handled(ctx, tx, group, q.IDs); err != nil {
		return k, err
	}
	if k.Blocked, k.Held, err = s.HeldAmong(ctx, tx, group, q.Keys, q.Arrived); err != nil {
		return k, err
	}
	if k.Barriers, err = s.LockBarriers(ctx, tx, q.Barriers); err != nil || len(q.Locks) == 0 {
		return k, err
	}
	k.Locks, err = s.LockQueues(ctx, tx, q.Locks)
	return k, err
}

// Batch is an open transaction that the runtime owns.
type Batch interface {
	// Tx is what handlers get. Calling Commit on it fails, and calling Rollback makes the
	// batch fail: the runtime ends the transaction.
	Tx() skald.Tx
	// Flush sends what handlers have queued on the transaction, so that its errors are known:
	// on a store whose transactions have a queue of statements. It does nothing where
	// statements are executed one by one.
	Flush(ctx context.Context) error
	// Await flushes if a handler waits for the result of anything that it has queued; else the
	// queue may wait for the commit.
	Await(ctx context.Context) error
	// Commit flushes first; a store may send the queue and the commit together.
	Commit(ctx context.Context) error
	// Rollback undoes everything, and drops what is queued. After Commit it does nothing. It
	// may be called while a handler is stuck in a statement, from another goroutine.
	Rollback() error
	// Savepoint flushes, then marks the state to which RollbackTo returns: an error of what was
	// queued before is its own. There is at most one at a time.
	Savepoint(ctx context.Context) error
	// Release forgets the savepoint and keeps what was written or queued since.
	Release(ctx context.Context) error
	// RollbackTo undoes what was written since the savepoint, drops what was queued since, and
	// forgets the savepoint. It mends a transaction that a statement since then has broken.
	RollbackTo(ctx context.Context) error
	// CheapSavepoints reports that a savepoint costs no round trip, so that every message
	// that is handled by itself gets one on the first pass already.
	CheapSavepoints() bool
}

// DedupStore remembers which messages a group has handled.
type DedupStore interface {
	// Handled returns those of ids that the group has handled.
	Handled(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) ([]Handled, error)
	// RecordHandled adds records. An id that the group has handled already is an error.
	RecordHandled(ctx context.Context, tx skald.Tx, group string, now time.Time, handled []Handled) error
	// CleanInbox deletes up to limit records (dedup records and barriers) of messages
	// handled before the moment, and returns how many; 0 when there are no more.
	CleanInbox(ctx context.Context, before time.Time, limit int) (int, error)
}

// Handled is the record of a handled message.
type Handled struct {
	ID skald.ID
	// Reply is the recorded reply in the form of [skald.Message.AppendBinary], nil when the
	// message was not answered.
	Reply []byte
}

// BarrierStore keeps the participants' side of compensation: one row for each saga, step
// and attempt, so that a do and its undo exclude each other whatever their order.
type BarrierStore interface {
	// LockBarriers returns those of keys that are recorded. Until the transaction ends no
	// other transaction can record or change any of keys, recorded or not.
	LockBarriers(ctx context.Context, tx skald.Tx, keys []BarrierKey) ([]Barrier, error)
	// SaveBarriers inserts or replaces barriers; the keys were locked before.
	SaveBarriers(ctx context.Context, tx skald.Tx, now time.Time, barriers []Barrier) error
}

// BarrierKey identifies one attempt at one step of one saga.
type BarrierKey struct {
	Saga    skald.ID
	Step    string
	Attempt int
}

// Barrier is what is known of an attempt.
type Barrier struct {
	BarrierKey
	State BarrierState
	// Command is the id of the do that landed or was refused; zero when none came.
	Command skald.ID
}

// BarrierState says what happened to an attempt.
type BarrierState string

// The states of a barrier.
const (
	BarrierDone    BarrierState = "done"    // the do landed
	BarrierRefused BarrierState = "refused" // the do was refused: nothing to undo
	BarrierUndone  BarrierState = "undone"  // undone, or the undo came first
	BarrierBarred  BarrierState = "barred"  // the bar came first
)

// HeldStore keeps messages that wait: for their next attempt, behind another message of
// their key, or for an operator.
type HeldStore interface {
	// HeldAmong returns which of keys are blocked by a held message of the group, and which
	// of ids are held by it.
	HeldAmong(ctx context.Context, tx skald.Tx, group string, keys []ChannelKey, ids []skald.ID) ([]ChannelKey, []skald.ID, error)
	// Hold inserts messages at the end of their keys' queues, in the order given. A message
	// that the group holds already keeps its place and gets the new state, attempts, next
	// attempt and reason; whether it is apart stays as well.
	Hold(ctx context.Context, tx skald.Tx, group string, held []Held) error
	// Unhold removes messages, and makes the first remaining one of each of their keys due
	// now if it was following.
	Unhold(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) error
	// ReleaseHeldDos finds the held messages that are the do (header sagaaction) of one of
	// keys, makes those that are retrying or parked due now, and returns the keys found.
	ReleaseHeldDos(ctx context.Context, tx skald.Tx, group string, keys []BarrierKey) ([]BarrierKey, error)
	// DueHeld returns, for up to limit keys whose first message is retrying and due, that
	// message and what follows it, in order within the key, no more than limit messages.
	DueHeld(ctx context.Context, group string, now time.Time, limit int) ([]Held, error)
	// NextHeld returns the earliest next attempt of a retrying message; false when none.
	NextHeld(ctx context.Context, group string) (time.Time, bool, error)
	// ListHeld returns held messages in order of arrival, after the given place, at most
	// limit; an empty group means all.
	ListHeld(ctx context.Context, group string, after int64, limit int) ([]Held, error)
	// Redrive makes parked or retrying messages due now, with their attempts reset, and
	// returns how many it found.
	Redrive(ctx context.Context, group string, ids []skald.ID) (int, error)
}

// Queue is the queue in which a held message waits: its key's, or its own.
func (h *Held) Queue() ChannelKey {
	if h.Apart {
		return ChannelKey{h.Message.Channel, h.Message.ID.String()}
	}
	return keyOf(&h.Message)
}

// ChannelKey is a key within its channel: the unit of order.
type ChannelKey struct{ Channel, Key string }

// Held is a message that waits in the consumer's database.
type Held struct {
	Message skald.Message
	// Raw is what arrived when it could not be decoded; Message then has an id drawn by the
	// runtime and the channel, and no key.
	Raw   []byte
	Group string // set by the store
	// Apart says that the message is in a queue of its own, whatever its key: it blocks nobody. A message
	// without a key is.
	Apart bool
	// Place in the order of arrival; set by the store.
	Place       int64
	State       HeldState
	Attempts    int
	NextAttempt time.Time // of a retrying message
	Reason      string
	HeldAt      time.Time // set once
}

// HeldState says what a held message waits for.
type HeldState string

// The states of a held message.
const (
	HeldRetrying  HeldState = "retrying"  // waits for its next attempt
	HeldFollowing HeldState = "following" // waits behind another message of its key
	HeldParked    HeldState = "parked"    // waits for an operator
)

// LeaseStore gives each partition one reader and keeps how far it has read.
type LeaseStore interface {
	// ClaimPartitions takes those of partitions that nobody holds, whose lease has expired, or that the
	// holder has itself, and returns them with their positions. A claim that changes the holder
	// raises the epoch.
	ClaimPartitions(ctx context.Context, holder string, partitions []Partition, ttl time.Duration) ([]Lease, error)
	// RenewPartitions extends the leases and returns those that the holder still has.
	RenewPartitions(ctx context.Context, holder string, leases []Lease, ttl time.Duration) ([]Lease, error)
	// ReleasePartitions gives leases up at once.
	ReleasePartitions(ctx context.Context, holder string, leases []Lease) error
	// SavePositions writes the leases' positions in the batch's transaction, if the epochs are
	// still theirs; [ErrFenced] otherwise.
	SavePositions(ctx context.Context, tx skald.Tx, leases []Lease) error
}

// Partition is one ordered part of a channel as one subscriber group reads it.
type Partition struct {
	Channel string
	Group   string
	Number  int
}

// Lease is the right to read a partition until it expires or is fenced off.
type Lease struct {
	Partition
	// Epoch rises whenever the lease changes hands: it fences the earlier holder off.
	Epoch    int64
	Position Position
}

// Position is how far a group has handled a partition. The zero Position is before the
// beginning. Its fields belong to the broker adapter; stores keep them as they are.
type Position struct {
	// Incarnation of the broker's stream: another one means that the stream was wiped or
	// restored, and sequences start anew.
	Incarnation string
	Sequence    uint64
	// Last is the id of the message at Sequence, so that the adapter can check that the
	// stream still is the one that was read.
	Last skald.ID
}
