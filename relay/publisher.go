package relay

import (
	"context"
	"errors"

	"github.com/skald-go/skald"
)

// Publisher is what the relay needs of a broker. It is safe for concurrent use.
type Publisher interface {
	// OpenSession connects and compares the broker's state with the mark that was stored with
	// the checkpoint. The session never reconnects by itself: after any error it is closed and
	// another one opened, and the relay publishes again from the checkpoint, so that nothing
	// newer overtakes what may have been lost.
	OpenSession(ctx context.Context, mark string) (Session, error)
}

// Session is one connection to the broker. It is used by one goroutine at a time.
type Session interface {
	// Lost reports that the broker does not hold any more what the mark says it held: it
	// was wiped, or restored from an older copy. The relay then publishes everything again
	// that the outbox retains.
	Lost() bool
	// Publish hands messages over, in order within channel and key, and returns when the broker
	// has them. Rejected are those that the broker will never take, and, with [ErrBehind], those
	// behind one of them in its channel and key; the others are published. After an error
	// nothing is known about any of them.
	Publish(ctx context.Context, messages []skald.Message) (Receipt, error)
	// Durable returns the newest receipt up to which everything is surely on the broker's
	// disk, and the mark to store with the checkpoint. It asks the broker, and fails when the broker
	// does not hold any more what this session published; the relay calls it every second, and
	// every ten seconds when idle. An error ends the session.
	Durable(ctx context.Context) (receipt uint64, mark string, err error)
	Close() error
}

// ErrBehind rejects a message because an earlier one of its channel and key was rejected in
// the same Publish: it must not overtake that one.
var ErrBehind = errors.New("relay: behind another message of its key")

// Receipt is what Publish returns.
type Receipt struct {
	// Number rises by at least one with each Publish of a session.
	Number   uint64
	Rejected []Rejection
}

// Rejection names a message that cannot be published as it is.
type Rejection struct {
	Index int // in the slice given to Publish
	Err   error
}
