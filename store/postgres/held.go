package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// A next attempt at the epoch is "at once": due whatever the clock of the one who asks.
const (
	anyHeld   = "SELECT FROM skald_held WHERE grp = $1 LIMIT 1"
	heldAmong = `SELECT n, 0 FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS k (channel, order_key, n)
WHERE EXISTS (SELECT FROM skald_held AS h WHERE h.grp = $1 AND h.channel = k.channel AND h.order_key = k.order_key)
UNION ALL
SELECT 0, n FROM unnest($4::uuid[]) WITH ORDINALITY AS k (id, n)
WHERE EXISTS (SELECT FROM skald_held AS h WHERE h.grp = $1 AND h.id = k.id)`

	hold = `INSERT INTO skald_held (grp, id, channel, order_key, state, attempts, next_attempt, reason, held_at, message, raw, saga, step, attempt)
SELECT $1, u.* FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::timestamptz[], $8::text[], $9::timestamptz[],
$10::bytea[], $11::bytea[], $12::uuid[], $13::text[], $14::bigint[]) AS u
ON CONFLICT (grp, id) DO UPDATE SET
state = excluded.state, attempts = excluded.attempts, next_attempt = excluded.next_attempt, reason = excluded.reason`
	// What was to follow a message that is gone since the transaction saw it is the first of its key.
	promoteFirst = `UPDATE skald_held AS h SET state = 'retrying', next_attempt = 'epoch'
WHERE h.grp = $1 AND h.id = ANY ($2) AND h.state = 'following' AND NOT EXISTS (
SELECT FROM skald_held AS e WHERE e.grp = $1 AND e.channel = h.channel AND e.order_key = h.order_key AND e.place < h.place)`
	// The statement as a whole sees the table as it was before: what it deletes is left out by name.
	unhold = `WITH gone AS (DELETE FROM skald_held WHERE grp = $1 AND id = ANY ($2) RETURNING channel, order_key)
UPDATE skald_held AS h SET state = 'retrying', next_attempt = 'epoch'
FROM (SELECT DISTINCT channel, order_key FROM gone) AS k CROSS JOIN LATERAL (
SELECT e.place FROM skald_held AS e WHERE e.grp = $1 AND e.channel = k.channel AND e.order_key = k.order_key AND e.id <> ALL ($2)
ORDER BY e.place LIMIT 1) AS first
WHERE h.place = first.place AND h.state = 'following'`
	releaseHeldDos = `WITH found AS (SELECT h.place, k.n
FROM unnest($2::uuid[], $3::text[], $4::bigint[]) WITH ORDINALITY AS k (saga, step, attempt, n)
JOIN skald_held AS h ON h.grp = $1 AND h.saga = k.saga AND h.step = k.step AND h.attempt = k.attempt),
released AS (UPDATE skald_held SET state = 'retrying', next_attempt = 'epoch'
WHERE place IN (SELECT place FROM found) AND state <> 'following')
SELECT n FROM found`
	redrive = `UPDATE skald_held SET attempts = 0, next_attempt = 'epoch', state = 'retrying'
WHERE grp = $1 AND state <> 'following' AND id = ANY ($2)`

	heldColumns = "h.message, h.order_key, h.raw, h.grp, h.place, h.state, h.attempts, h.next_attempt, h.reason, h.held_at"
	// What is left of the limit beside the first ones is shared out among their keys, so that a long
	// queue does not keep other keys waiting. Behind a message that has its own time, or is
	// parked, no other goes.
	dueHeld = `WITH heads AS (SELECT h.place, h.channel, h.order_key FROM skald_held AS h
WHERE h.grp = $1 AND h.state = 'retrying' AND h.next_attempt <= $2 AND NOT EXISTS (
SELECT FROM skald_held AS e WHERE e.grp = $1 AND e.channel = h.channel AND e.order_key = h.order_key AND e.place < h.place)
ORDER BY h.next_attempt, h.place LIMIT $3),
behind AS (SELECT f.place FROM heads CROSS JOIN LATERAL (
SELECT q.place, row_number() OVER (ORDER BY q.place) AS n, bool_and(q.state = 'following') OVER (ORDER BY q.place) AS follows FROM (
SELECT e.place, e.state FROM skald_held AS e
WHERE e.grp = $1 AND e.channel = heads.channel AND e.order_key = heads.order_key AND e.place > heads.place
ORDER BY e.place LIMIT $3) AS q) AS f
WHERE f.follows ORDER BY f.n, f.place LIMIT $3 - (SELECT count(*) FROM heads))
SELECT ` + heldColumns + ` FROM skald_held AS h
WHERE h.place IN (SELECT place FROM heads UNION ALL SELECT place FROM behind) ORDER BY h.place`
	nextHeld = "SELECT next_attempt FROM skald_held WHERE grp = $1 AND state = 'retrying' ORDER BY next_attempt LIMIT 1"
	listHeld = "SELECT " + heldColumns + " FROM skald_held AS h WHERE h.place > $1 AND ($2 = '' OR h.grp = $2) ORDER BY h.place LIMIT $3"
)

// HeldAmong implements [inbox.HeldStore]. A group rarely holds anything at all.
func (s *Store) HeldAmong(ctx context.Context, tx skald.Tx, group string, keys []inbox.ChannelKey, list []skald.ID) ([]inbox.ChannelKey, []skald.ID, error) {
	x, err := s.session(tx)
	if err != nil {
		return nil, nil, failure("look for what is held", err)
	}
	some := false
	if err := x.ask(ctx, askHeld(group, len(keys)+len(list), &some)...); err != nil || !some {
		return nil, nil, err
	}
	return x.heldAmong(ctx, group, keys, list)
}

// askHeld asks whether a group holds anything.
func askHeld(group string, wanted int, some *bool) []question {
	if wanted == 0 {
		return nil
	}
	return []question{{
		doing: fmt.Sprintf("look whether group %q holds anything", group),
		query: anyHeld, args: []any{group}, scan: func(row) error { *some = true; return nil },
	}}
}

func (x session) heldAmong(ctx context.Context, group string, keys []inbox.ChannelKey, list []skald.ID) ([]inbox.ChannelKey, []skald.ID, error) {
	channels, names := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		channels[i], names[i] = storable(k.Channel), storable(k.Key)
	}
	var blocked []inbox.ChannelKey
	var held []skald.ID
	err := x.ask(ctx, question{
		doing: fmt.Sprintf("look for what group %q holds among %d keys", group, len(keys)),
		query: heldAmong, args: []any{group, channels, names, ids(list)},
		scan: func(r row) error {
			var key, id int
			err := r.Scan(&key, &id)
			if key > 0 {
				blocked = append(blocked, keys[key-1])
			}
			if id > 0 {
				held = append(held, list[id-1])
			}
			return err
		},
	})
	return blocked, held, err
}

// lockQueues lets one transaction at a time add to a group's queues or take from them, until
// it ends: each sees what the one before it has left, so that no follower is left without a
// first message.
func (x session) lockQueues(ctx context.Context, doing, group string) error {
	return x.exec(ctx, doing, lockAlone, lockNumber("held", group))
}

// Hold implements [inbox.HeldStore].
func (s *Store) Hold(ctx context.Context, tx skald.Tx, group string, held []inbox.Held) error {
	doing := fmt.Sprintf("hold %d messages of group %q", len(held), group)
	x, err := s.session(tx)
	if err != nil || len(held) == 0 {
		return failure(doing, err)
	}
	if err := x.lockQueues(ctx, doing, group); err != nil {
		return err
	}
	if err := x.exec(ctx, doing, hold, heldArrays(group, held)...); err != nil {
		return err
	}
	var followers [][16]byte
	for i := range held {
		if held[i].State == inbox.HeldFollowing {
			followers = append(followers, held[i].Message.ID)
		}
	}
	if len(followers) == 0 {
		return nil
	}
	return x.exec(ctx, doing, promoteFirst, group, followers)
}

// heldArrays are the parameters of hold.
func heldArrays(group string, held []inbox.Held) []any {
	n := len(held)
	list, channels, keys, states := make([][16]byte, n), make([]string, n), make([]string, n), make([]string, n)
	attempts, nexts, reasons, since := make([]int, n), make([]time.Time, n), make([]string, n), make([]time.Time, n)
	messages, raws := make([][]byte, n), make([][]byte, n)
	sagas, steps, dos := make([]pgtype.UUID, n), make([]pgtype.Text, n), make([]pgtype.Int8, n)
	for i := range held {
		h, m := &held[i], &held[i].Message
		list[i], channels[i], keys[i], states[i] = m.ID, storable(m.Channel), storable(h.Queue().Key), string(h.State)
		attempts[i], nexts[i], reasons[i], since[i] = h.Attempts, moment(h.NextAttempt), storable(h.Reason), moment(h.HeldAt)
		messages[i], _ = m.MarshalBinary() // has no error
		raws[i] = h.Raw
		sagas[i], steps[i], dos[i] = do(m)
	}
	return []any{group, list, channels, keys, states, attempts, nexts, reasons, since, messages, raws, sagas, steps, dos}
}

// do is the barrier's key of a message that is a step's do, and NULL of others.
func do(m *skald.Message) (pgtype.UUID, pgtype.Text, pgtype.Int8) {
	if m.Headers.Get(skald.HeaderAction) == skald.ActionDo {
		id, err := skald.ParseID(m.Headers.Get(skald.HeaderSaga))
		attempt, _ := strconv.ParseInt(m.Headers.Get(skald.HeaderAttempt), 10, 64)
		if err == nil {
			return pgtype.UUID{Bytes: id, Valid: true}, pgtype.Text{String: storable(m.Headers.Get(skald.HeaderStep)), Valid: true}, pgtype.Int8{Int64: attempt, Valid: true}
		}
	}
	return pgtype.UUID{}, pgtype.Text{}, pgtype.Int8{}
}

// Unhold implements [inbox.HeldStore].
func (s *Store) Unhold(ctx context.Context, tx skald.Tx, group string, list []skald.ID) error {
	doing := fmt.Sprintf("remove %d held messages of group %q", len(list), group)
	x, err := s.session(tx)
	if err != nil || len(list) == 0 {
		return failure(doing, err)
	}
	if err := x.lockQueues(ctx, doing, group); err != nil {
		return err
	}
	return x.exec(ctx, doing, unhold, group, ids(list))
}

// ReleaseHeldDos implements [inbox.HeldStore].
func (s *Store) ReleaseHeldDos(ctx context.Context, tx skald.Tx, group string, keys []inbox.BarrierKey) ([]inbox.BarrierKey, error) {
	doing := fmt.Sprintf("release what group %q holds of %d steps", group, len(keys))
	x, err := s.session(tx)
	if err != nil || len(keys) == 0 {
		return nil, failure(doing, err)
	}
	var found []inbox.BarrierKey
	sagas, steps, attempts := barrierArrays(len(keys), func(i int) *inbox.BarrierKey { return &keys[i] })
	err = x.ask(ctx, question{doing: doing, query: releaseHeldDos, args: []any{group, sagas, steps, attempts}, scan: func(r row) error {
		var n int
		err := r.Scan(&n)
		if err == nil {
			found = append(found, keys[n-1])
		}
		return err
	}})
	return found, err
}

// Redrive implements [inbox.HeldStore].
func (s *Store) Redrive(ctx context.Context, group string, list []skald.ID) (int, error) {
	if len(list) == 0 {
		return 0, nil
	}
	tag, err := s.pool.Exec(ctx, redrive, group, ids(list))
	return int(tag.RowsAffected()), failure(fmt.Sprintf("redrive %d messages of group %q", len(list), group), err)
}

func scanHeld(r pgx.CollectableRow) (inbox.Held, error) {
	var h inbox.Held
	var key string
	err := r.Scan((*messageColumn)(&h.Message), &key, &h.Raw, &h.Group, &h.Place, (*string)(&h.State), &h.Attempts,
		(*momentColumn)(&h.NextAttempt), &h.Reason, (*momentColumn)(&h.HeldAt))
	h.Apart = key == h.Message.ID.String()
	return h, err
}

// DueHeld implements [inbox.HeldStore].
func (s *Store) DueHeld(ctx context.Context, group string, now time.Time, limit int) ([]inbox.Held, error) {
	due, err := list(ctx, s, scanHeld, dueHeld, group, now, limit)
	return due, failure(fmt.Sprintf("read what is due of group %q's held messages", group), err)
}

// NextHeld implements [inbox.HeldStore].
func (s *Store) NextHeld(ctx context.Context, group string) (time.Time, bool, error) {
	next, found, err := s.next(ctx, nextHeld, group)
	return next, found, failure(fmt.Sprintf("read when the next held message of group %q is due", group), err)
}

// ListHeld implements [inbox.HeldStore].
func (s *Store) ListHeld(ctx context.Context, group string, after int64, limit int) ([]inbox.Held, error) {
	held, err := list(ctx, s, scanHeld, listHeld, after, group, limit)
	return held, failure(fmt.Sprintf("list held messages of group %q", group), err)
}
