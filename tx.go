package skald

import (
	"context"
	"database/sql"
)

// Tx is the caller's transaction, in the caller's type. A *sql.Tx is one as it is; the
// PostgreSQL store wraps a pgx.Tx into one. Skald never calls Commit or Rollback on a
// transaction that somebody else began: they are listed so that a *sql.DB or a *sql.Conn,
// which is no transaction, does not compile where one is needed.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	Commit() error
	Rollback() error
}

// Queryer is what a portable handler may ask of its transaction: the three statements of
// a *sql.Tx. A handler that names Queryer as its transaction runs on every store whose
// transaction is a *sql.Tx.
type Queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

var (
	_ Tx      = (*sql.Tx)(nil)
	_ Queryer = (*sql.Tx)(nil)
)
