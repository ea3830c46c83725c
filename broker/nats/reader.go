package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/skald-go/skald/inbox"
)

const (
	// prefetch is how many broker messages the server may send ahead to a reader, packs
	// included; half of that is asked for anew when half is used up.
	prefetch = 64
	// maxBuffered is how many messages a reader keeps ahead before it stops to take more.
	maxBuffered = 2048
	// A pull lasts pullExpiry; the server shows every heartbeat that it still knows of it.
	pullExpiry = 60 * time.Second
	heartbeat  = 20 * time.Second
	// inactive is when the server forgets a reader that ended without saying so.
	inactive = 3 * time.Minute
	// closeTimeout bounds how long a reader that is closed waits for the server.
	closeTimeout = 2 * time.Second
)

// reader reads one partition for one group, through a consumer of its own that the server
// keeps in memory and that acknowledges nothing.
type reader struct {
	broker      *Broker
	conn        *connection
	channel     *channel
	partition   inbox.Partition
	incarnation string
	consumer    jetstream.Consumer
	pull        jetstream.ConsumeContext

	mu        sync.Mutex
	changed   *sync.Cond // room in buffer, or the end
	buffer    []inbox.Delivery
	arrived   chan struct{}  // has room for one signal: buffer or err was set
	position  inbox.Position // behind the last broker message that arrived
	count     uint64         // of broker messages that arrived
	committed uint64
	err       error

	close func() error
}

// OpenReader implements [inbox.Transport]. The errors of a position that cannot be resumed wrap
// [ErrTrimmed].
func (b *Broker) OpenReader(ctx context.Context, p inbox.Partition, from inbox.Position) (inbox.Reader, error) {
	conn, err := b.connection(ctx)
	if err != nil {
		return nil, err
	}
	found, err := ensureChannel(ctx, conn.js, &b.cfg, p.Channel)
	if err != nil {
		return nil, err
	}
	if p.Number < 0 || p.Number >= found.partitions {
		return nil, fmt.Errorf("nats: channel %s has no partition %d, only 0 to %d", p.Channel, p.Number, found.partitions-1)
	}
	positions, err := openRegistry(ctx, conn.js, &b.cfg)
	if err != nil {
		return nil, err
	}
	registered, err := positions.join(ctx, found, p)
	if err != nil {
		return nil, err
	}
	begin, err := resume(ctx, &b.cfg, found, p, from, registered)
	if err != nil {
		return nil, err
	}
	if begin.why != "" {
		b.cfg.Logger.Warn("nats: a partition is read from its beginning", "channel", p.Channel, "group", p.Group, "partition", p.Number, "reason", begin.why)
	}
	r := newReader(b, conn, found, p, begin)
	if err := r.start(ctx, begin); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func newReader(b *Broker, conn *connection, c *channel, p inbox.Partition, begin start) *reader {
	r := &reader{
		broker: b, conn: conn, channel: c, partition: p, incarnation: c.incarnation, arrived: make(chan struct{}, 1),
		position: begin.from, committed: begin.from.Sequence,
	}
	r.changed = sync.NewCond(&r.mu)
	r.close = sync.OnceValue(r.end)
	return r
}

// start makes the consumer and begins to pull.
func (r *reader) start(ctx context.Context, begin start) error {
	consumer, err := r.channel.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Description: "group " + r.partition.Group, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: begin.sequence,
		FilterSubject: partitionSubject(r.partition.Channel, r.partition.Number), InactiveThreshold: inactive,
	})
	if err != nil {
		return fmt.Errorf("nats: read partition %d of channel %s: %w", r.partition.Number, r.partition.Channel, explain(err))
	}
	r.consumer = consumer
	r.pull, err = consumer.Consume(r.arrive, jetstream.PullMaxMessages(prefetch), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { r.fail(err) }))
	if err != nil {
		return fmt.Errorf("nats: read partition %d of channel %s: %w", r.partition.Number, r.partition.Channel, err)
	}
	if !r.broker.register(r, nil) {
		return ErrClosed
	}
	r.broker.trimmer.wake()
	return nil
}

// arrive takes a broker message over. It blocks while the buffer is full.
func (r *reader) arrive(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		r.fail(fmt.Errorf("nats: a message without its place in the stream: %w", err))
		return
	}
	messages, fault := decode(&r.broker.cfg, r.partition.Channel, m.Headers(), m.Data())
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.buffer) >= maxBuffered && r.err == nil {
		r.changed.Wait()
	}
	if r.err != nil {
		return
	}
	if r.count++; meta.Sequence.Consumer != r.count {
		r.failLocked(fmt.Errorf("%w: partition %d of channel %s: %d came as number %d", ErrGap, r.partition.Number, r.partition.Channel, r.count, meta.Sequence.Consumer))
		return
	}
	before := r.position
	r.position = inbox.Position{Incarnation: positionIncarnation(r.incarnation, meta.Timestamp.UnixNano()), Sequence: meta.Sequence.Stream}
	if fault != nil {
		r.buffer = append(r.buffer, inbox.Delivery{Position: r.position, Fault: fault, Raw: m.Data()})
	}
	r.buffer = slices.Grow(r.buffer, len(messages))
	for i := range messages {
		if fault == nil {
			r.buffer = append(r.buffer, inbox.Delivery{Message: messages[i], Position: before})
		}
	}
	if fault == nil {
		r.position.Last = messages[len(messages)-1].ID
		r.buffer[len(r.buffer)-1].Position = r.position
	}
	r.signal()
}

// fail ends the reader with an error, which Receive returns once what came before it is
// taken.
func (r *reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failLocked(fmt.Errorf("nats: read partition %d of channel %s: %w", r.partition.Number, r.partition.Channel, err))
}

func (r *reader) failLocked(err error) {
	if r.err == nil {
		r.err = err
	}
	r.changed.Broadcast()
	r.signal()
}

func (r *reader) signal() {
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// Receive implements [inbox.Reader].
func (r *reader) Receive(ctx context.Context) ([]inbox.Delivery, error) {
	for {
		if deliveries, err := r.take(); err != nil || len(deliveries) > 0 {
			return deliveries, err
		}
		select {
		case <-r.arrived:
		case <-r.conn.closed:
			r.fail(fmt.Errorf("%w: the connection to the server is lost", ErrClosed))
		case <-ctx.Done():
			return nil, fmt.Errorf("nats: receive: %w", context.Cause(ctx))
		}
	}
}

func (r *reader) take() ([]inbox.Delivery, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.buffer) == 0 {
		return nil, r.err
	}
	deliveries := r.buffer
	r.buffer = nil
	r.changed.Broadcast()
	return deliveries, nil
}

// Committed implements [inbox.Reader].
func (r *reader) Committed(p inbox.Position) {
	incarnation, _ := splitIncarnation(p.Incarnation)
	if incarnation != r.incarnation {
		return
	}
	r.mu.Lock()
	risen := p.Sequence > r.committed
	if risen {
		r.committed = p.Sequence
	}
	r.mu.Unlock()
	if risen {
		r.broker.trimmer.wake()
	}
}

// progress is how far the group has committed.
func (r *reader) progress() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.committed
}

// Close implements [inbox.Reader].
func (r *reader) Close() error { return r.close() }

func (r *reader) end() error {
	r.fail(ErrClosed)
	r.mu.Lock()
	r.buffer = nil // comes again from the committed position
	r.mu.Unlock()
	r.broker.unregister(r, nil)
	if r.pull != nil {
		r.pull.Stop()
		<-r.pull.Closed()
	}
	if r.consumer == nil || !r.conn.alive() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := r.channel.stream.DeleteConsumer(ctx, r.consumer.CachedInfo().Name)
	if err != nil && r.conn.alive() && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("nats: end the reader of partition %d of channel %s: %w", r.partition.Number, r.partition.Channel, err)
	}
	return nil
}
