package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// writer is the one connection on which the store writes, kept out of the pool: its page
// cache stays warm, and its commits are guarded.
type writer struct {
	conn *sql.Conn
	// permitted is set while the store itself commits. SQLite asks before every commit on this
	// connection and undoes the transaction if the answer is no. So neither a handler's Commit
	// takes effect, nor does a statement that would commit by itself because the transaction has
	// ended under it: by a ROLLBACK in SQL, an ON CONFLICT ROLLBACK, a full disk.
	permitted atomic.Bool
	// handle is SQLite's pointer to the connection, 0 when it is not known.
	handle uintptr
}

// openWriter takes a connection from the pool and puts the guard on it.
func (s *Store) openWriter(ctx context.Context) (*writer, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	w := &writer{conn: conn}
	if err := w.prepare(ctx, s.config); err != nil {
		return nil, errors.Join(err, w.drop())
	}
	return w, nil
}

func (w *writer) prepare(ctx context.Context, config Config) error {
	err := w.conn.Raw(func(driverConn any) error {
		hooks, ok := driverConn.(sqlite.HookRegisterer)
		if !ok {
			return fmt.Errorf("the connection is a %T: the store needs the driver modernc.org/sqlite itself, whose commit hook keeps handlers from committing", driverConn)
		}
		hooks.RegisterCommitHook(func() int32 {
			if w.permitted.Load() {
				return 0
			}
			return 1
		})
		w.handle = handleOf(driverConn)
		return nil
	})
	if err != nil {
		return err
	}
	_, err = w.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", config.BusyTimeout.Milliseconds()))
	return err
}

// drop closes the connection instead of returning it to the pool with its guard on.
func (w *writer) drop() error {
	err := w.conn.Raw(func(any) error { return driver.ErrBadConn })
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		return nil
	}
	return errors.Join(err, w.conn.Close())
}

// handleOf reads SQLite's pointer from the driver's connection. The driver can interrupt a
// statement only through the context that the statement was given, and a handler may give
// it one that never ends; so the store interrupts by itself, and needs the pointer for that. If a
// later version of the driver keeps it elsewhere, such a statement runs to its end.
func handleOf(driverConn any) uintptr {
	field := reflect.Indirect(reflect.ValueOf(driverConn))
	if field.Kind() == reflect.Struct {
		field = field.FieldByName("db")
	}
	if field.Kind() != reflect.Uintptr {
		return 0
	}
	return uintptr(field.Uint())
}

// interrupt makes the statement that is running fail. The caller makes sure that the
// connection stays open meanwhile.
func (w *writer) interrupt() {
	if w.handle == 0 {
		return
	}
	thread := libc.NewTLS()
	defer thread.Close()
	sqlite3.Xsqlite3_interrupt(thread, w.handle)
}
