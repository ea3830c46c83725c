package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// list reads rows outside of any transaction.
func list[T any](ctx context.Context, s *Store, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	rows, _ := s.pool.Query(ctx, query, args...) // its error comes again
	return pgx.AppendRows[T, []T](nil, rows, scan)
}

// next reads one moment; false when there is no row.
func (s *Store) next(ctx context.Context, query string, args ...any) (time.Time, bool, error) {
	var next time.Time
	err := s.pool.QueryRow(ctx, query, args...).Scan((*momentColumn)(&next))
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, false, nil
	}
	return next, err == nil, err
}
