package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/skald-go/skald"
)

// statement is SQL that is prepared once: a store keeps a *sql.Stmt for each, and
// database/sql prepares it once on each connection. Parsing costs more than running.
type statement int

// statements is the SQL of every statement, by number.
var statements []string

func newStatement(query string) statement {
	statements = append(statements, query)
	return statement(len(statements) - 1)
}

// prepared is a store's copy of a statement.
type prepared struct {
	mu   sync.RWMutex
	stmt *sql.Stmt
}

func (p *prepared) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stmt == nil {
		return nil
	}
	return p.stmt.Close()
}

func (s *Store) prepare(ctx context.Context, st statement) (*sql.Stmt, error) {
	p := &s.prepared[st]
	p.mu.RLock()
	stmt := p.stmt
	p.mu.RUnlock()
	if stmt != nil {
		return stmt, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stmt == nil {
		stmt, err := s.db.PrepareContext(ctx, statements[st])
		if err != nil {
			return nil, err
		}
		p.stmt = stmt
	}
	return p.stmt, nil
}

// prepareAll prepares every statement: later, a transaction that met one for the first time would
// wait for a second connection while it holds the first.
func (s *Store) prepareAll(ctx context.Context) error {
	for st := range s.prepared {
		if _, err := s.prepare(ctx, statement(st)); err != nil { //nolint:sqlclosecheck // Close closes it
			return fmt.Errorf("sqlite: prepare %q: %w", statements[st], err)
		}
	}
	return nil
}

// transaction is the caller's transaction in the type that this store knows.
func transaction(tx skald.Tx) (*sql.Tx, error) {
	if t, ok := tx.(*sql.Tx); ok && t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("the transaction is a %T: this store needs a *sql.Tx, begun on its database", tx)
}

// exec runs a statement in tx and returns the number of rows it changed.
func (s *Store) exec(ctx context.Context, tx *sql.Tx, st statement, args ...any) (int64, error) {
	stmt := s.bound.get(tx, st)
	if stmt == nil {
		unbound, err := s.prepare(ctx, st)
		if err != nil {
			return 0, err
		}
		stmt = tx.StmtContext(ctx, unbound)
	}
	result, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	s.bound.put(tx, st, stmt)
	return result.RowsAffected()
}

// bound are the statements bound to a transaction, the one that wrote last: there is seldom
// more than one. database/sql keeps whatever was bound until the transaction ends, and one may
// add a million messages.
type bound struct {
	mu    sync.Mutex
	tx    *sql.Tx
	stmts map[statement]*sql.Stmt
}

func (b *bound) get(tx *sql.Tx, st statement) *sql.Stmt {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tx != tx {
		return nil
	}
	return b.stmts[st]
}

func (b *bound) put(tx *sql.Tx, st statement, stmt *sql.Stmt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tx != tx {
		b.tx, b.stmts = tx, map[statement]*sql.Stmt{}
	}
	b.stmts[st] = stmt
}

// query runs a statement, in tx if there is one, and calls scan for every row.
func (s *Store) query(ctx context.Context, tx *sql.Tx, st statement, args []any, scan func(*sql.Rows) error) error {
	stmt, err := s.prepare(ctx, st)
	if err != nil {
		return err
	}
	if tx != nil {
		stmt = tx.StmtContext(ctx, stmt) //nolint:sqlclosecheck // the transaction's end closes it
	}
	rows, err := stmt.QueryContext(ctx, args...)
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

// chunks are the numbers of rows for which a bulk statement is prepared.
var chunks = [...]int{64, 32, 16, 8, 4, 2, 1}

// bulk is a statement over any number of rows, prepared for each size of chunk.
type bulk [len(chunks)]statement

// newBulk makes a statement of a head, a group of parameters per row, and a tail.
func newBulk(head, row, tail string) bulk {
	var b bulk
	for i, size := range chunks {
		b[i] = newStatement(head + strings.Repeat(row+", ", size-1) + row + tail)
	}
	return b
}

// execRows runs b over all rows, in as few statements as their number is made of: 85 rows
// are 64, 16, 4 and 1. It returns the number of rows changed.
func execRows[T any](ctx context.Context, s *Store, tx *sql.Tx, b bulk, rows []T, bind func(args []any, row *T) []any) (int64, error) {
	var changed int64
	var args []any
	for i, size := range chunks {
		for ; len(rows) >= size; rows = rows[size:] {
			args = bind(args[:0], &rows[0])
			args = slices.Grow(args, len(args)*(size-1))
			for j := 1; j < size; j++ {
				args = bind(args, &rows[j])
			}
			n, err := s.exec(ctx, tx, b[i], args...)
			if err != nil {
				return changed, err
			}
			changed += n
		}
	}
	return changed, nil
}

// queryKeys runs b over all keys, in as few statements as possible: the last one is filled
// up with NULL, which equals nothing. The arguments in first come before the keys.
func queryKeys[T any](ctx context.Context, s *Store, tx *sql.Tx, b bulk, first []any, keys []T, bind func(args []any, key *T) []any, scan func(*sql.Rows) error) error {
	var args []any
	for len(keys) > 0 {
		i := 0
		for i+1 < len(chunks) && chunks[i+1] >= len(keys) {
			i++
		}
		n := min(len(keys), chunks[i])
		args = append(args[:0], first...)
		for j := range n {
			args = bind(args, &keys[j])
		}
		width := (len(args) - len(first)) / n
		for range (chunks[i] - n) * width {
			args = append(args, nil)
		}
		if err := s.query(ctx, tx, b[i], args, scan); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// bindID binds the bytes of an id; the slice that it is from must not change meanwhile.
func bindID(args []any, id *skald.ID) []any { return append(args, id[:]) }
