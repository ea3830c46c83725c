package host

import (
	"context"
	"database/sql"
)

// Exec runs a prepared statement in a transaction of the service's runtime.
//
// The end of ctx does not interrupt the statement: the driver would start a goroutine for
// each to watch for it. The runtime bounds a handler's time by rolling its batch back, and
// that interrupts whatever statement is running.
func Exec(ctx context.Context, tx *sql.Tx, statement *sql.Stmt, args ...any) (sql.Result, error) {
	ctx = context.WithoutCancel(ctx)
	return tx.StmtContext(ctx, statement).ExecContext(ctx, args...) //nolint:sqlclosecheck // closed with tx
}

// QueryRow reads one row with a prepared statement: in a transaction like Exec, or, where tx is
// nil, what is committed.
func QueryRow(ctx context.Context, tx *sql.Tx, statement *sql.Stmt, args ...any) *sql.Row {
	if tx == nil {
		return statement.QueryRowContext(ctx, args...)
	}
	ctx = context.WithoutCancel(ctx)
	return tx.StmtContext(ctx, statement).QueryRowContext(ctx, args...) //nolint:sqlclosecheck // closed with tx
}
