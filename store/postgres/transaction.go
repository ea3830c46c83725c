package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrEnded says that a transaction is over, or that a handler tried to end the runtime's.
// Nothing of the batch is committed then.
var ErrEnded = errors.New("postgres: the transaction has ended, or a handler called Commit or Rollback on the runtime's: return an error or a refusal instead")

// transaction is a pgx.Tx with a queue of statements, which it sends before any other. One of
// the runtime's begins with its first statement, in the same round trip.
type transaction struct {
	conn   *pgx.Conn  // of the runtime's own; nil in an application's
	tx     pgx.Tx     // nil until begun
	queued *pgx.Batch // nil when nothing is
	// asked are the queued statements that are not the runtime's own.
	asked  []*pgx.QueuedQuery
	broken error // why it cannot be committed any more
	added  bool  // messages to the outbox
	// committed is set before ended is.
	committed bool

	// using is held while the driver is at work, so that the runtime can end the transaction under
	// a handler that it has given up.
	using sync.Mutex
	ended atomic.Bool
}

var readCommitted = pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}

// runtime reports whether the transaction is the runtime's own, which only the runtime ends.
func (t *transaction) runtime() bool { return t.conn != nil }

// use brackets every call of the driver.
func (t *transaction) use() error {
	t.using.Lock()
	err := t.usable()
	if err != nil {
		t.using.Unlock()
	}
	return err
}

// usable is nil while the transaction is open. A handler may have ended it in SQL: what comes
// behind that would commit by itself.
func (t *transaction) usable() error {
	switch {
	case t.ended.Load():
		return ErrEnded
	case t.broken == nil && t.runtime() && t.tx != nil && t.conn.PgConn().TxStatus() == 'I':
		t.broken = ErrEnded
	}
	return t.broken
}

// failed notes an error that the transaction does not outlive.
func (t *transaction) failed(err error) error {
	if err == nil || t.broken != nil {
		return err
	}
	if t.Conn().IsClosed() {
		t.broken = lost(err)
		return t.broken
	}
	if t.runtime() && t.tx != nil && t.conn.PgConn().TxStatus() == 'I' { // it did not begin
		t.broken = err
	}
	return err
}

func (t *transaction) queue(query string, args ...any) *pgx.QueuedQuery {
	if t.queued == nil {
		t.queued = &pgx.Batch{}
		if t.tx == nil {
			t.queued.BeginTx(readCommitted)
		}
	}
	return t.queued.Queue(query, args...)
}

// discard forgets what is queued.
func (t *transaction) discard() { t.queued, t.asked = nil, nil }

// awaited reports whether a handler waits for the result of a queued statement.
func (t *transaction) awaited() bool {
	return slices.ContainsFunc(t.asked, func(q *pgx.QueuedQuery) bool { return q.Fn != nil })
}

// flush sends what is queued.
func (t *transaction) flush(ctx context.Context) error {
	if err := t.use(); err != nil {
		return err
	}
	defer t.using.Unlock()
	return t.send(ctx)
}

func (t *transaction) send(ctx context.Context) error {
	batch := t.queued
	if batch == nil {
		return nil
	}
	t.discard()
	if t.tx != nil {
		return t.failed(t.tx.SendBatch(ctx, batch).Close())
	}
	results := t.conn.SendBatch(ctx, batch)
	t.tx = results.Tx()
	return t.failed(results.Close())
}

// flushAlone sends what is queued as a transaction of its own, which was not begun yet.
func (t *transaction) flushAlone(ctx context.Context) error {
	if err := t.use(); err != nil {
		return err
	}
	defer t.using.Unlock()
	if t.queued == nil {
		return nil
	}
	batch := &pgx.Batch{QueuedQueries: t.queued.QueuedQueries[1:]} // without the beginning
	t.discard()
	return t.failed(t.conn.SendBatch(ctx, batch).Close())
}

// direct makes sure that the transaction has begun, and that nothing is queued any more.
func (t *transaction) direct(ctx context.Context) error {
	if t.tx == nil && t.queued == nil {
		t.queued = &pgx.Batch{}
		t.queued.BeginTx(readCommitted)
	}
	return t.send(ctx)
}

// Exec implements [pgx.Tx].
func (t *transaction) Exec(ctx context.Context, query string, args ...any) (tag pgconn.CommandTag, err error) {
	if err := t.use(); err != nil {
		return tag, err
	}
	defer t.using.Unlock()
	if t.tx != nil && t.queued == nil {
		tag, err = t.tx.Exec(ctx, query, args...)
		return tag, t.failed(err)
	}
	t.queue(query, args...).Exec(func(ct pgconn.CommandTag) error { tag = ct; return nil })
	return tag, t.send(ctx)
}

// Query implements [pgx.Tx].
func (t *transaction) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	if err := t.use(); err != nil {
		return failedRows{err}, err
	}
	defer t.using.Unlock()
	if err := t.direct(ctx); err != nil {
		return failedRows{err}, err
	}
	rows, err := t.tx.Query(ctx, query, args...)
	return &openRows{Rows: rows, in: t}, t.failed(err)
}

// QueryRow implements [pgx.Tx].
func (t *transaction) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	rows, _ := t.Query(ctx, query, args...)
	return openRow{rows}
}

// SendBatch implements [pgx.Tx].
func (t *transaction) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if err := t.use(); err != nil {
		return failedResults{err}
	}
	defer t.using.Unlock()
	if err := t.direct(ctx); err != nil {
		return failedResults{err}
	}
	return &openResults{BatchResults: t.tx.SendBatch(ctx, batch), in: t}
}

// CopyFrom implements [pgx.Tx].
func (t *transaction) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, source pgx.CopyFromSource) (int64, error) {
	if err := t.use(); err != nil {
		return 0, err
	}
	defer t.using.Unlock()
	if err := t.direct(ctx); err != nil {
		return 0, err
	}
	n, err := t.tx.CopyFrom(ctx, table, columns, source)
	return n, t.failed(err)
}

// Prepare implements [pgx.Tx].
func (t *transaction) Prepare(ctx context.Context, name, query string) (*pgconn.StatementDescription, error) {
	if err := t.use(); err != nil {
		return nil, err
	}
	defer t.using.Unlock()
	if err := t.direct(ctx); err != nil {
		return nil, err
	}
	description, err := t.tx.Prepare(ctx, name, query)
	return description, t.failed(err)
}

// LargeObjects implements [pgx.Tx]. It has no error to return: what fails here makes the
// transaction fail.
func (t *transaction) LargeObjects() pgx.LargeObjects {
	err := t.use()
	if err == nil {
		defer t.using.Unlock()
		err = t.direct(context.Background())
	}
	if err != nil {
		t.broken = err
		return pgx.LargeObjects{}
	}
	return t.tx.LargeObjects()
}

// Conn implements [pgx.Tx].
func (t *transaction) Conn() *pgx.Conn {
	if t.conn != nil {
		return t.conn
	}
	return t.tx.Conn()
}

// Begin implements [pgx.Tx]: it sets a savepoint, as pgx's own transactions do.
func (t *transaction) Begin(ctx context.Context) (pgx.Tx, error) { return beginNested(ctx, t, 1) }

// Commit implements [pgx.Tx].
func (t *transaction) Commit(ctx context.Context) error {
	if t.runtime() {
		t.broken = ErrEnded
		return ErrEnded
	}
	if err := t.flush(ctx); err != nil {
		return err
	}
	t.ended.Store(true)
	return t.tx.Commit(ctx)
}

// Rollback implements [pgx.Tx].
func (t *transaction) Rollback(ctx context.Context) error {
	if t.runtime() {
		t.broken = ErrEnded
		return ErrEnded
	}
	t.discard()
	t.ended.Store(true)
	return t.tx.Rollback(ctx)
}
