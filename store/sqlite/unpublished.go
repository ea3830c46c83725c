package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

const unpublishedColumns = "h.position_commit, h.position_index, h.message, h.added_at, h.attempts, h.next_attempt, h.reason"

var (
	holdUnpublished = newBulk(`INSERT INTO skald_unpublished
(id, position_commit, position_index, channel, order_key, attempts, next_attempt, reason, added_at, message) VALUES `,
		"(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		" ON CONFLICT (id) DO UPDATE SET attempts = excluded.attempts, next_attempt = excluded.next_attempt, reason = excluded.reason")
	removeUnpublished = newBulk("DELETE FROM skald_unpublished WHERE id IN (", "?", ")")
	dueUnpublished    = newStatement("SELECT " + unpublishedColumns + ` FROM skald_unpublished AS h
WHERE h.next_attempt <= ? AND NOT EXISTS (
SELECT 1 FROM skald_unpublished AS e WHERE e.channel = h.channel AND e.order_key = h.order_key
AND (e.position_commit, e.position_index) < (h.position_commit, h.position_index))
ORDER BY h.next_attempt, h.position_commit, h.position_index LIMIT ?`)
	behindUnpublished = newStatement("SELECT " + unpublishedColumns + ` FROM skald_unpublished AS h
WHERE h.channel = ? AND h.order_key = ? AND (h.position_commit, h.position_index) > (?, ?)
ORDER BY h.position_commit, h.position_index LIMIT ?`)
	listUnpublished = newStatement("SELECT " + unpublishedColumns + ` FROM skald_unpublished AS h
ORDER BY h.position_commit, h.position_index LIMIT ?`)
	unpublishedKeys = newStatement("SELECT DISTINCT channel, order_key FROM skald_unpublished")
)

// underLease runs fn in a transaction of its own if the lease is still the holder's.
func (s *Store) underLease(ctx context.Context, lease relay.Lease, fn func(tx *sql.Tx) error) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		var leases int64
		err := s.query(ctx, tx, checkLease, []any{lease.Holder, lease.Epoch}, func(*sql.Rows) error { leases++; return nil })
		if err := fenced(leases, err); err != nil {
			return err
		}
		return fn(tx)
	})
}

// HoldUnpublished implements [relay.UnpublishedStore].
func (s *Store) HoldUnpublished(ctx context.Context, lease relay.Lease, held []relay.Unpublished) error {
	if len(held) == 0 {
		return nil
	}
	err := s.underLease(ctx, lease, func(tx *sql.Tx) error {
		_, err := execRows(ctx, s, tx, holdUnpublished, held, func(args []any, u *relay.Unpublished) []any {
			m := &u.Message
			encoded, _ := m.MarshalBinary() // has no error
			return append(args, m.ID[:], int64(u.Position.Commit), int64(u.Position.Index), m.Channel, m.OrderKey(), int64(u.Attempts),
				micros(u.NextAttempt), u.Reason, micros(u.AddedAt), encoded)
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: hold %d unpublished messages: %w", len(held), err)
	}
	return nil
}

// RemoveUnpublished implements [relay.UnpublishedStore].
func (s *Store) RemoveUnpublished(ctx context.Context, lease relay.Lease, ids []skald.ID) error {
	if len(ids) == 0 {
		return nil
	}
	err := s.underLease(ctx, lease, func(tx *sql.Tx) error {
		return queryKeys(ctx, s, tx, removeUnpublished, nil, ids, bindID, none)
	})
	if err != nil {
		return fmt.Errorf("sqlite: remove %d unpublished messages: %w", len(ids), err)
	}
	return nil
}

func scanUnpublished(list *[]relay.Unpublished) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var u relay.Unpublished
		err := rows.Scan(&u.Position.Commit, &u.Position.Index, (*messageColumn)(&u.Message), (*momentColumn)(&u.AddedAt),
			&u.Attempts, (*momentColumn)(&u.NextAttempt), &u.Reason)
		*list = append(*list, u)
		return err
	}
}

// DueUnpublished implements [relay.UnpublishedStore]. What is left of the limit beside the
// first ones is shared out among their keys.
func (s *Store) DueUnpublished(ctx context.Context, now time.Time, limit int) ([]relay.Unpublished, error) {
	var due []relay.Unpublished
	err := s.read(ctx, func(tx *sql.Tx) error {
		var heads []relay.Unpublished
		if err := s.query(ctx, tx, dueUnpublished, []any{micros(now), limit}, scanUnpublished(&heads)); err != nil {
			return err
		}
		return withFollowers(heads, limit, func(head *relay.Unpublished, share int) (int, error) {
			due = append(due, *head)
			if share == 0 {
				return 0, nil
			}
			before := len(due)
			err := s.query(ctx, tx, behindUnpublished, []any{
				head.Message.Channel, head.Message.OrderKey(),
				int64(head.Position.Commit), int64(head.Position.Index), share,
			}, scanUnpublished(&due))
			return len(due) - before, err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: read which unpublished messages are due: %w", err)
	}
	return due, nil
}

// ListUnpublished implements [relay.UnpublishedStore].
func (s *Store) ListUnpublished(ctx context.Context, limit int) ([]relay.Unpublished, error) {
	var list []relay.Unpublished
	if err := s.query(ctx, nil, listUnpublished, []any{limit}, scanUnpublished(&list)); err != nil {
		return nil, fmt.Errorf("sqlite: list unpublished messages: %w", err)
	}
	return list, nil
}

// UnpublishedKeys implements [relay.UnpublishedStore].
func (s *Store) UnpublishedKeys(ctx context.Context) ([]relay.ChannelKey, error) {
	var keys []relay.ChannelKey
	err := s.query(ctx, nil, unpublishedKeys, nil, func(rows *sql.Rows) error {
		var k relay.ChannelKey
		err := rows.Scan(&k.Channel, &k.Key)
		keys = append(keys, k)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: read the keys of unpublished messages: %w", err)
	}
	return keys, nil
}
