package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

const unpublishedColumns = "h.position_commit, h.position_index, h.message, h.added_at, h.attempts, h.next_attempt, h.reason"

const (
	// underLease holds the lease, if it still is the caller's, until the statement has taken effect.
	underLease      = "WITH lease AS (SELECT FROM skald_relay WHERE holder = $1 AND epoch = $2 FOR NO KEY UPDATE)\n"
	holdUnpublished = underLease + `INSERT INTO skald_unpublished
(id, position_commit, position_index, channel, order_key, attempts, next_attempt, reason, added_at, message)
SELECT u.* FROM lease CROSS JOIN unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::integer[],
$9::timestamptz[], $10::text[], $11::timestamptz[], $12::bytea[]) AS u
ON CONFLICT (id) DO UPDATE SET attempts = excluded.attempts, next_attempt = excluded.next_attempt, reason = excluded.reason`
	removeUnpublished = underLease + `, removed AS (DELETE FROM skald_unpublished WHERE id = ANY ($3) AND EXISTS (SELECT FROM lease))
SELECT FROM lease`
	// What is left of the limit beside the first ones is shared out among their keys.
	dueUnpublished = `WITH heads AS (SELECT h.* FROM skald_unpublished AS h
WHERE h.next_attempt <= $1 AND NOT EXISTS (
SELECT FROM skald_unpublished AS e WHERE e.channel = h.channel AND e.order_key = h.order_key
AND (e.position_commit, e.position_index) < (h.position_commit, h.position_index))
ORDER BY h.next_attempt, h.position_commit, h.position_index LIMIT $2),
behind AS (SELECT f.id FROM heads CROSS JOIN LATERAL (
SELECT e.id, row_number() OVER (ORDER BY e.position_commit, e.position_index) AS n FROM skald_unpublished AS e
WHERE e.channel = heads.channel AND e.order_key = heads.order_key
AND (e.position_commit, e.position_index) > (heads.position_commit, heads.position_index) ORDER BY n LIMIT $2) AS f
ORDER BY f.n LIMIT $2 - (SELECT count(*) FROM heads))
SELECT ` + unpublishedColumns + ` FROM skald_unpublished AS h
WHERE h.id IN (SELECT id FROM heads UNION ALL SELECT id FROM behind) ORDER BY h.position_commit, h.position_index`
	listUnpublished = "SELECT " + unpublishedColumns + ` FROM skald_unpublished AS h
ORDER BY h.position_commit, h.position_index LIMIT $1`
	unpublishedKeys = "SELECT DISTINCT channel, order_key FROM skald_unpublished"
)

// HoldUnpublished implements [relay.UnpublishedStore].
func (s *Store) HoldUnpublished(ctx context.Context, lease relay.Lease, held []relay.Unpublished) error {
	if len(held) == 0 {
		return nil
	}
	n := len(held)
	list, commits, indexes, channels, keys := make([][16]byte, n), make([]int64, n), make([]int64, n), make([]string, n), make([]string, n)
	attempts, nexts, reasons := make([]int, n), make([]time.Time, n), make([]string, n)
	added, messages := make([]time.Time, n), make([][]byte, n)
	for i := range held {
		u, m := &held[i], &held[i].Message
		list[i], commits[i], indexes[i] = m.ID, int64(u.Position.Commit), int64(u.Position.Index)
		channels[i], keys[i] = m.Channel, m.OrderKey()
		attempts[i], nexts[i], reasons[i], added[i] = u.Attempts, moment(u.NextAttempt), storable(u.Reason), moment(u.AddedAt)
		messages[i], _ = m.MarshalBinary() // has no error
	}
	tag, err := s.pool.Exec(ctx, holdUnpublished, lease.Holder, lease.Epoch,
		list, commits, indexes, channels, keys, attempts, nexts, reasons, added, messages)
	return failure(fmt.Sprintf("hold %d unpublished messages", len(held)), fenced(tag, err))
}

// RemoveUnpublished implements [relay.UnpublishedStore].
func (s *Store) RemoveUnpublished(ctx context.Context, lease relay.Lease, list []skald.ID) error {
	if len(list) == 0 {
		return nil
	}
	tag, err := s.pool.Exec(ctx, removeUnpublished, lease.Holder, lease.Epoch, ids(list))
	return failure(fmt.Sprintf("remove %d unpublished messages", len(list)), fenced(tag, err))
}

func scanUnpublished(r pgx.CollectableRow) (relay.Unpublished, error) {
	var u relay.Unpublished
	var commit int64
	err := r.Scan(&commit, &u.Position.Index, (*messageColumn)(&u.Message), (*momentColumn)(&u.AddedAt),
		&u.Attempts, (*momentColumn)(&u.NextAttempt), &u.Reason)
	u.Position.Commit = uint64(commit)
	return u, err
}

// DueUnpublished implements [relay.UnpublishedStore].
func (s *Store) DueUnpublished(ctx context.Context, now time.Time, limit int) ([]relay.Unpublished, error) {
	due, err := list(ctx, s, scanUnpublished, dueUnpublished, now, limit)
	return due, failure("read which unpublished messages are due", err)
}

// ListUnpublished implements [relay.UnpublishedStore].
func (s *Store) ListUnpublished(ctx context.Context, limit int) ([]relay.Unpublished, error) {
	held, err := list(ctx, s, scanUnpublished, listUnpublished, limit)
	return held, failure("list unpublished messages", err)
}

// UnpublishedKeys implements [relay.UnpublishedStore].
func (s *Store) UnpublishedKeys(ctx context.Context) ([]relay.ChannelKey, error) {
	keys, err := list(ctx, s, pgx.RowToStructByPos[relay.ChannelKey], unpublishedKeys)
	return keys, failure("read the keys of unpublished messages", err)
}
