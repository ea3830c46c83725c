package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/store/sqlite"
)

// withTable opens a store with a table of the service's own.
func withTable(t testing.TB) *sqlite.Store {
	t.Helper()
	store := fresh(t)
	_, err := store.DB().ExecContext(t.Context(), "CREATE TABLE orders (id INTEGER PRIMARY KEY)")
	must(t, err)
	return store
}

func TestAHandlerCannotEndTheRuntimesTransaction(t *testing.T) {
	for name, end := range map[string]func(tx skald.Tx) error{
		"commit":   func(tx skald.Tx) error { return tx.Commit() },
		"rollback": func(tx skald.Tx) error { return tx.Rollback() },
		"commit in SQL": func(tx skald.Tx) error {
			_, err := tx.ExecContext(t.Context(), "COMMIT")
			return err
		},
		"rollback in SQL": func(tx skald.Tx) error {
			_, err := tx.ExecContext(t.Context(), "ROLLBACK")
			return err
		},
		"rollback on conflict": func(tx skald.Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT OR ROLLBACK INTO orders VALUES (1)")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := withTable(t)
			b := begin(t, store)
			exec(t, b.Tx(), "INSERT INTO orders VALUES (1)")
			err := end(b.Tx())
			if name != "rollback" && name != "rollback in SQL" && err == nil {
				t.Error("the handler was told that all is well")
			}
			// What comes behind must not commit by itself either.
			err = store.RecordHandled(t.Context(), b.Tx(), "kitchen", time.Now(), []inbox.Handled{{ID: skald.NewID()}})
			if err == nil {
				t.Error("a statement behind the end succeeded")
			}
			if err := b.Commit(t.Context()); !errors.Is(err, sqlite.ErrEnded) {
				t.Errorf("Commit returned %v, not ErrEnded", err)
			}
			must(t, b.Rollback())
			if n := number(t, store.DB(), "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM skald_inbox)"); n != 0 {
				t.Errorf("%d rows are committed", n)
			}
			inBatch(t, store, func(tx skald.Tx) { exec(t, tx, "INSERT INTO orders VALUES (2)") })
			if n := number(t, store.DB(), "SELECT count(*) FROM orders"); n != 1 {
				t.Errorf("%d orders after the next batch, not 1", n)
			}
		})
	}
}

func TestRollbackInterruptsAHandlerThatIsStuck(t *testing.T) {
	store := withTable(t)
	b := begin(t, store)
	tx := b.Tx()
	endless := context.WithoutCancel(t.Context()) // so that nothing but Rollback interrupts it
	started := make(chan struct{})
	stuck := make(chan error)
	go func() {
		close(started)
		var err error
		for err == nil { // and again after an interrupt
			_, err = tx.ExecContext(endless, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")
			if err != nil && !errors.Is(err, sql.ErrTxDone) {
				err = nil
			}
		}
		stuck <- err
	}()
	<-started
	must(t, b.Rollback())
	if err := <-stuck; !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("the handler's last statement failed with %v", err)
	}
	inBatch(t, store, func(tx skald.Tx) { exec(t, tx, "INSERT INTO orders VALUES (1)") })
}

func TestSavepoints(t *testing.T) {
	store := withTable(t)
	inBatchOf := begin(t, store)
	ctx, tx := t.Context(), inBatchOf.Tx()
	exec(t, tx, "INSERT INTO orders VALUES (1)")
	for i, end := range []func(context.Context) error{inBatchOf.RollbackTo, inBatchOf.Release, inBatchOf.RollbackTo} {
		must(t, inBatchOf.Savepoint(ctx))
		exec(t, tx, "INSERT INTO orders VALUES (?)", 10+i)
		must(t, end(ctx))
	}
	must(t, inBatchOf.Commit(ctx))
	if n := number(t, store.DB(), "SELECT group_concat(id, '') FROM (SELECT id FROM orders ORDER BY id)"); n != 111 {
		t.Errorf("orders %d remain, not 1 and 11", n)
	}
}

func TestBeginQueuesAndGivesUpWithItsContext(t *testing.T) {
	store := withTable(t)
	first := begin(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Begin(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Begin behind another returned %v", err)
	}
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			b, err := store.Begin(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := b.Tx().ExecContext(t.Context(), "INSERT INTO orders VALUES (?)", i); err != nil {
				t.Error(err)
			}
			if err := b.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	must(t, first.Commit(t.Context()))
	writers.Wait()
	if n := number(t, store.DB(), "SELECT count(*) FROM orders"); n != 8 {
		t.Errorf("%d of 8 writers committed", n)
	}
}

func TestTheEndOfBeginsContextDoesNotEndTheBatch(t *testing.T) {
	store := withTable(t)
	ctx, cancel := context.WithCancel(t.Context())
	b, err := store.Begin(ctx)
	must(t, err)
	cancel()
	exec(t, b.Tx(), "INSERT INTO orders VALUES (1)")
	must(t, b.Commit(t.Context()))
}

func TestACommitThatFailsLeavesACleanWriter(t *testing.T) {
	store := withTable(t)
	_, err := store.DB().ExecContext(t.Context(),
		"CREATE TABLE tickets (id INTEGER PRIMARY KEY REFERENCES orders DEFERRABLE INITIALLY DEFERRED)")
	must(t, err)
	b := begin(t, store)
	exec(t, b.Tx(), "INSERT INTO tickets VALUES (7)")
	if err := b.Commit(t.Context()); err == nil || errors.Is(err, sqlite.ErrEnded) || store.Retryable(err) {
		t.Errorf("Commit with a broken foreign key returned %v", err)
	}
	must(t, b.Rollback())
	inBatch(t, store, func(tx skald.Tx) { exec(t, tx, "INSERT INTO orders VALUES (7)") })
}

// Faults: 35.
func TestABusyFileIsRetryable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.db")
	store, err := sqlite.Open(t.Context(), path, sqlite.Config{BusyTimeout: 10 * time.Millisecond})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	other := open(t, path)
	b := begin(t, other)
	if _, err := store.Begin(t.Context()); !store.Retryable(err) {
		t.Errorf("Begin while another process writes returned %v", err)
	}
	must(t, b.Rollback())
	must(t, begin(t, store).Commit(t.Context()))
}

func TestOtherTransactionsAreRefused(t *testing.T) {
	store := fresh(t)
	err := store.AddMessages(t.Context(), otherTx{}, messages(1, ""))
	if err == nil {
		t.Error("a transaction of another type was accepted")
	}
	elsewhere := fresh(t)
	tx, err := elsewhere.DB().BeginTx(t.Context(), nil)
	must(t, err)
	defer tx.Rollback()
	if err := store.AddMessages(t.Context(), tx, messages(1, "")); err == nil {
		t.Error("a transaction on another database was accepted")
	}
}

type otherTx struct{ skald.Tx }

func TestCloseLeavesAnOpenBatchItsConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.db")
	store, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	must(t, err)
	b := begin(t, store)
	exec(t, b.Tx(), "CREATE TABLE orders (id INTEGER)")
	must(t, store.Close())
	must(t, b.Commit(t.Context()))
	if _, err := store.Begin(t.Context()); err == nil {
		t.Error("Begin on a closed store succeeded")
	}
	if n := number(t, open(t, path).DB(), "SELECT count(*) FROM sqlite_schema WHERE name = 'orders'"); n != 1 {
		t.Error("the batch's work is lost")
	}
}
