// Package nats carries messages over NATS JetStream. A [Broker] is both an
// inbox.Transport and a relay.Publisher.
//
// A channel is a stream, a partition of it a subject of that stream. Streams are stored in
// files and refuse new messages when they are full, so that nothing unread is dropped.
// Waiting messages of one partition are packed into one broker message.
//
// JetStream writes to disk at once but syncs only every so often (sync_interval, two
// minutes unless configured otherwise), so what it has acknowledged can still be lost in a
// power failure. This package therefore takes a message for durable only when the sync
// interval has passed and a round trip shows the stream as it should be; until then the
// outbox keeps the copy. See [Broker.OpenSession] for how a loss is noticed.
//
// A reader's position lives in the consumer's database. The broker learns of it only to
// trim: see trim.go for how nothing unread is ever trimmed by this package.
//
// Package embedded runs the server in the process of the service.
package nats
