package skaldtest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

// OpenSession implements [relay.Publisher].
func (b *Broker) OpenSession(ctx context.Context, mark string) (relay.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.reachable(ctx); err != nil {
		return nil, err
	}
	return &session{broker: b, connection: b.connection, lost: !b.holds(mark)}, nil
}

type session struct {
	broker     *Broker
	connection <-chan struct{}
	lost       bool

	// Guarded by the broker's mu.
	failed   error
	number   uint64
	receipts []receipt // not yet reported durable
	durable  uint64
}

// receipt is a Publish, and the length of the log behind it.
type receipt struct {
	number uint64
	length int
}

// Lost implements [relay.Session].
func (s *session) Lost() bool { return s.lost }

// Publish implements [relay.Session].
func (s *session) Publish(ctx context.Context, messages []skald.Message) (relay.Receipt, error) {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return relay.Receipt{}, err
	}
	stored, fault := s.broker.faults.nextPublish(len(messages))
	rejected, err := s.broker.publishAll(messages[:stored])
	if err = errors.Join(fault, err); err != nil {
		s.failed = fmt.Errorf("skaldtest: publish: %w", err)
		return relay.Receipt{}, s.failed
	}
	s.number++
	s.receipts = append(s.receipts, receipt{s.number, len(s.broker.log)})
	return relay.Receipt{Number: s.number, Rejected: rejected}, nil
}

func (b *Broker) publishAll(messages []skald.Message) ([]relay.Rejection, error) {
	var rejected []relay.Rejection
	blocked := map[relay.ChannelKey]bool{}
	for i := range messages {
		m := &messages[i]
		key := relay.ChannelKey{Channel: m.Channel, Key: m.OrderKey()}
		if blocked[key] {
			rejected = append(rejected, relay.Rejection{Index: i, Err: relay.ErrBehind})
			continue
		}
		if err := b.faults.rejects(m); err != nil {
			blocked[key] = true
			rejected = append(rejected, relay.Rejection{Index: i, Err: err})
			continue
		}
		body, err := m.MarshalBinary()
		if err != nil {
			return nil, err
		}
		b.publish(m.Channel, m.OrderKey(), m.ID, body)
	}
	return rejected, nil
}

// Durable implements [relay.Session].
func (s *session) Durable(ctx context.Context) (uint64, string, error) {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return 0, "", err
	}
	synced := s.broker.synced()
	for len(s.receipts) > 0 && s.receipts[0].length <= synced {
		s.durable = s.receipts[0].number
		s.receipts = slices.Delete(s.receipts, 0, 1)
	}
	return s.durable, s.broker.mark(synced), nil
}

// usable says why the session cannot go on: once it cannot, it never can again.
func (s *session) usable(ctx context.Context) error {
	switch {
	case s.failed != nil:
	case cut(s.connection):
		s.failed = ErrDisconnected
	case ctx.Err() != nil:
		s.failed = ctx.Err()
	}
	return s.failed
}

// Close implements [relay.Session].
func (s *session) Close() error {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	s.failed = errors.New("skaldtest: the session is closed")
	return nil
}
