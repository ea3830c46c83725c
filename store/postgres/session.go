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

// question is a statement whose rows are scanned one after the other.
type question struct {
	doing, query string
	args         []any
	scan         func(row) error
	done         func() // after the last row, if it is set
}

// ask sends questions in one round trip, with whatever is queued; in a transaction of
// database/sql's, one after the other.
func (x session) ask(ctx context.Context, questions ...question) error {
	for _, q := range questions {
		if x.sql == nil {
			x.note(q)
		} else if err := q.answered(querySQL(ctx, x.sql, q.query, q.args, q.scan)); err != nil {
			return err
		}
	}
	if x.sql != nil || len(questions) == 0 {
		return nil
	}
	return x.tx.flush(ctx)
}

// note queues a question.
func (x session) note(q question) {
	x.tx.queue(q.query, q.args...).Query(func(rows pgx.Rows) error { return q.answered(scanRows(rows, q.scan)) })
}

func (q *question) answered(err error) error {
	if err == nil && q.done != nil {
		q.done()
	}
	return failure(q.doing, err)
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
