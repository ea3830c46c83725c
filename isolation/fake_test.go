package isolation_test

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/skald-go/skald"
)

// table stands for a database: what a statement's arguments do to it, and how many rows that changes.
type table func(args []any) (rows int64, err error)

func (t table) ExecContext(_ context.Context, _ string, args ...any) (sql.Result, error) {
	rows, err := t(args)
	return driver.RowsAffected(rows), err
}

func (table) Commit() error   { panic("committed by somebody else") }
func (table) Rollback() error { panic("rolled back by somebody else") }

var _ skald.Tx = table(nil)

// account is a row: what is authorized of a limit, as the statement of credit changes it.
type account struct{ authorized, limit int64 }

const addAuthorized = `UPDATE accounts SET authorized = authorized + $1 WHERE id = $2 AND authorized + $1 BETWEEN 0 AND credit_limit`

func (a *account) table(key string) table {
	return func(args []any) (int64, error) {
		after := a.authorized + args[0].(int64)
		if args[1] != key || after < 0 || after > a.limit {
			return 0, nil
		}
		a.authorized = after
		return 1, nil
	}
}
