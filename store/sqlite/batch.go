package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
)

// ErrEnded says that a handler ended the runtime's transaction by Commit or Rollback.
// Nothing of the batch is committed.
var ErrEnded = errors.New("sqlite: a handler has ended the runtime's transaction by Commit or Rollback: return an error or a refusal instead")

// errClosed is returned for whatever begins after Close.
var errClosed = errors.New("the store is closed")

// A deferred transaction takes the write lock with its first write; this one changes nothing.
var (
	lockStatement    = newStatement("UPDATE skald_relay SET mark = mark WHERE 0")
	savepointSet     = newStatement("SAVEPOINT skald")
	savepointRelease = newStatement("RELEASE skald")
	savepointUndo    = newStatement("ROLLBACK TO skald")
)

// TxType implements [inbox.Store]: handlers get a *sql.Tx.
func (s *Store) TxType() reflect.Type { return reflect.TypeFor[*sql.Tx]() }

// Batch is a transaction that the runtime owns. It implements [inbox.Batch].
type Batch struct {
	store  *Store
	writer *writer
	tx     *sql.Tx
	cancel context.CancelFunc
	added  bool // to the outbox

	mu    sync.Mutex
	ended bool
}

// Begin implements [inbox.Store]. It queues for the store's one writer, then takes the
// file's write lock, and gives up when ctx ends.
func (s *Store) Begin(ctx context.Context) (inbox.Batch, error) {
	b, err := s.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("sqlite: begin a batch: %w", err)
	}
	return b, nil
}

func (s *Store) begin(ctx context.Context) (*Batch, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the writer before this one: %w", ctx.Err())
	}
	b, err := s.beginWriter(ctx)
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		b, err = s.beginWriter(ctx) // on a new connection
	}
	if err != nil {
		<-s.turn
		return nil, err
	}
	s.current.Store(b)
	return b, nil
}

// beginWriter begins a transaction on the writer. The caller has the turn.
func (s *Store) beginWriter(ctx context.Context) (*Batch, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	if s.writer == nil {
		w, err := s.openWriter(ctx)
		if err != nil {
			return nil, err
		}
		s.writer = w
	}
	b := &Batch{store: s, writer: s.writer}
	// database/sql rolls back by itself, at some later moment, when the context given to
	// BeginTx ends. Here ctx may end the wait for the lock, but not the transaction.
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	tx, err := s.writer.conn.BeginTx(detached, nil)
	if err != nil {
		cancel()
		return nil, s.afterFailure(err)
	}
	b.tx, b.cancel = tx, cancel
	if !stop() {
		err = ctx.Err()
	} else if !s.owned { // the application's connections may begin deferred transactions
		_, err = s.exec(ctx, tx, lockStatement)
	}
	if err != nil {
		cancel()
		return nil, errors.Join(s.afterFailure(err), b.clean()) //nolint:contextcheck // clean-up does not end with ctx
	}
	return b, nil
}

// afterFailure drops the writer if its connection is of no more use.
func (s *Store) afterFailure(err error) error {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		s.dropWriter()
	}
	return err
}

// dropWriter closes the writer's connection; the next batch opens another. The caller has
// the turn.
func (s *Store) dropWriter() {
	if s.writer != nil {
		_ = s.writer.drop() // it is given up because it failed, or because the store is closed
		s.writer = nil
	}
}

// Tx implements [inbox.Batch].
func (b *Batch) Tx() skald.Tx { return b.tx }

// Commit implements [inbox.Batch]. After an error nothing is committed.
func (b *Batch) Commit(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return fmt.Errorf("sqlite: commit: %w", sql.ErrTxDone)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sqlite: commit: %w", err)
	}
	b.writer.permitted.Store(true)
	err := b.tx.Commit()
	b.writer.permitted.Store(false)
	if err == nil {
		b.end()
		if b.added {
			b.store.news.announce()
		}
		return nil
	}
	clean := b.clean() //nolint:contextcheck // clean-up does not end with ctx
	b.end()
	if errors.Is(err, sql.ErrTxDone) || code(err) == sqlite3.SQLITE_ERROR { // "no transaction is active"
		return errors.Join(ErrEnded, clean)
	}
	return fmt.Errorf("sqlite: commit: %w", errors.Join(err, clean))
}

// Rollback implements [inbox.Batch]. A statement that a handler is stuck in is interrupted.
func (b *Batch) Rollback() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return nil
	}
	defer b.end()
	if err := b.clean(); err != nil {
		return fmt.Errorf("sqlite: roll back: %w", err)
	}
	return nil
}

// end gives the turn to the next writer.
func (b *Batch) end() {
	b.ended = true
	b.cancel()
	b.store.current.Store(nil)
	if b.store.closed.Load() {
		b.store.dropWriter()
	}
	<-b.store.turn
}

// clean leaves the writer without a transaction, or drops it.
func (b *Batch) clean() error {
	stop := b.interruptStuck()
	err := b.tx.Rollback()
	stop()
	if err == nil {
		return nil
	}
	// database/sql takes its transaction for ended, by the handler or by a failed commit, but
	// SQLite may still be in it.
	_, err = b.writer.conn.ExecContext(context.Background(), "ROLLBACK")
	if err != nil && code(err) != sqlite3.SQLITE_ERROR { // "no transaction is active" is what is wanted
		b.store.dropWriter()
		return err
	}
	return nil
}

// interruptStuck interrupts whatever statement keeps the transaction from being rolled
// back, again and again until the function that it returns is called: a handler may answer
// the first interrupt by another statement.
func (b *Batch) interruptStuck() (stop func()) {
	const patience = 2 * time.Millisecond
	var mu sync.Mutex
	stopped := false
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(patience, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			b.writer.interrupt()
			timer.Reset(patience)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// Flush implements [inbox.Batch]: there is no queue.
func (b *Batch) Flush(context.Context) error { return nil }

// Await implements [inbox.Batch].
func (b *Batch) Await(context.Context) error { return nil }

// Savepoint implements [inbox.Batch].
func (b *Batch) Savepoint(ctx context.Context) error {
	return b.execAll(ctx, "set the savepoint", savepointSet)
}

// Release implements [inbox.Batch].
func (b *Batch) Release(ctx context.Context) error {
	return b.execAll(ctx, "release the savepoint", savepointRelease)
}

// RollbackTo implements [inbox.Batch].
func (b *Batch) RollbackTo(ctx context.Context) error {
	return b.execAll(ctx, "return to the savepoint", savepointUndo, savepointRelease)
}

func (b *Batch) execAll(ctx context.Context, what string, all ...statement) error {
	for _, st := range all {
		if _, err := b.store.exec(ctx, b.tx, st); err != nil {
			return fmt.Errorf("sqlite: %s: %w", what, err)
		}
	}
	return nil
}

// CheapSavepoints implements [inbox.Batch]: there is no round trip to save.
func (b *Batch) CheapSavepoints() bool { return true }

// write runs fn in a transaction of the store's own.
func (s *Store) write(ctx context.Context, fn func(tx *sql.Tx) error) error {
	b, err := s.begin(ctx)
	if err != nil {
		return err
	}
	if err := fn(b.tx); err != nil {
		return errors.Join(err, b.Rollback()) //nolint:contextcheck // clean-up does not end with ctx
	}
	return b.Commit(context.WithoutCancel(ctx))
}

// read runs fn in a transaction that sees one state of the database and takes no lock.
func (s *Store) read(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(fn(tx), tx.Rollback())
}

// lock makes sure that tx holds the write lock: the application's own transaction may be a
// deferred one.
func (s *Store) lock(ctx context.Context, tx *sql.Tx) error {
	if b := s.current.Load(); b != nil && b.tx == tx {
		return nil
	}
	_, err := s.exec(ctx, tx, lockStatement)
	return err
}

// code is SQLite's primary result code in err's chain, 0 when there is none.
func code(err error) int { return extendedCode(err) & 0xff }

func extendedCode(err error) int {
	var failure *sqlitedriver.Error
	if !errors.As(err, &failure) {
		return 0
	}
	return failure.Code()
}

// Retryable implements [inbox.Store].
func (s *Store) Retryable(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return true
	default:
		return errors.Is(err, saga.ErrStale) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone)
	}
}
