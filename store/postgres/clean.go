package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// buckets is into how many parts the outbox is divided. Rows go into one of them; the others are
// emptied as they become old.
const buckets = 4

// CleanOutbox implements [relay.Source]. It empties whole buckets, whatever the limit, by TRUNCATE:
// nothing is left to vacuum. A bucket is emptied when every row in it is settled and older than the
// moment, and no transaction that has added rows to it is under way.
func (s *Store) CleanOutbox(ctx context.Context, before time.Time, _ int) (int, error) {
	if s.config.Relay == Emit {
		return 0, nil
	}
	cleaned := 0
	for b := range buckets {
		n, err := s.emptyBucket(ctx, b, before)
		if err != nil && !hasCode(err, codeLockNotAvailable) { // who is adding rows comes first
			return cleaned, failure(fmt.Sprintf("clean bucket %d of the outbox", b), err)
		}
		cleaned += n
	}
	err := s.turnBucket(ctx, time.Now().Add(-time.Since(before)/(buckets-2)))
	return cleaned, failure("turn to the next bucket of the outbox", err)
}

// newestIn looks at a row that is young if any is, without reading the others.
const newestIn = "SELECT added_at FROM %s ORDER BY seq DESC LIMIT 1"

const keptIn = `SELECT count(*), count(*) FILTER (WHERE added_at >= $1 OR NOT pg_visible_in_snapshot(xid, floor)) FROM %s, skald_relay`

func (s *Store) emptyBucket(ctx context.Context, b int, before time.Time) (int, error) {
	table := fmt.Sprintf("skald_outbox_%d", b)
	var newest time.Time
	rows, err := s.pool.Query(ctx, fmt.Sprintf(newestIn, table))
	if err == nil {
		err = scanRows(rows, func(r row) error { return r.Scan(&newest) })
	}
	if err != nil || newest.IsZero() || !newest.Before(before) {
		return 0, err
	}
	all, kept := 0, 0
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '50ms'"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, fmt.Sprintf(keptIn, table), before).Scan(&all, &kept); err != nil || kept > 0 {
			return err
		}
		_, err := tx.Exec(ctx, "TRUNCATE "+table)
		return err
	})
	if err != nil || kept > 0 {
		return 0, err
	}
	return all, nil
}

// turnBucket lets new rows go into the next bucket once the oldest row of the present one is from
// before the moment, if the next one is empty: so buckets become old as a whole.
func (s *Store) turnBucket(ctx context.Context, before time.Time) error {
	var present int
	if err := s.pool.QueryRow(ctx, "SELECT bucket FROM skald_relay").Scan(&present); err != nil {
		return err
	}
	next := (present + 1) % buckets
	_, err := s.pool.Exec(ctx, fmt.Sprintf(`UPDATE skald_relay SET bucket = %d WHERE bucket = %d AND NOT EXISTS (SELECT FROM skald_outbox_%[1]d)
AND (SELECT added_at FROM skald_outbox_%[2]d ORDER BY seq LIMIT 1) < $1`, next, present), before)
	return err
}
