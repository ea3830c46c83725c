package relay

import (
	"context"
	"errors"
	"time"

	"github.com/skald-go/skald"
)

// ErrFenced says that the relay's lease has passed to another holder.
var ErrFenced = errors.New("relay: the lease has passed to another instance")

// Position is a place in the outbox's commit order: where the transaction committed, and
// the message's index in it. A source that polls a single-writer database uses the row's
// sequence as Commit. It serves as a checkpoint only; messages are identified by their id.
type Position struct {
	Commit uint64
	Index  uint32
}

// Before reports whether p comes before q.
func (p Position) Before(q Position) bool {
	return p.Commit < q.Commit || p.Commit == q.Commit && p.Index < q.Index
}

// Record is a message with its place in the outbox.
type Record struct {
	Position Position
	Message  skald.Message
	// AddedAt is when the row was added, for the lag.
	AddedAt time.Time
}

// Checkpoint is how far the outbox is settled: everything up to Position is published, or
// held, and surely on the broker's disk.
type Checkpoint struct {
	Position Position
	// Mark is the publisher's own note of what the broker held then, opaque to the store. With
	// it the publisher notices a broker that was wiped or restored.
	Mark string
}

// Lag is how far the relay is behind.
type Lag struct {
	Messages int64         // unsettled messages in the outbox
	Age      time.Duration // of the oldest of them
}

// Source is what the relay needs of a store. It is safe for concurrent use.
type Source interface {
	// AcquireLease takes the relay's lease when it is free, expired or the holder's own; false
	// when another holds it. A change of holder raises the epoch.
	AcquireLease(ctx context.Context, holder string, ttl time.Duration) (Lease, bool, error)
	// RenewLease extends the lease; [ErrFenced] when it has passed to another.
	RenewLease(ctx context.Context, lease Lease, ttl time.Duration) error
	// ReleaseLease gives the lease up at once.
	ReleaseLease(ctx context.Context, lease Lease) error

	// Checkpoint reads the stored checkpoint; the zero one when there is none.
	Checkpoint(ctx context.Context) (Checkpoint, error)
	// SaveCheckpoint stores it, if the lease is still the holder's: [ErrFenced] otherwise.
	SaveCheckpoint(ctx context.Context, lease Lease, c Checkpoint) error
	// OpenOutbox reads behind a position; the zero Position means from the oldest retained row.
	OpenOutbox(ctx context.Context, after Position) (Cursor, error)

	// OutboxLag measures how far the checkpoint is behind.
	OutboxLag(ctx context.Context) (Lag, error)
	// CleanOutbox deletes up to limit rows at or before the checkpoint that were added before the
	// moment, and returns how many; 0 when there are no more.
	CleanOutbox(ctx context.Context, before time.Time, limit int) (int, error)

	UnpublishedStore
}

// Lease is the right to publish a store's outbox.
type Lease struct {
	Holder string
	Epoch  int64
}

// Cursor reads an outbox in commit order. It is used by one goroutine.
type Cursor interface {
	// Next returns up to limit records and blocks until there is one or ctx ends. While there
	// are none it looks no more often than once a second, unless it was woken or armed.
	Next(ctx context.Context, limit int) ([]Record, error)
	Close() error
}

// UnpublishedStore is the relay's held table: messages that the broker refuses for good,
// and those that follow them in their key.
type UnpublishedStore interface {
	// HoldUnpublished adds records or, for those it has already, updates attempts, next
	// attempt and reason; fenced like SaveCheckpoint.
	HoldUnpublished(ctx context.Context, lease Lease, held []Unpublished) error
	// RemoveUnpublished removes what was published after all; fenced.
	RemoveUnpublished(ctx context.Context, lease Lease, ids []skald.ID) error
	// DueUnpublished returns, for up to limit keys whose first record is due, that record and
	// those behind it, in order within the key, no more than limit records.
	DueUnpublished(ctx context.Context, now time.Time, limit int) ([]Unpublished, error)
	// ListUnpublished returns held records in order, at most limit.
	ListUnpublished(ctx context.Context, limit int) ([]Unpublished, error)
	// UnpublishedKeys returns every channel and key that has a held record.
	UnpublishedKeys(ctx context.Context) ([]ChannelKey, error)
}

// ChannelKey is a key within its channel.
type ChannelKey struct{ Channel, Key string }

// Unpublished is a message that could not be published.
type Unpublished struct {
	Record
	Attempts int
	// NextAttempt of the first record of a key; those behind it follow.
	NextAttempt time.Time
	Reason      string
}
