package sqlite

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/skald-go/skald"
)

var addMessages = newBulk(
	"INSERT INTO skald_outbox (id, kind, channel, key, type, version, source, content_type, time, headers, payload, added_at) VALUES ",
	"(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", "")

// AddMessages implements [outbox.Store].
func (s *Store) AddMessages(ctx context.Context, tx skald.Tx, messages []skald.Message) error {
	fail := func(err error) error {
		return fmt.Errorf("sqlite: add %d messages to the outbox: %w", len(messages), err)
	}
	t, err := transaction(tx)
	if err != nil {
		return fail(err)
	}
	for i := range messages {
		if err := checkLines(&messages[i]); err != nil {
			return fail(err)
		}
	}
	now := time.Now().UnixMicro()
	_, err = execRows(ctx, s, t, addMessages, messages, func(args []any, m *skald.Message) []any {
		return append(args, m.ID[:], int64(m.Kind), m.Channel, m.Key, m.Type, int64(m.Version), m.Source, m.ContentType,
			micros(m.Time), headerLines(m.Headers), notNull(m.Payload), now)
	})
	if err != nil {
		return fail(err)
	}
	if b := s.current.Load(); b != nil && b.tx == t && len(messages) > 0 {
		b.added = true
	}
	return nil
}

// checkLines refuses a header that the outbox did not check and that would not be read
// back as it was: it may be copied from a message that another system sent.
func checkLines(m *skald.Message) error {
	for _, h := range m.Headers {
		if strings.Contains(h.Name, ": ") || strings.Contains(h.Name, "\n") || strings.Contains(h.Value, "\n") {
			return fmt.Errorf("%w %s %q: header %.40q: a line break in it", skald.ErrInvalidMessage, m.Kind, m.Type, h.Name)
		}
	}
	return nil
}

// Arm implements [outbox.Store].
func (s *Store) Arm() { s.news.expect(time.Now()) }
