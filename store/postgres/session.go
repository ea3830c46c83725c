package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
)

// session is a transaction as the store's own statements use it: pgx's, or one of database/sql
// that the application began.
type session struct {
	tx  *transaction
	sql *sql.Tx
}

// session finds out what kind of transaction tx is.
func (s *Store) session(tx skald.Tx) (session, error) {
	switch t := tx.(type) {
	case *Tx:
		if t != nil {
			if own, ok := t.Tx.(*transaction); ok {
				return session{tx: own}, nil
			}
		}
	case *sql.Tx:
		if own, ok := s.batches.Load(t); ok {
			return session{tx: own.(*transaction)}, nil
		}
		if t != nil {
			return session{sql: t}, nil
		}
	}
	return session{}, fmt.Errorf("the transaction is a %T: this store needs a *postgres.Tx (postgres.Wrap makes one of a pgx.Tx) or a *sql.Tx of pgx's driver, begun on its database", tx)
}

// row is what a function that scans a row gets.
type row interface{ Scan(dest ...any) error }

// exec executes a statement of which only success matters. In a batch of the runtime's it is
// queued, and its error, which names what was being done, is that of a later flush or of the commit.
func (x session) exec(ctx context.Context, doing, query string, args ...any) error {
	if x.sql != nil {
		_, err := x.sql.ExecContext(ctx, query, args...)
		return failure(doing, err)
	}
	if err := x.tx.use(); err != nil {
		return failure(doing, err)
	}
	x.tx.using.Unlock()
	x.tx.queue(query, args...).Fn = func(results pgx.BatchResults) error {
		_, err := results.Exec()
		return failure(doing, err)
	}
	if x.tx.runtime() {
		return nil
	}
	return x.tx.flush(ctx)
}

// query executes a statement and calls scan for every row.
func (x session) query(ctx context.Context, doing, query string, args []any, scan func(row) error) error {
	if x.sql != nil {
		return failure(doing, querySQL(ctx, x.sql, query, args, scan))
	}
	q := x.tx.queue(query, args...)
	q.Query(func(rows pgx.Rows) error { return failure(doing, scanRows(rows, scan)) })
	return x.tx.flush(ctx)
}

func scanRows(rows pgx.Rows, scan func(row) error) error {
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func querySQL(ctx context.Context, tx *sql.Tx, query string, args []any, scan func(row) error) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
