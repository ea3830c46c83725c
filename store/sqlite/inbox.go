package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

var (
	findHandled   = newBulk("SELECT id, reply FROM skald_inbox WHERE grp = ? AND id IN (", "?", ")")
	recordHandled = newBulk("INSERT INTO skald_inbox (id, grp, handled_at, untimed, reply) VALUES ", "(?, ?, ?, ?, ?)", "")

	// What was handled before a moment is, but for the untimed, among the ids drawn up to it.
	cleanInbox = []statement{
		newStatement(`DELETE FROM skald_inbox WHERE (id, grp) IN (
SELECT id, grp FROM skald_inbox WHERE id < ?1 AND handled_at < ?2 AND untimed = 0 ORDER BY id, grp LIMIT ?3)`),
		newStatement(`DELETE FROM skald_inbox WHERE (id, grp) IN (
SELECT id, grp FROM skald_inbox WHERE handled_at < ?2 AND untimed = 1 AND ?1 IS NOT NULL ORDER BY handled_at LIMIT ?3)`),
		newStatement(`DELETE FROM skald_barriers WHERE (saga, step, attempt) IN (
SELECT saga, step, attempt FROM skald_barriers WHERE saga < ?1 AND saved_at < ?2 AND untimed = 0 ORDER BY saga, step, attempt LIMIT ?3)`),
		newStatement(`DELETE FROM skald_barriers WHERE (saga, step, attempt) IN (
SELECT saga, step, attempt FROM skald_barriers WHERE saved_at < ?2 AND untimed = 1 AND ?1 IS NOT NULL ORDER BY saved_at LIMIT ?3)`),
	}
)

// Handled implements [inbox.DedupStore].
func (s *Store) Handled(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) ([]inbox.Handled, error) {
	var found []inbox.Handled
	t, err := transaction(tx)
	if err == nil {
		err = queryKeys(ctx, s, t, findHandled, []any{group}, ids, bindID, func(rows *sql.Rows) error {
			var h inbox.Handled
			err := rows.Scan((*idColumn)(&h.ID), &h.Reply)
			found = append(found, h)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: look for %d messages in the inbox of group %q: %w", len(ids), group, err)
	}
	return found, nil
}

// RecordHandled implements [inbox.DedupStore].
func (s *Store) RecordHandled(ctx context.Context, tx skald.Tx, group string, now time.Time, handled []inbox.Handled) error {
	t, err := transaction(tx)
	if err == nil {
		_, err = execRows(ctx, s, t, recordHandled, handled, func(args []any, h *inbox.Handled) []any {
			return append(args, h.ID[:], group, micros(now), untimed(h.ID, now), h.Reply)
		})
	}
	if err != nil {
		return fmt.Errorf("sqlite: record %d messages as handled by group %q: %w", len(handled), group, err)
	}
	return nil
}

// untimed is 1 when the id's place in the order of ids says nothing about the moment: it
// is no UUID of version 7, or was drawn by a clock that is ahead.
func untimed(id skald.ID, now time.Time) int64 {
	if id[6]>>4 == 7 && !id.Time().After(now) {
		return 0
	}
	return 1
}

// idAfter is greater than every id drawn up to the moment, and not greater than those
// drawn from the next millisecond on.
func idAfter(t time.Time) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(t.UnixMilli()+1, 0))<<16)
	return b[:6]
}

// CleanInbox implements [inbox.DedupStore].
func (s *Store) CleanInbox(ctx context.Context, before time.Time, limit int) (int, error) {
	cleaned := 0
	err := s.write(ctx, func(tx *sql.Tx) error {
		for _, st := range cleanInbox {
			n, err := s.exec(ctx, tx, st, idAfter(before), micros(before), limit-cleaned)
			if err != nil {
				return err
			}
			cleaned += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("sqlite: clean the inbox: %w", err)
	}
	return cleaned, nil
}
