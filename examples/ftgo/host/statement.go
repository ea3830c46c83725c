package host

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/skald-go/skald"
)

// Query is a statement to prepare, and where to put it.
type Query struct {
	Into *Statement
	SQL  string
	// Lock keeps the rows that the query reads as they are until the transaction ends: for those
	// that are read, changed and written back. Another instance of the service may run meanwhile.
	Lock bool
}

// Statement is one that runs for every message or request, and is therefore parsed once for
// each connection.
type Statement struct {
	db       *sql.DB
	text     string
	prepared *sql.Stmt // nil where the driver itself keeps the statements of a connection
}

// Prepare prepares statements for the life of DB. It returns every fault at once.
func (h Host) Prepare(ctx context.Context, owner string, queries ...Query) error {
	var faults []error
	for _, q := range queries {
		statement := Statement{db: h.DB, text: h.Dialect.statement(q.SQL, q.Lock)}
		prepared, err := h.DB.PrepareContext(ctx, statement.text)
		switch {
		case err != nil:
			err = fmt.Errorf("%s: prepare %q: %w", owner, q.SQL, err)
		case h.Dialect == SQLite:
			statement.prepared = prepared // closed with DB
		default:
			err = prepared.Close() //nolint:sqlclosecheck // at once: it was to show that the database understands it
		}
		faults = append(faults, err)
		*q.Into = statement
	}
	return errors.Join(faults...)
}

// Text is the statement as it is executed.
func (s Statement) Text() string { return s.text }

// In is the transaction, for what executes the statement by its text: the prepared one is executed then.
func (s Statement) In(tx *sql.Tx) skald.Tx { return executing{tx, s} }

type executing struct {
	*sql.Tx
	statement Statement
}

// ExecContext implements [skald.Tx].
func (e executing) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	if text != e.statement.text {
		return e.Tx.ExecContext(ctx, text, args...)
	}
	return Exec(ctx, e.Tx, e.statement, args...)
}

// Exec runs a statement in a transaction of the service's runtime.
//
// The end of ctx does not interrupt the statement: the driver would start a goroutine for
// each to watch for it. The runtime bounds a handler's time by rolling its batch back, and
// that interrupts whatever statement is running.
func Exec(ctx context.Context, tx *sql.Tx, s Statement, args ...any) (sql.Result, error) {
	ctx = context.WithoutCancel(ctx)
	if s.prepared == nil {
		return tx.ExecContext(ctx, s.text, args...)
	}
	return tx.StmtContext(ctx, s.prepared).ExecContext(ctx, args...) //nolint:sqlclosecheck // closed with tx
}

// QueryRow reads one row with a statement: in a transaction like Exec, or, where tx is nil, what is
// committed.
func QueryRow(ctx context.Context, tx *sql.Tx, s Statement, args ...any) *sql.Row {
	switch {
	case tx == nil && s.prepared == nil:
		return s.db.QueryRowContext(ctx, s.text, args...)
	case tx == nil:
		return s.prepared.QueryRowContext(ctx, args...)
	}
	ctx = context.WithoutCancel(ctx)
	if s.prepared == nil {
		return tx.QueryRowContext(ctx, s.text, args...)
	}
	return tx.StmtContext(ctx, s.prepared).QueryRowContext(ctx, args...) //nolint:sqlclosecheck // closed with tx
}
