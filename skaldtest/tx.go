package skaldtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

var (
	_ skald.Tx    = (*Tx)(nil)
	_ inbox.Batch = (*batch)(nil)
)

// Tx is a transaction on a [Store], and a small key-value store as the service's own data.
// It is used by one goroutine at a time.
type Tx struct {
	store   *Store
	view    *view
	runtime bool // began by the runtime, which ends it
	queued  []func() error
	// recorder notes reads and writes; nil for nobody.
	recorder *recorder

	// Guarded by the database's mu.
	state  txState
	failed error // why it cannot be used any more, though it is open
	broken error // by a statement, until the return to a savepoint
}

type txState int

const (
	txOpen txState = iota
	txCommitted
	txRolledBack
)

// BeginTx opens a transaction that the caller ends. It waits for the one that is open.
func (s *Store) BeginTx(ctx context.Context) (*Tx, error) { return s.begin(ctx) }

// Begin implements [inbox.Store].
func (s *Store) Begin(ctx context.Context) (inbox.Batch, error) {
	tx, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	tx.runtime = true
	return &batch{tx: tx, savepoint: -1}, nil
}

func (s *Store) begin(ctx context.Context) (*Tx, error) {
	select {
	case s.db.writer <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("skaldtest: begin: %w", ctx.Err())
	case <-s.crashed:
		return nil, ErrCrashed
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		<-s.db.writer
		return nil, err
	}
	s.db.open = &Tx{store: s, view: newView(&s.db.tables), recorder: s.recorder}
	s.recorder.begin()
	return s.db.open, nil
}

// Get returns a value that the transaction sees: its own, or a committed one.
func (tx *Tx) Get(table, key string) (string, bool) {
	tx.store.db.mu.RLock()
	defer tx.store.db.mu.RUnlock()
	value, ok := tx.view.business.get(businessKey{table, key})
	tx.recorder.note(OperationRead, table, key, value)
	return value, ok
}

// List returns a table as the transaction sees it, by key.
func (tx *Tx) List(table string) map[string]string {
	tx.store.db.mu.RLock()
	defer tx.store.db.mu.RUnlock()
	rows := tx.view.list(table)
	tx.noteList(table, rows)
	return rows
}

// Put writes a value. It panics after Commit; after a rollback it has no effect.
func (tx *Tx) Put(table, key, value string) {
	tx.mustNotBeCommitted()
	tx.notePut(table, key, value)
	tx.view.business.put(businessKey{table, key}, value)
}

// Delete removes a value. It panics after Commit; after a rollback it has no effect.
func (tx *Tx) Delete(table, key string) {
	tx.mustNotBeCommitted()
	tx.noteDelete(table, key)
	tx.view.business.delete(businessKey{table, key})
}

func (tx *Tx) mustNotBeCommitted() {
	tx.store.db.mu.RLock()
	defer tx.store.db.mu.RUnlock()
	if tx.state == txCommitted {
		panic("skaldtest: write to a transaction that is committed already")
	}
}

// ExecContext implements [skald.Tx]. It always fails: the twin is not an SQL database.
func (tx *Tx) ExecContext(_ context.Context, query string, _ ...any) (sql.Result, error) {
	return nil, fmt.Errorf("skaldtest: %.40q: the in-memory store is not SQL: use Get, Put, Delete and List", query)
}

// Commit ends the user's own transaction. On a transaction that the runtime began it is an
// error, and nothing is committed.
func (tx *Tx) Commit() error {
	if tx.runtime {
		return errors.New("skaldtest: a handler must not commit: the runtime ends the batch's transaction")
	}
	return tx.commit()
}

// Rollback undoes the user's own transaction; after its end it is [sql.ErrTxDone]. On a
// transaction that the runtime began it is an error, and the whole batch fails.
func (tx *Tx) Rollback() error {
	if !tx.runtime {
		return tx.rollback()
	}
	err := errors.New("skaldtest: a handler must not roll back: return an error instead")
	tx.store.db.mu.Lock()
	defer tx.store.db.mu.Unlock()
	tx.failed = err
	return err
}

// usable says why the transaction cannot go on; the caller holds the database's mu.
func (tx *Tx) usable() error {
	if tx.state != txOpen {
		return sql.ErrTxDone
	}
	if tx.failed != nil {
		return tx.failed
	}
	return tx.broken
}

func (tx *Tx) commit() error {
	if err := tx.Flush(); err != nil {
		return fmt.Errorf("skaldtest: commit: %w", err)
	}
	db := tx.store.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := tx.usable(); err != nil {
		return fmt.Errorf("skaldtest: commit: %w", err)
	}
	if len(db.failures) > 0 {
		landed := db.failures[0].landed
		db.failures = db.failures[1:]
		if landed {
			tx.apply()
		} else {
			tx.end(txRolledBack)
		}
		return fmt.Errorf("skaldtest: commit: %w", ErrConnectionLost)
	}
	tx.apply()
	return nil
}

// apply makes the changes the database's; the caller holds mu.
func (tx *Tx) apply() {
	tx.view.apply()
	tx.end(txCommitted)
	tx.store.db.wake()
}

func (tx *Tx) rollback() error {
	db := tx.store.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if tx.state != txOpen {
		return sql.ErrTxDone
	}
	tx.end(txRolledBack)
	return nil
}

// end gives the write lock of an open transaction up; the caller holds mu.
func (tx *Tx) end(state txState) {
	tx.state, tx.store.db.open = state, nil
	<-tx.store.db.writer
}

// batch is the runtime's side of a transaction.
type batch struct {
	tx *Tx
	// savepoint is the length of the journal at the savepoint, -1 when there is none; noted that of
	// what the recorder has.
	savepoint, noted int
}

// Tx implements [inbox.Batch].
func (b *batch) Tx() skald.Tx { return b.tx }

// Await implements [inbox.Batch]. What a queued statement is for is not known here.
func (b *batch) Await(ctx context.Context) error { return b.Flush(ctx) }

// Flush implements [inbox.Batch].
func (b *batch) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("skaldtest: flush: %w", err)
	}
	return b.tx.Flush()
}

// Commit implements [inbox.Batch].
func (b *batch) Commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("skaldtest: commit: %w", err)
	}
	return b.tx.commit()
}

// Rollback implements [inbox.Batch].
func (b *batch) Rollback() error {
	_ = b.tx.rollback() // its only error says that the transaction has ended
	return nil
}

// Savepoint implements [inbox.Batch].
func (b *batch) Savepoint(ctx context.Context) error {
	if err := b.Flush(ctx); err != nil {
		return err
	}
	return b.tx.store.within(ctx, b.tx, func(v *view) error {
		if b.savepoint >= 0 {
			return errors.New("skaldtest: there is a savepoint already")
		}
		b.savepoint, b.noted = len(v.journal.undo), b.tx.recorder.length()
		return nil
	})
}

// Release implements [inbox.Batch].
func (b *batch) Release(ctx context.Context) error {
	return b.endSavepoint(ctx, func(*view) {})
}

// RollbackTo implements [inbox.Batch].
func (b *batch) RollbackTo(ctx context.Context) error {
	b.tx.mend()
	return b.endSavepoint(ctx, func(v *view) {
		v.journal.rollbackTo(b.savepoint)
		b.tx.recorder.rollbackTo(b.noted)
	})
}

func (b *batch) endSavepoint(ctx context.Context, fn func(v *view)) error {
	return b.tx.store.within(ctx, b.tx, func(v *view) error {
		if b.savepoint < 0 {
			return errors.New("skaldtest: there is no savepoint")
		}
		fn(v)
		b.savepoint = -1
		return nil
	})
}

// CheapSavepoints implements [inbox.Batch].
func (b *batch) CheapSavepoints() bool {
	b.tx.store.db.mu.RLock()
	defer b.tx.store.db.mu.RUnlock()
	return !b.tx.store.db.expensive
}
