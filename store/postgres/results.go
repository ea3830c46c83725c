package postgres

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// openRows are the rows of a query. They can be cut off between two of them when the runtime
// gives the handler up.
type openRows struct {
	pgx.Rows
	in  *transaction
	err error
}

func (r *openRows) Next() bool {
	if r.err = r.in.use(); r.err != nil {
		return false
	}
	defer r.in.using.Unlock()
	return r.Rows.Next()
}

func (r *openRows) Scan(dest ...any) error {
	if err := r.in.use(); err != nil {
		return err
	}
	defer r.in.using.Unlock()
	return r.Rows.Scan(dest...)
}

func (r *openRows) Close() {
	if r.in.use() != nil {
		return
	}
	defer r.in.using.Unlock()
	r.Rows.Close()
}

func (r *openRows) Err() error {
	if r.err != nil {
		return r.err
	}
	if err := r.in.use(); err != nil {
		return err
	}
	defer r.in.using.Unlock()
	return r.in.failed(r.Rows.Err())
}

// openRow is the only row of a query.
type openRow struct{ rows pgx.Rows }

// Scan implements [pgx.Row].
func (r openRow) Scan(dest ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// openResults are the results of a batch of the handler's own.
type openResults struct {
	pgx.BatchResults
	in *transaction
}

func (r *openResults) Exec() (pgconn.CommandTag, error) {
	if err := r.in.use(); err != nil {
		return pgconn.CommandTag{}, err
	}
	defer r.in.using.Unlock()
	tag, err := r.BatchResults.Exec()
	return tag, r.in.failed(err)
}

func (r *openResults) Query() (pgx.Rows, error) {
	if err := r.in.use(); err != nil {
		return failedRows{err}, err
	}
	defer r.in.using.Unlock()
	rows, err := r.BatchResults.Query()
	return &openRows{Rows: rows, in: r.in}, err
}

func (r *openResults) QueryRow() pgx.Row {
	rows, _ := r.Query()
	return openRow{rows}
}

func (r *openResults) Close() error {
	if err := r.in.use(); err != nil {
		return err
	}
	defer r.in.using.Unlock()
	return r.in.failed(r.BatchResults.Close())
}

// failedRows are the result of a query that was not sent.
type failedRows struct{ err error }

func (f failedRows) Close()                                       {}
func (f failedRows) Err() error                                   { return f.err }
func (f failedRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (f failedRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (f failedRows) Next() bool                                   { return false }
func (f failedRows) Scan(...any) error                            { return f.err }
func (f failedRows) Values() ([]any, error)                       { return nil, f.err }
func (f failedRows) RawValues() [][]byte                          { return nil }
func (f failedRows) Conn() *pgx.Conn                              { return nil }
func (f failedRows) TypeMap() *pgtype.Map                         { return nil }

// failedResults are the results of a batch that was not sent.
type failedResults struct{ err error }

func (f failedResults) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, f.err }
func (f failedResults) Query() (pgx.Rows, error)         { return failedRows(f), f.err }
func (f failedResults) QueryRow() pgx.Row                { return failedRows(f) }
func (f failedResults) Close() error                     { return f.err }
func (f failedResults) Tx() pgx.Tx                       { return nil }
