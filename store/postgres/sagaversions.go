package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/saga"
)

const (
	dueSagas = "SELECT id, due_at FROM skald_due_sagas($1, $2, $3, $4, $5, $6)"
	nextDue  = "SELECT at FROM skald_next_due($1, $2) AS at WHERE at IS NOT NULL"

	countLive = "SELECT name, version, count(*), min(key) FROM skald_sagas WHERE " + live + " GROUP BY name, version ORDER BY name, version"
	listLive  = "SELECT " + sagaColumns + " FROM skald_sagas WHERE name = $1 AND version = $2 AND key > $3 AND " + live + " ORDER BY key LIMIT $4"
)

// versionArrays are versions as parameters.
func versionArrays(versions []saga.Version) (names []string, numbers []int) {
	names, numbers = make([]string, len(versions)), make([]int, len(versions))
	for i, v := range versions {
		names[i], numbers[i] = v.Name, v.Number
	}
	return names, numbers
}

// DueSagas implements [saga.Store].
func (s *Store) DueSagas(ctx context.Context, versions []saga.Version, now time.Time, after saga.Due, limit int) ([]saga.Due, error) {
	names, numbers := versionArrays(versions)
	due, err := list(ctx, s, func(r pgx.CollectableRow) (d saga.Due, err error) {
		err = r.Scan((*idColumn)(&d.ID), (*momentColumn)(&d.At))
		return d, err
	}, dueSagas, names, numbers, now, after.At, [16]byte(after.ID), limit)
	return due, failure("read which sagas are due", err)
}

// NextDue implements [saga.Store].
func (s *Store) NextDue(ctx context.Context, versions []saga.Version) (time.Time, bool, error) {
	names, numbers := versionArrays(versions)
	next, found, err := s.next(ctx, nextDue, names, numbers)
	return next, found, failure("read when the next saga is due", err)
}

// CountLive implements [saga.Store].
func (s *Store) CountLive(ctx context.Context) ([]saga.Live, error) {
	live, err := list(ctx, s, func(r pgx.CollectableRow) (l saga.Live, err error) {
		err = r.Scan(&l.Name, &l.Number, &l.Count, &l.Key)
		return l, err
	}, countLive)
	return live, failure("count the live sagas", err)
}

// ListLive implements [saga.Store].
func (s *Store) ListLive(ctx context.Context, version saga.Version, after string, limit int) ([]saga.Record, error) {
	found, err := list(ctx, s, sagaRow, listLive, version.Name, version.Number, after, limit)
	return found, failure(fmt.Sprintf("list the live sagas of %s", version), err)
}
