package nats

import "errors"

// The errors that a caller may want to tell apart.
var (
	// ErrPartitions says that a channel is stored with another number of partitions than the
	// configured one.
	ErrPartitions = errors.New("nats: number of partitions differs")
	// ErrTrimmed says that the broker does not hold any more what a group has not read.
	ErrTrimmed = errors.New("nats: trimmed unread")
	// ErrIncarnation says that a stream was wiped, restored or made anew under way.
	ErrIncarnation = errors.New("nats: the stream is not the one that was opened")
	// ErrGap says that a reader missed a message; it opens again from its position.
	ErrGap = errors.New("nats: a message was missed")
	// ErrClosed says that the broker, a session or a reader was closed, or its connection lost.
	ErrClosed = errors.New("nats: closed")
)
