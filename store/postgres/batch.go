package postgres

import (
	"context"
	"database/sql"
	"reflect"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// rollbackPatience bounds a rollback: a server that does not answer is left alone.
const rollbackPatience = 5 * time.Second

// longAgo is a deadline that cuts a connection at once.
var longAgo = time.Unix(1, 0)

// TxType implements [inbox.Store]: handlers get a *Tx, or a *sql.Tx with Config.SQL.
func (s *Store) TxType() reflect.Type {
	if s.config.SQL {
		return reflect.TypeFor[*sql.Tx]()
	}
	return reflect.TypeFor[*Tx]()
}

// Batch is a transaction that the runtime owns. It implements [inbox.Batch].
type Batch struct {
	store *Store
	own   *transaction
	tx    *Tx           // what handlers get
	conn  *pgxpool.Conn // of tx
	sql   *sqlBatch     // in place of both, with Config.SQL

	mu    sync.Mutex
	ended bool
}

// Begin implements [inbox.Store]. The server hears of it with the first statement.
func (s *Store) Begin(ctx context.Context) (inbox.Batch, error) {
	if s.config.SQL {
		b, err := s.beginSQL(ctx)
		if err != nil {
			return nil, failure("begin a batch", err)
		}
		return b, nil
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, failure("begin a batch", err)
	}
	own := &transaction{conn: conn.Conn()}
	return &Batch{store: s, conn: conn, own: own, tx: &Tx{own}}, nil
}

// Tx implements [inbox.Batch].
func (b *Batch) Tx() skald.Tx {
	if b.sql != nil {
		return b.sql.tx
	}
	return b.tx
}

// CheapSavepoints implements [inbox.Batch]: each one costs the server a transaction id.
func (b *Batch) CheapSavepoints() bool { return false }

// Flush implements [inbox.Batch].
func (b *Batch) Flush(ctx context.Context) error { return b.own.flush(ctx) }

// Await implements [inbox.Batch].
func (b *Batch) Await(ctx context.Context) error {
	if !b.own.awaited() {
		return nil
	}
	return b.own.flush(ctx)
}

// Savepoint implements [inbox.Batch]. It is sent at once: whatever fails behind it, be it only to
// be prepared, finds it set.
func (b *Batch) Savepoint(ctx context.Context) error {
	b.own.queue("savepoint skald")
	return failure("set a savepoint", b.own.flush(ctx))
}

// Release implements [inbox.Batch].
func (b *Batch) Release(context.Context) error {
	b.own.queue("release savepoint skald")
	return nil
}

// RollbackTo implements [inbox.Batch].
func (b *Batch) RollbackTo(ctx context.Context) error {
	b.own.discard()
	_, err := b.own.Exec(ctx, "rollback to savepoint skald; release savepoint skald")
	return failure("roll back to the savepoint", err)
}

// Commit implements [inbox.Batch]. What is queued and the commit itself are one round trip, unless
// a handler waits for the result of a queued statement: that must be known before.
func (b *Batch) Commit(ctx context.Context) error {
	if b.own.awaited() {
		if err := b.own.flush(ctx); err != nil {
			return err
		}
	}
	if err := b.finish(ctx); err != nil {
		return err
	}
	b.end(func() {
		b.own.committed = true
		b.own.ended.Store(true)
		if b.sql == nil {
			b.conn.Release()
		} else if err := b.sql.release(b.store, b.own); err != nil {
			b.store.config.Logger.Warn("postgres: give a connection back after a commit", "error", err)
		}
	})
	if b.own.added {
		b.store.news.announce()
	}
	return nil
}

// finish sends what is left together with the commit. What has not begun by then is one exchange
// with the server, which is a transaction by itself.
func (b *Batch) finish(ctx context.Context) error {
	if b.own.tx == nil {
		return failure("commit a batch", b.own.flushAlone(ctx))
	}
	b.own.queue("commit").Fn = committed
	return b.own.flush(ctx)
}

func committed(results pgx.BatchResults) error {
	tag, err := results.Exec()
	if err == nil && tag.String() != "COMMIT" { // the server's answer when a statement had failed before
		err = pgx.ErrTxCommitRollback
	}
	return failure("commit a batch", err)
}

// Rollback implements [inbox.Batch].
func (b *Batch) Rollback() error {
	var err error
	b.end(func() { err = b.rollback() })
	return err
}

// rollback ends the transaction on the server. A connection on which a handler is still at work is
// cut, and the server rolls back by itself.
func (b *Batch) rollback() error {
	b.own.ended.Store(true)
	if b.sql != nil {
		return failure("roll a batch back", b.sql.release(b.store, b.own))
	}
	link := b.conn.Conn().PgConn()
	if !b.own.using.TryLock() {
		err := link.Conn().SetDeadline(longAgo)
		go func() { // the handler's call returns first, mostly with an error
			b.own.using.Lock()
			defer b.own.using.Unlock()
			ctx, cancel := context.WithDeadline(context.Background(), longAgo)
			defer cancel()
			_ = b.conn.Conn().Close(ctx) // whatever it did in time: the deadline stays
			b.conn.Release()
		}()
		return failure("cut the connection of a handler that was given up", err)
	}
	defer b.own.using.Unlock()
	defer b.conn.Release() // the pool closes a connection that is busy, or still in a transaction
	if b.own.tx == nil || link.IsClosed() || link.IsBusy() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackPatience)
	defer cancel()
	if _, err := b.conn.Exec(ctx, "rollback"); err != nil && !link.IsClosed() {
		return failure("roll a batch back", err)
	}
	return nil
}

// end runs fn once, at the batch's end.
func (b *Batch) end(fn func()) {
	b.mu.Lock()
	ended := b.ended
	b.ended = true
	b.mu.Unlock()
	if !ended {
		fn()
	}
}
