package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

const (
	findHandled   = "SELECT id, reply FROM skald_inbox WHERE grp = $1 AND id = ANY ($2)"
	recordHandled = `INSERT INTO skald_inbox (id, grp, handled_at, untimed, reply)
SELECT id, $1, $2, untimed, reply FROM unnest($3::uuid[], $4::boolean[], $5::bytea[]) AS u (id, untimed, reply)`
)

// cleanInbox deletes what was handled before a moment: it is, but for the untimed, among the
// ids drawn up to that moment. A row that is changed meanwhile is looked at again before it is
// deleted, so that the condition stands outside as well.
var cleanInbox = []string{
	`DELETE FROM skald_inbox WHERE handled_at < $2 AND ctid = ANY (ARRAY (
SELECT ctid FROM skald_inbox WHERE id < $1 AND handled_at < $2 AND NOT untimed ORDER BY id LIMIT $3))`,
	`DELETE FROM skald_inbox WHERE handled_at < $2 AND ctid = ANY (ARRAY (
SELECT ctid FROM skald_inbox WHERE handled_at < $2 AND untimed AND $1::uuid IS NOT NULL ORDER BY handled_at LIMIT $3))`,
	`DELETE FROM skald_barriers WHERE saved_at < $2 AND ctid = ANY (ARRAY (
SELECT ctid FROM skald_barriers WHERE saga < $1 AND saved_at < $2 AND NOT untimed ORDER BY saga LIMIT $3))`,
	`DELETE FROM skald_barriers WHERE saved_at < $2 AND ctid = ANY (ARRAY (
SELECT ctid FROM skald_barriers WHERE saved_at < $2 AND untimed AND $1::uuid IS NOT NULL ORDER BY saved_at LIMIT $3))`,
}

// Handled implements [inbox.DedupStore].
func (s *Store) Handled(ctx context.Context, tx skald.Tx, group string, list []skald.ID) ([]inbox.Handled, error) {
	x, err := s.session(tx)
	if err != nil {
		return nil, failure("look into the inbox", err)
	}
	var found []inbox.Handled
	err = x.ask(ctx, askHandled(group, list, &found)...)
	return found, err
}

// Look implements [inbox.Looker].
func (s *Store) Look(ctx context.Context, tx skald.Tx, group string, q inbox.Question) (known inbox.Known, err error) {
	x, err := s.session(tx)
	if err != nil {
		return known, failure("look what is known of a batch", err)
	}
	some := false
	questions := append(askHandled(group, q.IDs, &known.Handled), askLocked(q.Barriers, &known.Barriers, q.Locks, &known.Locks)...)
	if err := x.ask(ctx, append(questions, askHeld(group, len(q.Keys)+len(q.Arrived), &some)...)...); err != nil || !some {
		return known, err
	}
	known.Blocked, known.Held, err = x.heldAmong(ctx, group, q.Keys, q.Arrived)
	return known, err
}

// askHandled asks which messages a group has handled.
func askHandled(group string, list []skald.ID, found *[]inbox.Handled) []question {
	if len(list) == 0 {
		return nil
	}
	return []question{{
		doing: fmt.Sprintf("look for %d messages in the inbox of group %q", len(list), group),
		query: findHandled, args: []any{group, ids(list)},
		scan: func(r row) error {
			var h inbox.Handled
			err := r.Scan((*idColumn)(&h.ID), &h.Reply)
			*found = append(*found, h)
			return err
		},
	}}
}

// RecordHandled implements [inbox.DedupStore].
func (s *Store) RecordHandled(ctx context.Context, tx skald.Tx, group string, now time.Time, handled []inbox.Handled) error {
	doing := fmt.Sprintf("record %d messages as handled by group %q", len(handled), group)
	x, err := s.session(tx)
	if err != nil || len(handled) == 0 {
		return failure(doing, err)
	}
	list, early, replies := make([][16]byte, len(handled)), make([]bool, len(handled)), make([][]byte, len(handled))
	for i := range handled {
		list[i], early[i], replies[i] = handled[i].ID, untimed(handled[i].ID, now), handled[i].Reply
	}
	return x.exec(ctx, doing, recordHandled, group, now, list, early, replies)
}

// untimed reports that the id's place in the order of ids says nothing about the moment: it is
// no UUID of version 7, or was drawn by a clock that is ahead.
func untimed(id skald.ID, now time.Time) bool { return id[6]>>4 != 7 || id.Time().After(now) }

// idAfter is greater than every id drawn up to the moment, and not greater than those drawn
// from the next millisecond on.
func idAfter(t time.Time) [16]byte {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(max(t.UnixMilli()+1, 0))<<16)
	return id
}

// CleanInbox implements [inbox.DedupStore].
func (s *Store) CleanInbox(ctx context.Context, before time.Time, limit int) (int, error) {
	cleaned := 0
	for _, statement := range cleanInbox {
		if cleaned >= limit {
			break
		}
		tag, err := s.pool.Exec(ctx, statement, idAfter(before), before, limit-cleaned)
		if err != nil {
			return cleaned, failure("clean the inbox", err)
		}
		cleaned += int(tag.RowsAffected())
	}
	return cleaned, nil
}
