package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// openSQL opens the pool for database/sql, with transactions that only the runtime ends where
// they are its own.
func openSQL(pool *pgxpool.Pool) *sql.DB {
	db := sql.OpenDB(guardedConnector{stdlib.GetPoolConnector(pool)})
	db.SetMaxIdleConns(0) // the pool keeps connections
	return db
}

type guardedConnector struct{ driver.Connector }

// Connect implements [driver.Connector].
func (g guardedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := g.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	inner, ok := conn.(*stdlib.Conn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("postgres: pgx's driver made a %T", conn), conn.Close())
	}
	return &guardedConn{Conn: inner}, nil
}

// guardedConn is a connection of pgx's driver that may carry a transaction of the runtime's.
type guardedConn struct {
	*stdlib.Conn
	own *transaction // nil for the application's
}

// BeginTx implements [driver.ConnBeginTx].
func (g *guardedConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if g.own == nil {
		return g.Conn.BeginTx(ctx, options)
	}
	own := g.own
	if err := own.use(); err != nil {
		return nil, err
	}
	defer own.using.Unlock()
	return guardedTx{own}, own.direct(ctx)
}

// guardedTx is the runtime's transaction as database/sql knows it.
type guardedTx struct{ own *transaction }

// Commit implements [driver.Tx].
func (g guardedTx) Commit() error { return g.refuse() }

// Rollback implements [driver.Tx]. The runtime calls it at the end, so that database/sql lets go of
// the connection.
func (g guardedTx) Rollback() error {
	if !g.own.ended.Load() {
		return g.refuse()
	}
	if g.own.committed {
		return nil
	}
	g.own.using.Lock() // a statement of the store's own may be under way
	defer g.own.using.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), rollbackPatience)
	defer cancel()
	_, err := g.own.conn.Exec(ctx, "rollback")
	return err
}

func (g guardedTx) refuse() error {
	g.own.broken = ErrEnded
	return ErrEnded
}

// sqlBatch is what a batch holds of database/sql when its handlers get a *sql.Tx.
type sqlBatch struct {
	conn *sql.Conn
	tx   *sql.Tx
}

// beginSQL begins a batch whose handlers get a *sql.Tx.
func (s *Store) beginSQL(ctx context.Context) (*Batch, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	own := &transaction{}
	err = conn.Raw(func(raw any) error {
		guarded, ok := raw.(*guardedConn)
		if !ok {
			return fmt.Errorf("the connection is a %T", raw)
		}
		guarded.own, own.conn = own, guarded.Conn.Conn()
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil) // database/sql would roll back by itself otherwise
	if err != nil {
		own.ended.Store(true)
		return nil, errors.Join(err, conn.Close())
	}
	s.batches.Store(tx, own)
	return &Batch{store: s, own: own, sql: &sqlBatch{conn, tx}}, nil
}

// release gives the connection back; what is not committed is rolled back. A connection on which a
// handler is still at work is cut after a while, and the server rolls back by itself.
func (b *sqlBatch) release(s *Store, own *transaction) error {
	s.batches.Delete(b.tx)
	done := make(chan error, 1)
	go func() {
		err := b.tx.Rollback()
		if errors.Is(err, sql.ErrTxDone) || own.conn.PgConn().IsClosed() {
			err = nil
		}
		done <- errors.Join(err, b.conn.Close())
	}()
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-patience.C:
		return own.conn.PgConn().Conn().SetDeadline(longAgo)
	}
}
