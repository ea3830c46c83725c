package saga

import (
	"context"
	"errors"
	"time"

	"github.com/skald-go/skald"
)

// ErrConflict is returned by SaveSagas, or by the commit of its batch, when a live saga of
// the same name and key, or a saga of the same name and request, exists already.
var ErrConflict = errors.New("saga: a live saga of this key exists")

// ErrStale is returned by SaveSagas, or by the commit of its batch, when a saga's revision does not
// follow the stored one: it has changed since it was loaded. The same batch may be tried again on
// what is stored; Retryable of the service's store says so.
var ErrStale = errors.New("saga: a saga has changed since it was loaded")

// Store is what the engine needs of the orchestrating service's database. Methods that take
// a transaction run inside it; in a batch of the runtime's their writes may be deferred, at the latest
// to its Commit, whose error theirs is then. A store is safe for concurrent use.
type Store interface {
	// LoadSagas returns those of ids that exist, locked until the transaction ends.
	LoadSagas(ctx context.Context, tx skald.Tx, ids []skald.ID) ([]Record, error)
	// FindLive returns the live saga of a definition and business key, nil when none.
	FindLive(ctx context.Context, tx skald.Tx, name, key string) (*Record, error)
	// FindRequest returns the saga that was started with a request id, nil when none.
	FindRequest(ctx context.Context, tx skald.Tx, name, request string) (*Record, error)
	// SaveSagas inserts sagas (Revision 1) and updates them (a Revision that follows the stored
	// one), each in one statement for all.
	SaveSagas(ctx context.Context, tx skald.Tx, records []Record) error
	// AddHistory appends entries.
	AddHistory(ctx context.Context, tx skald.Tx, entries []Entry) error

	// DueSagas returns up to limit sagas of these versions whose DueAt has come, the longest due
	// first, behind a place in that order. However many other versions' are due, it does not read them.
	DueSagas(ctx context.Context, versions []Version, now time.Time, after Due, limit int) ([]Due, error)
	// NextDue returns the earliest DueAt of these versions; false when there is none.
	NextDue(ctx context.Context, versions []Version) (time.Time, bool, error)

	// RegisterDefinition stores a definition's fingerprint under its name and version if there
	// is none yet, and returns the stored one.
	RegisterDefinition(ctx context.Context, name string, version int, fingerprint string) (string, error)
	// CountLive counts the sagas that have not ended, by name and version, in that order.
	CountLive(ctx context.Context) ([]Live, error)
	// ListLive returns sagas of a version that have not ended and whose business key is greater than after,
	// in the order of their keys, at most limit.
	ListLive(ctx context.Context, version Version, after string, limit int) ([]Record, error)
	// ReadSaga returns the newest saga of a definition and business key, nil when none.
	ReadSaga(ctx context.Context, name, key string) (*Record, error)
	// ReadHistory returns a saga's history in order.
	ReadHistory(ctx context.Context, id skald.ID) ([]Entry, error)
	// ListSagas returns sagas of a status (all when empty) with an id greater than after, in
	// the order of their ids, at most limit.
	ListSagas(ctx context.Context, status Status, after skald.ID, limit int) ([]Record, error)
}

// Preloader is a store that loads sagas later, together with other statements, and at the latest
// before the first handler runs. Implementing it is optional.
type Preloader interface {
	// PreloadSagas is as LoadSagas. It calls then with the sagas once it has them, unless that fails.
	PreloadSagas(ctx context.Context, tx skald.Tx, ids []skald.ID, then func([]Record)) error
}

// Status is where a saga stands.
type Status string

// The statuses of a saga.
const (
	Running      Status = "running"      // going forward
	Compensating Status = "compensating" // undoing what landed
	Parked       Status = "parked"       // waits for an operator, for the reason recorded
	Completed    Status = "completed"    // ended: every step done
	Compensated  Status = "compensated"  // ended: everything undone
)

// Ended reports whether the saga is over.
func (s Status) Ended() bool { return s == Completed || s == Compensated }

// Record is a saga instance as it is stored.
type Record struct {
	ID      skald.ID
	Name    string // of the definition
	Version int    // of the definition with which the instance started
	// Key is the business key, for example the order's id: unique among live sagas of a name.
	Key string
	// Request is the caller's request id, unique within a name; empty when none was given.
	Request string
	Status  Status
	// Step is the name of the step that the saga is at.
	Step string
	// Reason says why the saga was refused or parked.
	Reason string
	// State is the user's state, encoded.
	State []byte
	// Progress is the machine's state, encoded.
	Progress []byte
	Trace    skald.Trace
	// DueAt is when the earliest timer fires; zero when none is set.
	DueAt     time.Time
	StartedAt time.Time
	UpdatedAt time.Time
	// Revision counts the saved versions of the record, from 1.
	Revision int64
}

// Entry is one line of a saga's history.
type Entry struct {
	Saga   skald.ID
	Number int // from 1, without gaps
	At     time.Time
	Step   string
	// What happened: see the History constants.
	What string
	// Detail is for people: a refusal's code and message, a reason.
	Detail string
}

// What an entry of the history says.
const (
	HistoryStarted   = "started"         // the saga
	HistorySent      = "sent"            // a step's command, or its child
	HistoryDone      = "done"            // a step landed
	HistoryRefused   = "refused"         // a step was refused
	HistorySkipped   = "skipped"         // a step's condition did not hold
	HistoryAwaited   = "awaited"         // a step waits for a signal
	HistorySignalled = "signalled early" // before the step's turn
	HistoryTimedOut  = "timed out"       // a step's deadline, or the saga's, passed
	HistoryCancel    = "cancel"          // from outside, or what became of it
	HistoryBarSent   = "bar sent"        // of a pivot, or the cancel of a child
	HistoryUndoSent  = "undo sent"
	HistoryUndone    = "undone"
	HistoryUndoFail  = "undo refused"
	HistoryParked    = "parked"
	HistoryResumed   = "resumed" // by an operator
	HistoryCompleted = "completed"
	HistoryReversed  = "compensated"
	HistoryLocked    = "met a lock"   // of an older saga: it is undone and starts again
	HistoryReserve   = "lock awaited" // to start again with it, or by a local step
	HistoryWithdrawn = "lock awaited no more"
	HistoryAgain     = "started again"
	HistoryIgnored   = "reply ignored" // late, or contradicting the first one
)
