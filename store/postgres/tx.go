package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/skald-go/skald"
)

var _ skald.Tx = (*Tx)(nil)

// Tx is a transaction of pgx as Skald takes it: a pgx.Tx, with a queue of statements that share a
// round trip. It is used by one goroutine at a time.
//
// Inside a handler the runtime ends the transaction: Commit and Rollback fail there, and make the
// batch fail.
type Tx struct{ pgx.Tx }

// Wrap makes a transaction of the application's own acceptable to Skald. What is queued on one
// wrapper is not known to another of the same transaction.
func Wrap(tx pgx.Tx) *Tx { return &Tx{&transaction{tx: tx}} }

// Queue notes a statement that is sent together with others, in one round trip: before the
// next statement that is executed directly, at [Tx.Flush], or, inside a handler, at the latest when
// the batch commits. A plain handler queues what it needs no result of; a batch handler
// answers from a function for the result:
//
//	tx.Queue(sql, args...).QueryRow(func(row pgx.Row) error { … })
//
// When a queued statement or its function fails, so does the flush, and what is queued behind it is
// not executed.
func (t *Tx) Queue(query string, args ...any) *pgx.QueuedQuery {
	own := t.Tx.(*transaction)
	q := own.queue(query, args...)
	own.asked = append(own.asked, q)
	return q
}

// Flush sends what is queued, and calls the functions for the results.
func (t *Tx) Flush(ctx context.Context) error { return t.Tx.(*transaction).flush(ctx) }

// ExecContext implements [skald.Tx].
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	tag, err := t.Exec(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return rowsAffected(tag), nil
}

func rowsAffected(tag pgconn.CommandTag) sql.Result { return driver.RowsAffected(tag.RowsAffected()) }

// Commit implements [skald.Tx]. Skald itself never calls it.
func (t *Tx) Commit() error { return t.Tx.Commit(context.Background()) }

// Rollback implements [skald.Tx]. Skald itself never calls it.
func (t *Tx) Rollback() error { return t.Tx.Rollback(context.Background()) }
