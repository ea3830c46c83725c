package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// A next attempt of 0 is "at once": due whatever the clock of the one who asks.
var (
	anyHeld  = newStatement("SELECT 1 FROM skald_held WHERE grp = ? LIMIT 1")
	keysHeld = newBulk("WITH g (grp) AS (SELECT ?1), k (channel, order_key) AS (VALUES ", "(?, ?)", `)
SELECT channel, order_key FROM k WHERE EXISTS (
SELECT 1 FROM skald_held AS h WHERE h.grp = ?1 AND h.channel = k.channel AND h.order_key = k.order_key)`)
	idsHeld = newBulk("SELECT id FROM skald_held WHERE grp = ? AND id IN (", "?", ")")

	hold = newBulk(`INSERT INTO skald_held
(grp, id, channel, order_key, state, attempts, next_attempt, reason, held_at, message, raw, saga, step, attempt) VALUES `,
		"(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		` ON CONFLICT (grp, id) DO UPDATE SET
state = excluded.state, attempts = excluded.attempts, next_attempt = excluded.next_attempt, reason = excluded.reason`)
	unhold  = newBulk("DELETE FROM skald_held WHERE grp = ? AND id IN (", "?", ") RETURNING channel, order_key")
	promote = newBulk("WITH g (grp) AS (SELECT ?1), k (channel, order_key) AS (VALUES ", "(?, ?)", `)
UPDATE skald_held SET state = 'retrying', next_attempt = 0 WHERE state = 'following' AND place IN (
SELECT (SELECT min(h.place) FROM skald_held AS h WHERE h.grp = ?1 AND h.channel = k.channel AND h.order_key = k.order_key) FROM k)`)

	findDos = newBulk("WITH g (grp) AS (SELECT ?1), k (saga, step, attempt) AS (VALUES ", "(?, ?, ?)", `)
SELECT h.id, k.saga, k.step, k.attempt FROM k CROSS JOIN skald_held AS h
WHERE h.grp = ?1 AND h.saga = k.saga AND h.step = k.step AND h.attempt = k.attempt`)
	releaseHeld = newBulk("UPDATE skald_held SET next_attempt = 0, state = 'retrying' WHERE grp = ? AND state <> 'following' AND id IN (", "?", ")")
	redrive     = newBulk("UPDATE skald_held SET attempts = 0, next_attempt = 0, state = 'retrying' WHERE grp = ? AND state <> 'following' AND id IN (", "?", ") RETURNING id")
)

// onlyIfAnyHeld runs fn if the group holds anything at all, which it rarely does.
func (s *Store) onlyIfAnyHeld(ctx context.Context, tx skald.Tx, group string, fn func(t *sql.Tx) error) error {
	t, err := transaction(tx)
	if err != nil {
		return err
	}
	held := false
	err = s.query(ctx, t, anyHeld, []any{group}, func(*sql.Rows) error { held = true; return nil })
	if err != nil || !held {
		return err
	}
	return fn(t)
}

func bindKey(args []any, k *inbox.ChannelKey) []any { return append(args, k.Channel, k.Key) }

// HeldAmong implements [inbox.HeldStore].
func (s *Store) HeldAmong(ctx context.Context, tx skald.Tx, group string, keys []inbox.ChannelKey, ids []skald.ID) ([]inbox.ChannelKey, []skald.ID, error) {
	var blocked []inbox.ChannelKey
	var held []skald.ID
	err := s.onlyIfAnyHeld(ctx, tx, group, func(t *sql.Tx) error {
		err := queryKeys(ctx, s, t, keysHeld, []any{group}, keys, bindKey, func(rows *sql.Rows) error {
			var k inbox.ChannelKey
			err := rows.Scan(&k.Channel, &k.Key)
			blocked = append(blocked, k)
			return err
		})
		if err != nil {
			return err
		}
		held, err = s.queryIDs(ctx, t, idsHeld, group, ids)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("sqlite: look for what group %q holds among %d keys: %w", group, len(keys), err)
	}
	return blocked, held, nil
}

func (s *Store) queryIDs(ctx context.Context, tx *sql.Tx, b bulk, group string, ids []skald.ID) ([]skald.ID, error) {
	var found []skald.ID
	err := queryKeys(ctx, s, tx, b, []any{group}, ids, bindID, func(rows *sql.Rows) error {
		var id skald.ID
		err := rows.Scan((*idColumn)(&id))
		found = append(found, id)
		return err
	})
	return found, err
}

// Hold implements [inbox.HeldStore].
func (s *Store) Hold(ctx context.Context, tx skald.Tx, group string, held []inbox.Held) error {
	t, err := transaction(tx)
	if err == nil {
		_, err = execRows(ctx, s, t, hold, held, func(args []any, h *inbox.Held) []any {
			m := &h.Message
			encoded, _ := m.MarshalBinary() // has no error
			args = append(args, group, m.ID[:], m.Channel, h.Queue().Key, string(h.State), int64(h.Attempts),
				micros(h.NextAttempt), h.Reason, micros(h.HeldAt), encoded, h.Raw)
			return appendDo(args, m)
		})
	}
	if err != nil {
		return fmt.Errorf("sqlite: hold %d messages of group %q: %w", len(held), group, err)
	}
	return nil
}

// appendDo binds the barrier's key of a message that is a step's do, and NULL for others.
func appendDo(args []any, m *skald.Message) []any {
	if m.Headers.Get(skald.HeaderAction) == skald.ActionDo {
		id, err := skald.ParseID(m.Headers.Get(skald.HeaderSaga))
		attempt, _ := strconv.ParseInt(m.Headers.Get(skald.HeaderAttempt), 10, 64)
		if err == nil {
			return append(args, id[:], m.Headers.Get(skald.HeaderStep), attempt)
		}
	}
	return append(args, nil, nil, nil)
}

// Unhold implements [inbox.HeldStore].
func (s *Store) Unhold(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) error {
	t, err := transaction(tx)
	var freed []inbox.ChannelKey
	if err == nil {
		err = queryKeys(ctx, s, t, unhold, []any{group}, ids, bindID, func(rows *sql.Rows) error {
			var k inbox.ChannelKey
			err := rows.Scan(&k.Channel, &k.Key)
			freed = append(freed, k)
			return err
		})
	}
	if err == nil {
		err = queryKeys(ctx, s, t, promote, []any{group}, freed, bindKey, none)
	}
	if err != nil {
		return fmt.Errorf("sqlite: remove %d held messages of group %q: %w", len(ids), group, err)
	}
	return nil
}

// none is for statements that return no rows.
func none(*sql.Rows) error { return nil }

// ReleaseHeldDos implements [inbox.HeldStore].
func (s *Store) ReleaseHeldDos(ctx context.Context, tx skald.Tx, group string, keys []inbox.BarrierKey) ([]inbox.BarrierKey, error) {
	var found []inbox.BarrierKey
	err := s.onlyIfAnyHeld(ctx, tx, group, func(t *sql.Tx) error {
		var ids []skald.ID
		err := queryKeys(ctx, s, t, findDos, []any{group}, keys, bindBarrierKey, func(rows *sql.Rows) error {
			var id skald.ID
			var k inbox.BarrierKey
			err := rows.Scan((*idColumn)(&id), (*idColumn)(&k.Saga), &k.Step, &k.Attempt)
			ids, found = append(ids, id), append(found, k)
			return err
		})
		if err != nil {
			return err
		}
		return queryKeys(ctx, s, t, releaseHeld, []any{group}, ids, bindID, none)
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: release what group %q holds of %d steps: %w", group, len(keys), err)
	}
	return found, nil
}

// Redrive implements [inbox.HeldStore].
func (s *Store) Redrive(ctx context.Context, group string, ids []skald.ID) (int, error) {
	var found []skald.ID
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		found, err = s.queryIDs(ctx, tx, redrive, group, ids)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sqlite: redrive %d messages of group %q: %w", len(ids), group, err)
	}
	return len(found), nil
}

// heldColumns are what scanHeld reads.
const heldColumns = "h.message, h.order_key, h.raw, h.grp, h.place, h.state, h.attempts, h.next_attempt, h.reason, h.held_at"

var (
	dueHeads = newStatement("SELECT " + heldColumns + ` FROM skald_held AS h
WHERE h.grp = ? AND h.state = 'retrying' AND h.next_attempt <= ? AND NOT EXISTS (
SELECT 1 FROM skald_held AS e WHERE e.grp = h.grp AND e.channel = h.channel AND e.order_key = h.order_key AND e.place < h.place)
ORDER BY h.next_attempt, h.place LIMIT ?`)
	behindHead = newStatement("SELECT " + heldColumns + ` FROM skald_held AS h
WHERE h.grp = ? AND h.channel = ? AND h.order_key = ? AND h.place > ? ORDER BY h.place LIMIT ?`)
	nextHeld = newStatement("SELECT next_attempt FROM skald_held WHERE grp = ? AND state = 'retrying' ORDER BY next_attempt LIMIT 1")
	listHeld = newStatement("SELECT " + heldColumns + " FROM skald_held AS h WHERE h.place > ?1 AND (?2 = '' OR h.grp = ?2) ORDER BY h.place LIMIT ?3")
)

func scanHeld(list *[]inbox.Held) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var h inbox.Held
		var key string
		err := rows.Scan((*messageColumn)(&h.Message), &key, &h.Raw, &h.Group, &h.Place, &h.State, &h.Attempts,
			(*momentColumn)(&h.NextAttempt), &h.Reason, (*momentColumn)(&h.HeldAt))
		h.Apart = key == h.Message.ID.String()
		*list = append(*list, h)
		return err
	}
}

// DueHeld implements [inbox.HeldStore]. What is left of the limit beside the first ones is
// shared out among their keys, so that a long queue does not keep other keys waiting.
func (s *Store) DueHeld(ctx context.Context, group string, now time.Time, limit int) ([]inbox.Held, error) {
	var due []inbox.Held
	err := s.read(ctx, func(tx *sql.Tx) error {
		var heads []inbox.Held
		if err := s.query(ctx, tx, dueHeads, []any{group, micros(now), limit}, scanHeld(&heads)); err != nil {
			return err
		}
		return withFollowers(heads, limit, func(head *inbox.Held, share int) (int, error) {
			due = append(due, *head)
			if share == 0 {
				return 0, nil
			}
			before, queue := len(due), head.Queue()
			err := s.query(ctx, tx, behindHead, []any{group, queue.Channel, queue.Key, head.Place, share}, scanHeld(&due))
			due = due[:before+following(due[before:])]
			return len(due) - before, err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: read what is due of group %q's held messages: %w", group, err)
	}
	return due, nil
}

// withFollowers calls add for every head with the number of followers that it may take, in
// equal shares of what the heads leave of the limit; add returns how many it took.
func withFollowers[T any](heads []T, limit int, add func(head *T, share int) (int, error)) error {
	left := limit - len(heads)
	for i := range heads {
		waiting := len(heads) - i
		taken, err := add(&heads[i], (left+waiting-1)/waiting)
		if err != nil {
			return err
		}
		left -= taken
	}
	return nil
}

// following counts the messages that wait for nothing but those before them: behind one
// that has its own time, or is parked, no other may go.
func following(queue []inbox.Held) int {
	n := slices.IndexFunc(queue, func(h inbox.Held) bool { return h.State != inbox.HeldFollowing })
	if n < 0 {
		return len(queue)
	}
	return n
}

// NextHeld implements [inbox.HeldStore].
func (s *Store) NextHeld(ctx context.Context, group string) (time.Time, bool, error) {
	var next time.Time
	found := false
	err := s.query(ctx, nil, nextHeld, []any{group}, func(rows *sql.Rows) error {
		found = true
		return rows.Scan((*momentColumn)(&next))
	})
	if err != nil {
		return time.Time{}, false, fmt.Errorf("sqlite: read when the next held message of group %q is due: %w", group, err)
	}
	return next, found, nil
}

// ListHeld implements [inbox.HeldStore].
func (s *Store) ListHeld(ctx context.Context, group string, after int64, limit int) ([]inbox.Held, error) {
	var list []inbox.Held
	if err := s.query(ctx, nil, listHeld, []any{after, group, limit}, scanHeld(&list)); err != nil {
		return nil, fmt.Errorf("sqlite: list held messages of group %q: %w", group, err)
	}
	return list, nil
}
