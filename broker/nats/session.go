package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

// session is one connection for publishing.
type session struct {
	broker   *Broker
	conn     *connection
	lost     bool
	channels map[string]*channel // made sure of in this session
	number   uint64              // of the last receipt
	settled  uint64              // the newest receipt that Durable has confirmed
	mark     mark                // what is surely on disk
	acked    mark                // what the broker acknowledged in this session
	waiting  []*landing          // acknowledged, oldest first, not yet surely on disk
	buffers  buffers
	failed   error // the first error: nothing newer may overtake what was lost with it
	close    func() error
}

// landing is what receipts of about the same time brought to which streams.
type landing struct {
	number uint64
	since  time.Time // of the first receipt in it
	at     time.Time // of the last one
	marks  mark
}

// OpenSession implements [relay.Publisher]. The session is lost when a stream of the mark is
// gone, is another incarnation, ends before the recorded message or has another one in its
// place: it was wiped, or restored from an older copy. A stream that goes by the recorded
// incarnation all the same gets a new one, so that readers and other relays notice too.
//
// What the mark cannot tell is whether a recorded message was lost if all that came up to it
// has been trimmed since.
func (b *Broker) OpenSession(ctx context.Context, stored string) (relay.Session, error) {
	recorded, err := parseMark(stored)
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, &b.cfg)
	if err != nil {
		return nil, err
	}
	s := &session{broker: b, conn: conn, channels: map[string]*channel{}, mark: mark{}, acked: mark{}}
	s.close = sync.OnceValue(func() error {
		b.unregister(nil, s)
		return conn.close()
	})
	if err := s.compare(ctx, recorded); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if !b.register(nil, s) {
		return nil, errors.Join(ErrClosed, s.Close())
	}
	return s, nil
}

// compare looks for each of the mark's streams whether it still holds what it held.
func (s *session) compare(ctx context.Context, recorded mark) error {
	for name, entry := range recorded {
		found, err := findChannel(ctx, s.conn.js, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s.lost = true
			continue
		}
		if err != nil {
			return err
		}
		holds, err := s.holds(ctx, found, entry)
		if err != nil {
			return err
		}
		if holds {
			s.mark[name] = entry
			continue
		}
		s.lost = true
		if found.incarnation != entry.incarnation {
			continue
		}
		s.broker.cfg.Logger.Error("nats: a stream lost messages that it had acknowledged", "stream", streamName(name), "recorded", entry.sequence, "last", found.last)
		if err := found.renew(ctx, s.conn.js); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) holds(ctx context.Context, c *channel, e markEntry) (bool, error) {
	if c.incarnation != e.incarnation || c.last < e.sequence {
		return false, nil
	}
	if e.sequence < c.first {
		return true, nil // trimmed: every group has handled it
	}
	m, err := c.message(ctx, e.sequence)
	if err != nil {
		return false, err
	}
	if m == nil { // trimmed just now, or a hole
		err := c.refresh(ctx)
		return err == nil && e.sequence < c.first, err
	}
	return lastID(&s.broker.cfg, c.name, m.Header, m.Data) == e.last, nil
}

// Lost implements [relay.Session].
func (s *session) Lost() bool { return s.lost }

// Publish implements [relay.Session].
func (s *session) Publish(ctx context.Context, messages []skald.Message) (relay.Receipt, error) {
	if s.failed != nil {
		return relay.Receipt{}, fmt.Errorf("%w: the session failed before: %w", ErrClosed, s.failed)
	}
	rejected, err := s.publish(ctx, messages)
	if err != nil {
		s.failed = err
		return relay.Receipt{}, fmt.Errorf("nats: publish %d messages: %w", len(messages), err)
	}
	return relay.Receipt{Number: s.number, Rejected: rejected}, nil
}

func (s *session) publish(ctx context.Context, messages []skald.Message) ([]relay.Rejection, error) {
	for i := range messages {
		if err := s.ensure(ctx, messages[i].Channel); err != nil {
			return nil, err
		}
	}
	batch := load(&s.broker.cfg, s.channels, &s.buffers, messages, int(s.conn.nc.MaxPayload()))
	landed, err := batch.publish(ctx, s.conn.js)
	if err != nil {
		return nil, err
	}
	s.number++
	s.land(time.Now(), landed)
	return batch.rejections(), nil
}

// ensure makes sure of a channel once in a session. A name that no channel can have is left
// to load, which rejects the message.
func (s *session) ensure(ctx context.Context, name string) error {
	if s.channels[name] != nil {
		return nil
	}
	if valid := skald.CheckName(name) == nil; !valid {
		return nil
	}
	found, err := ensureChannel(ctx, s.conn.js, &s.broker.cfg, name)
	if err == nil {
		s.channels[name] = found
	}
	return err
}

// land records acknowledged messages. Receipts of a short while share one landing, whose
// time is that of the last, so that there are never more than some dozens.
func (s *session) land(now time.Time, landed mark) {
	step := max(s.broker.cfg.settle()/32, 10*time.Millisecond)
	var newest *landing
	if n := len(s.waiting); n > 0 && now.Sub(s.waiting[n-1].since) < step {
		newest = s.waiting[n-1]
	} else {
		newest = &landing{since: now, marks: mark{}}
		s.waiting = append(s.waiting, newest)
	}
	newest.number, newest.at = s.number, now
	for channel, e := range landed {
		newest.marks.advance(channel, e)
		s.acked.advance(channel, e)
	}
}

// Durable implements [relay.Session]: see the package's documentation.
func (s *session) Durable(ctx context.Context) (uint64, string, error) {
	if !s.conn.alive() {
		return 0, "", ErrClosed
	}
	due := 0
	for due < len(s.waiting) && time.Since(s.waiting[due].at) > s.broker.cfg.settle() {
		due++
	}
	if len(s.waiting) == 0 { // idle: nothing else would show that the streams are gone
		return s.settled, s.mark.String(), s.verify(ctx, s.mark)
	}
	if due == 0 {
		return s.settled, s.mark.String(), nil
	}
	if err := s.verify(ctx, s.acked); err != nil {
		return 0, "", err
	}
	for _, l := range s.waiting[:due] {
		for channel, e := range l.marks {
			s.mark.advance(channel, e)
		}
		s.settled = l.number
	}
	s.waiting = append([]*landing(nil), s.waiting[due:]...)
	s.forget()
	return s.settled, s.mark.String(), nil
}

// verify asks for each of the mark's streams whether it is the same one still, and has not
// fallen back.
func (s *session) verify(ctx context.Context, held mark) error {
	for name, entry := range held {
		found, err := findChannel(ctx, s.conn.js, name)
		if err != nil {
			return err
		}
		if found.incarnation != entry.incarnation || found.last < entry.sequence {
			return fmt.Errorf("%w: %s was at %d of incarnation %s and is at %d of %s",
				ErrIncarnation, streamName(name), entry.sequence, entry.incarnation, found.last, found.incarnation)
		}
	}
	return nil
}

// forget drops channels from acked about which nothing is waiting, so that a channel is
// asked about only while it is published to.
func (s *session) forget() {
	maps.DeleteFunc(s.acked, func(channel string, _ markEntry) bool {
		for _, l := range s.waiting {
			if _, ok := l.marks[channel]; ok {
				return false
			}
		}
		return true
	})
}

// Close implements [relay.Session].
func (s *session) Close() error { return s.close() }
