package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald/saga"
)

// Timers are read version by version, along their index, so that those of others cost nothing.
var (
	dueSagas = newStatement("SELECT id, due_at FROM skald_sagas WHERE name = ? AND version = ? AND due_at <= ? AND (due_at, id) > (?, ?) ORDER BY due_at, id LIMIT ?")
	nextDue  = newStatement("SELECT due_at FROM skald_sagas WHERE name = ? AND version = ? AND due_at IS NOT NULL ORDER BY due_at LIMIT 1")

	countLive = newStatement("SELECT name, version, count(*), min(key) FROM skald_sagas INDEXED BY skald_sagas_live WHERE " + live + " GROUP BY name, version ORDER BY name, version")
	listLive  = newStatement("SELECT " + sagaColumns + " FROM skald_sagas INDEXED BY skald_sagas_live WHERE name = ? AND version = ? AND key > ? AND " + live + " ORDER BY key LIMIT ?")
)

// DueSagas implements [saga.Store].
func (s *Store) DueSagas(ctx context.Context, versions []saga.Version, now time.Time, after saga.Due, limit int) ([]saga.Due, error) {
	var due []saga.Due
	for _, v := range versions {
		err := s.query(ctx, nil, dueSagas, []any{v.Name, int64(v.Number), micros(now), micros(after.At), after.ID[:], limit}, func(rows *sql.Rows) error {
			var d saga.Due
			err := rows.Scan((*idColumn)(&d.ID), (*momentColumn)(&d.At))
			due = append(due, d)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("sqlite: read which sagas of %s are due: %w", v, err)
		}
	}
	slices.SortFunc(due, func(a, b saga.Due) int { return cmp.Or(a.At.Compare(b.At), bytes.Compare(a.ID[:], b.ID[:])) })
	return due[:min(len(due), limit)], nil
}

// NextDue implements [saga.Store].
func (s *Store) NextDue(ctx context.Context, versions []saga.Version) (time.Time, bool, error) {
	var next time.Time
	found := false
	for _, v := range versions {
		err := s.query(ctx, nil, nextDue, []any{v.Name, int64(v.Number)}, func(rows *sql.Rows) error {
			var at time.Time
			err := rows.Scan((*momentColumn)(&at))
			if !found || at.Before(next) {
				next, found = at, true
			}
			return err
		})
		if err != nil {
			return time.Time{}, false, fmt.Errorf("sqlite: read when the next saga of %s is due: %w", v, err)
		}
	}
	return next, found, nil
}

// CountLive implements [saga.Store].
func (s *Store) CountLive(ctx context.Context) ([]saga.Live, error) {
	var list []saga.Live
	err := s.query(ctx, nil, countLive, nil, func(rows *sql.Rows) error {
		var l saga.Live
		err := rows.Scan(&l.Name, &l.Number, &l.Count, &l.Key)
		list = append(list, l)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: count the live sagas: %w", err)
	}
	return list, nil
}

// ListLive implements [saga.Store].
func (s *Store) ListLive(ctx context.Context, version saga.Version, after string, limit int) ([]saga.Record, error) {
	var list []saga.Record
	if err := s.query(ctx, nil, listLive, []any{version.Name, int64(version.Number), after, limit}, scanSaga(&list)); err != nil {
		return nil, fmt.Errorf("sqlite: list the live sagas of %s: %w", version, err)
	}
	return list, nil
}
