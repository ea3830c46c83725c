package skaldtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/skald-go/skald/inbox"
)

// receiveLimit bounds what one Receive returns.
const receiveLimit = 256

// OpenReader implements [inbox.Transport].
func (b *Broker) OpenReader(ctx context.Context, p inbox.Partition, from inbox.Position) (inbox.Reader, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.reachable(ctx); err != nil {
		return nil, err
	}
	if p.Number < 0 || p.Number >= b.config.Partitions {
		return nil, fmt.Errorf("skaldtest: channel %q has no partition %d, only %d", p.Channel, p.Number, b.config.Partitions)
	}
	r := &reader{broker: b, key: shardKey{p.Channel, p.Number}, connection: b.connection, closed: make(chan struct{})}
	s := b.shard(r.key)
	switch read := int(from.Sequence); {
	case !b.has(s, from):
		r.read = s.trimmed
	case read < s.trimmed:
		return nil, fmt.Errorf("%w: channel %q, partition %d: read up to %d, trimmed up to %d", ErrTrimmed, p.Channel, p.Number, read, s.trimmed)
	default:
		r.read = read
	}
	return r, nil
}

// has reports whether the stream is the one in which the position was taken.
func (b *Broker) has(s *shard, p inbox.Position) bool {
	n := int(p.Sequence)
	incarnation, _, _ := strings.Cut(p.Incarnation, "@")
	if incarnation != b.incarnation || n > len(s.log) {
		return false
	}
	return n <= s.trimmed || p == b.position(s.log[n-1], n)
}

// position is the place of a stored entry. Sequence and id do not identify it for ever: its
// stamp does.
func (b *Broker) position(index, sequence int) inbox.Position {
	e := &b.log[index]
	return inbox.Position{Incarnation: fmt.Sprintf("%s@%d", b.incarnation, e.stamp), Sequence: uint64(sequence), Last: e.id}
}

type reader struct {
	broker     *Broker
	key        shardKey
	read       int // sequence of the last message received; used by Receive only
	connection <-chan struct{}
	close      sync.Once
	closed     chan struct{}
}

// Receive implements [inbox.Reader].
func (r *reader) Receive(ctx context.Context) ([]inbox.Delivery, error) {
	for {
		deliveries, stored, err := r.waiting()
		if err != nil || len(deliveries) > 0 {
			return deliveries, err
		}
		select {
		case <-stored:
		case <-r.closed:
		case <-r.connection:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// waiting returns what is there, and what to wait for when nothing is.
func (r *reader) waiting() ([]inbox.Delivery, <-chan struct{}, error) {
	b := r.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case cut(r.closed):
		return nil, nil, errors.New("skaldtest: the reader is closed")
	case cut(r.connection):
		return nil, nil, ErrDisconnected
	}
	s := b.shard(r.key)
	if r.read < s.trimmed {
		return nil, nil, fmt.Errorf("%w: channel %q, partition %d", ErrTrimmed, r.key.channel, r.key.partition)
	}
	var deliveries []inbox.Delivery
	for _, index := range s.log[r.read:min(len(s.log), r.read+receiveLimit)] {
		r.read++
		deliveries = append(deliveries, b.delivery(index, r.read))
	}
	return deliveries, b.stored, nil
}

func (b *Broker) delivery(index, sequence int) inbox.Delivery {
	e := b.log[index]
	d := inbox.Delivery{Position: b.position(index, sequence)}
	if d.Fault = d.Message.UnmarshalBinary(e.body); d.Fault != nil {
		d.Message.Channel, d.Raw = e.key.channel, slices.Clone(e.body)
	}
	return d
}

// Committed implements [inbox.Reader]. The twin trims only when [Broker.Trim] tells it to.
func (r *reader) Committed(inbox.Position) {}

// Close implements [inbox.Reader].
func (r *reader) Close() error {
	r.close.Do(func() { close(r.closed) })
	return nil
}
