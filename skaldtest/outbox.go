package skaldtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

// outboxRow is a message in its binary form: what a real store would keep, and a copy
// that aliases nothing.
type outboxRow struct {
	message []byte
	addedAt time.Time
}

// AddMessages implements [outbox.Store].
func (s *Store) AddMessages(ctx context.Context, tx skald.Tx, messages []skald.Message) error {
	now := time.Now().UTC()
	return s.within(ctx, tx, func(v *view) error {
		for i := range messages {
			encoded, err := messages[i].MarshalBinary()
			if err != nil {
				return fmt.Errorf("skaldtest: add message %s: %w", messages[i].ID, err)
			}
			v.outbox.put(v.next(outboxCounter), outboxRow{encoded, now})
		}
		return nil
	})
}

// Arm implements [outbox.Store]. A commit wakes the cursors, so there is nothing to do.
func (s *Store) Arm() {}

// Outbox returns the messages that are retained in the outbox, in commit order.
func (s *Store) Outbox() []skald.Message {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	v := newView(&s.db.tables)
	var messages []skald.Message
	for _, record := range v.outboxAfter(0, len(s.db.tables.outbox.rows)) {
		messages = append(messages, record.Message)
	}
	return messages
}

// outboxAfter returns up to limit records behind a sequence.
func (v *view) outboxAfter(sequence uint64, limit int) []relay.Record {
	newest, _ := v.counters.get(outboxCounter)
	var records []relay.Record
	for sequence++; sequence <= newest && len(records) < limit; sequence++ {
		if row, ok := v.outbox.get(sequence); ok {
			records = append(records, relay.Record{
				Position: relay.Position{Commit: sequence}, Message: decode(row.message), AddedAt: row.addedAt,
			})
		}
	}
	return records
}

// decode reads a message that the twin itself encoded.
func decode(encoded []byte) skald.Message {
	var m skald.Message
	if err := m.UnmarshalBinary(slices.Clone(encoded)); err != nil {
		panic(fmt.Sprintf("skaldtest: a stored message is damaged: %v", err))
	}
	return m
}

// OpenOutbox implements [relay.Source].
func (s *Store) OpenOutbox(ctx context.Context, after relay.Position) (relay.Cursor, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	return &cursor{store: s, after: after.Commit}, nil
}

// cursor reads the outbox and waits for commits.
type cursor struct {
	store  *Store
	after  uint64
	closed bool
}

// Next implements [relay.Cursor].
func (c *cursor) Next(ctx context.Context, limit int) ([]relay.Record, error) {
	if limit < 1 || c.closed {
		return nil, fmt.Errorf("skaldtest: read outbox: limit %d, cursor closed: %t", limit, c.closed)
	}
	for {
		var records []relay.Record
		var commit <-chan struct{}
		err := c.store.read(ctx, func(v *view) {
			records, commit = v.outboxAfter(c.after, limit), c.store.db.committed
		})
		if err != nil {
			return nil, err
		}
		if len(records) > 0 {
			c.after = records[len(records)-1].Position.Commit
			return records, nil
		}
		select {
		case <-commit:
		case <-c.store.crashed:
		case <-ctx.Done():
		}
	}
}

// Close implements [relay.Cursor].
func (c *cursor) Close() error {
	c.closed = true
	return nil
}
