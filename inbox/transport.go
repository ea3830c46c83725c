package inbox

import (
	"context"

	"github.com/skald-go/skald"
)

// Transport is what the consumer needs of a broker. It is safe for concurrent use.
type Transport interface {
	// Partitions makes sure that the channel exists and returns its number of partitions.
	// A count that differs from the configured one is an error.
	Partitions(ctx context.Context, channel string) (int, error)
	// OpenReader starts to read a partition behind the position. The caller holds the partition's
	// lease, so there is one active reader of it for a group. A position that the stream does not
	// contain any more because the stream was wiped or restored means its beginning; one that
	// was trimmed unread is an error.
	OpenReader(ctx context.Context, p Partition, from Position) (Reader, error)
}

// Reader reads one partition. Receive and Close may be called from different goroutines.
type Reader interface {
	// Receive returns what is waiting, in order, and blocks until there is something, ctx
	// ends or the reader fails. After an error the reader is of no more use: close it and open another
	// from the committed position.
	Receive(ctx context.Context) ([]Delivery, error)
	// Committed tells that everything up to the position is committed in the consumer's
	// database, so that the broker may trim it. It does not wait for the broker.
	Committed(p Position)
	Close() error
}

// Delivery is a message as it arrived.
type Delivery struct {
	Message skald.Message
	// Position to record once this message, and all before it, are handled. Messages that
	// came packed in one keep the position before the pack until the last of them.
	Position Position
	// Fault says why what arrived is no message; Raw then holds it.
	Fault error
	Raw   []byte
}
