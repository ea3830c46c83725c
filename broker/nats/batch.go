package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

// batch is a slice of messages as broker messages, in one lane for each partition. Lanes are
// published side by side; within a lane the next one is sent only when the last one is
// acknowledged, so that a failure in between never lets a later one overtake.
type batch struct {
	cfg      *Config
	limit    int // of a broker message, in bytes
	messages []skald.Message
	lanes    map[laneKey]*lane
	refused  map[orderKey]bool // of a rejected message: what is behind it is rejected too
	scratch  []byte
	buffers  *buffers

	mu       sync.Mutex // guards rejected while lanes are published
	rejected []relay.Rejection
}

type laneKey struct {
	channel   string
	partition int
}

type orderKey struct{ channel, key string }

type lane struct {
	laneKey
	incarnation string
	parcels     []parcel
	// The pack that is being filled, and the indices of its messages.
	pack   []byte
	packed []int
}

// buffers are those of packs that were sent: the client copies what it sends.
type buffers struct{ free [][]byte }

// maxSpare bounds how many are kept, which is how many partitions are in use at a time.
const maxSpare = 16

func (f *buffers) take() []byte {
	n := len(f.free)
	if n == 0 {
		return nil
	}
	b := f.free[n-1]
	f.free = f.free[:n-1]
	return b
}

func (f *buffers) give(b []byte) {
	if len(f.free) < maxSpare {
		f.free = append(f.free, b[:0])
	}
}

// parcel is one broker message, with the indices of the messages in it.
type parcel struct {
	message *client.Msg
	indices []int
	last    skald.ID
}

// load makes the broker messages, and rejects what cannot be one.
func load(cfg *Config, channels map[string]*channel, spare *buffers, messages []skald.Message, limit int) *batch {
	b := &batch{cfg: cfg, limit: limit, messages: messages, lanes: map[laneKey]*lane{}, refused: map[orderKey]bool{}, buffers: spare, scratch: spare.take()}
	for i := range messages {
		m := &messages[i]
		target := channels[m.Channel]
		if target == nil {
			b.reject(i, fmt.Errorf("nats: channel %w", skald.CheckName(m.Channel)))
			continue
		}
		key := laneKey{m.Channel, skald.Partition(m.OrderKey(), target.partitions)}
		l := b.lanes[key]
		if l == nil {
			l = &lane{laneKey: key, incarnation: target.incarnation}
			b.lanes[key] = l
		}
		b.add(l, i)
	}
	for _, l := range b.lanes {
		b.flush(l)
	}
	b.buffers.give(b.scratch)
	return b
}

// add puts a message into the lane's pack, or behind it when it does not fit into one.
func (b *batch) add(l *lane, i int) {
	if b.behind(i) {
		return
	}
	if !b.cfg.packs() {
		b.single(l, i)
		return
	}
	encoded, err := b.messages[i].AppendBinary(b.scratch[:0])
	if err != nil {
		b.reject(i, err)
		return
	}
	b.scratch = encoded
	room := min(maxPackBytes, b.limit-1024)
	if len(l.packed) == maxPacked || len(l.pack)+len(encoded)+8 > room {
		b.flush(l)
		if b.behind(i) {
			return
		}
	}
	if len(encoded)+8 > room {
		b.single(l, i)
		return
	}
	l.pack, l.packed = appendPacked(l.pack, encoded), append(l.packed, i)
}

// behind rejects a message that comes after a rejected one of its key: alone it would
// overtake it.
func (b *batch) behind(i int) bool {
	m := &b.messages[i]
	if len(b.refused) == 0 || !b.refused[orderKey{m.Channel, m.OrderKey()}] {
		return false
	}
	b.reject(i, relay.ErrBehind)
	return true
}

// flush closes the lane's pack. A pack of one is no pack.
func (b *batch) flush(l *lane) {
	switch len(l.packed) {
	case 0:
	case 1:
		b.single(l, l.packed[0])
		b.buffers.give(l.pack)
	default:
		m := client.NewMsg(partitionSubject(l.channel, l.partition))
		m.Header[contentTypeField] = []string{packType}
		m.Data = l.pack
		last := l.packed[len(l.packed)-1]
		l.parcels = append(l.parcels, parcel{message: m, indices: l.packed, last: b.messages[last].ID})
	}
	l.pack, l.packed = nil, nil
}

// single sends a message alone, in the codec's form. Its id lets the server drop it when it
// comes a second time within the stream's window. Packs carry none: one that was sent
// again may differ in its content.
func (b *batch) single(l *lane, i int) {
	source := &b.messages[i]
	wire, err := b.cfg.codec().Encode(source)
	if err != nil {
		b.reject(i, err)
		return
	}
	m := client.NewMsg(partitionSubject(l.channel, l.partition))
	m.Header[jetstream.MsgIDHeader] = []string{source.ID.String()}
	for _, h := range wire.Headers {
		m.Header[h.Name] = append(m.Header[h.Name], h.Value)
	}
	m.Data = wire.Body
	if size := sizeOf(m); size > b.limit {
		b.reject(i, fmt.Errorf("nats: %s %q (%s) takes %d bytes, the server's max_payload is %d", source.Kind, source.Type, source.ID, size, b.limit))
		return
	}
	l.parcels = append(l.parcels, parcel{message: m, indices: []int{i}, last: source.ID})
}

// sizeOf is what the server counts against max_payload: headers and body.
func sizeOf(m *client.Msg) int {
	size := len("NATS/1.0\r\n\r\n") + len(m.Data)
	for name, values := range m.Header {
		for _, value := range values {
			size += len(name) + len(": \r\n") + len(value)
		}
	}
	return size
}

// publish sends all lanes and returns what landed where.
func (b *batch) publish(ctx context.Context, js jetstream.JetStream) (mark, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	type result struct {
		lane  *lane
		entry markEntry
		err   error
	}
	results := make(chan result, len(b.lanes))
	for _, l := range b.lanes {
		send := func() {
			entry, err := b.send(ctx, js, l)
			if err != nil {
				cancel() // the others need not wait for their acknowledgements
			}
			results <- result{l, entry, err}
		}
		if len(b.lanes) == 1 {
			send()
		} else {
			go send()
		}
	}
	landed := mark{}
	var first error
	for range b.lanes {
		r := <-results
		first = worse(first, r.err)
		if r.entry.sequence > 0 {
			landed.advance(r.lane.channel, r.entry)
		}
		b.reuse(r.lane)
	}
	return landed, first
}

// reuse gives back the buffers of a lane that is done.
func (b *batch) reuse(l *lane) {
	for _, p := range l.parcels {
		if len(p.indices) > 1 {
			b.buffers.give(p.message.Data)
		}
	}
}

// worse keeps the error that says why, not the cancellations that followed from it.
func worse(a, b error) error {
	if a == nil || errors.Is(a, context.Canceled) && b != nil {
		return b
	}
	return a
}

// send publishes a lane's parcels one after the other. What the server itself refuses, though
// it was within the limits that it had announced, ends the lane: the rest is rejected with it
// rather than let overtake it, and will be tried again.
func (b *batch) send(ctx context.Context, js jetstream.JetStream, l *lane) (markEntry, error) {
	var newest markEntry
	for i, p := range l.parcels {
		ack, err := js.PublishMsg(ctx, p.message, jetstream.WithRetryAttempts(0))
		if unacceptable(err) {
			b.rejectFrom(l.parcels[i:], fmt.Errorf("nats: %w", err))
			break
		}
		if err != nil {
			return newest, fmt.Errorf("stream %s: %w", streamName(l.channel), explain(err))
		}
		if ack.Sequence > newest.sequence {
			newest = markEntry{incarnation: l.incarnation, sequence: ack.Sequence, last: p.last}
		}
	}
	return newest, nil
}

// codeHeaderTooLarge has no name in the client.
const codeHeaderTooLarge = 10097

// unacceptable reports whether the server will never take the message. A full stream is not
// that: it takes the message once there is room.
func unacceptable(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == codeHeaderTooLarge || api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum) {
		return true
	}
	return errors.Is(err, client.ErrMaxPayload)
}

func (b *batch) reject(index int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &b.messages[index]
	b.refused[orderKey{m.Channel, m.OrderKey()}] = true
	b.rejected = append(b.rejected, relay.Rejection{Index: index, Err: err})
}

// rejectFrom rejects the messages of a parcel, and those of the parcels behind it.
func (b *batch) rejectFrom(parcels []parcel, err error) {
	for _, p := range parcels {
		for _, index := range p.indices {
			b.reject(index, err)
		}
		err = relay.ErrBehind
	}
}

func (b *batch) rejections() []relay.Rejection {
	slices.SortFunc(b.rejected, func(x, y relay.Rejection) int { return cmp.Compare(x.Index, y.Index) })
	return b.rejected
}
