package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/store/postgres"
)

const insertOrder = "INSERT INTO orders VALUES ($1)"

func insertInBatch(t *testing.T, store *postgres.Store, id int) {
	t.Helper()
	b := begin(t, store)
	txOf(b).Queue(insertOrder, id)
	must(t, b.Commit(t.Context()))
}

func TestQueuedStatementsAreSentInOrderAheadOfADirectOne(t *testing.T) {
	store := withTable(t)
	b := begin(t, store)
	tx := txOf(b)
	var seen []int
	count := func(row pgx.Row) error {
		var n int
		err := row.Scan(&n)
		seen = append(seen, n)
		return err
	}
	tx.Queue("SELECT count(*) FROM orders").QueryRow(count)
	tx.Queue(insertOrder, 1)
	tx.Queue("SELECT count(*) FROM orders").QueryRow(count)
	if len(seen) != 0 {
		t.Error("a statement was sent before anybody asked for it")
	}
	var n int
	must(t, tx.QueryRow(t.Context(), "SELECT count(*) + 10 FROM orders").Scan(&n))
	if fmt.Sprint(seen, n) != "[0 1] 11" {
		t.Errorf("the statements saw %v and %d orders", seen, n)
	}
	tx.Queue(insertOrder, 3)
	_, err := tx.Exec(t.Context(), "DELETE FROM orders WHERE id = 3")
	must(t, err)
	tx.Queue(insertOrder, 2)
	tx.Queue("SELECT count(*) FROM orders").QueryRow(count)
	must(t, b.Commit(t.Context()))
	if fmt.Sprint(seen) != "[0 1 2]" || orders(t, store) != "1 2" {
		t.Errorf("the statements saw %v orders, and the table has %s", seen, orders(t, store))
	}
}

func TestAnErrorOfTheStoresOwnStatementSaysWhatItDid(t *testing.T) {
	store := withTable(t)
	b := begin(t, store)
	id := skald.NewID()
	for range 2 {
		must(t, store.RecordHandled(t.Context(), b.Tx(), "kitchen", time.Now(), []inbox.Handled{{ID: id}}))
	}
	if err := b.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), `record 1 messages as handled by group "kitchen"`) {
		t.Errorf("Commit returned %v", err)
	}
}

func TestAFailureInTheQueueFailsTheFlushAndTheBatch(t *testing.T) {
	for name, flush := range map[string]func(b inbox.Batch) error{
		"flush":    func(b inbox.Batch) error { return b.Flush(t.Context()) },
		"tx flush": func(b inbox.Batch) error { return txOf(b).Flush(t.Context()) },
		"direct":   func(b inbox.Batch) error { _, err := b.Tx().ExecContext(t.Context(), insertOrder, 9); return err },
	} {
		t.Run(name, func(t *testing.T) {
			store := withTable(t)
			b := begin(t, store)
			tx := txOf(b)
			answer := errors.New("the handler's own")
			tx.Queue(insertOrder, 1)
			tx.Queue("SELECT 1").QueryRow(func(pgx.Row) error { return answer })
			tx.Queue(insertOrder, 2).Exec(nil)
			if err := flush(b); !errors.Is(err, answer) {
				t.Errorf("the flush returned %v", err)
			}
			must(t, b.Rollback())
			b = begin(t, store)
			txOf(b).Queue(insertOrder, 3)
			txOf(b).Queue("SELECT 1/0")
			txOf(b).Queue(insertOrder, 4)
			if err := flush(b); err == nil || !strings.Contains(err.Error(), "division by zero") {
				t.Errorf("the flush returned %v", err)
			}
			if err := b.Commit(t.Context()); err == nil || store.Retryable(err) { // as if the handler had not minded
				t.Errorf("Commit behind it returned %v", err)
			}
			must(t, b.Rollback())
			if got := orders(t, store); got != "" {
				t.Errorf("committed are %s", got)
			}
		})
	}
}

func TestABatchMendsWhatFailedSinceTheSavepoint(t *testing.T) {
	for name, fail := range map[string]func(tx *postgres.Tx) error{
		"constraint": func(tx *postgres.Tx) error { _, err := tx.Exec(t.Context(), insertOrder, 1); return err },
		"no such table": func(tx *postgres.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO nowhere VALUES ($1)", 1)
			return err
		},
		"queued, no such one": func(tx *postgres.Tx) error {
			tx.Queue("INSERT INTO nowhere VALUES ($1)", 1)
			return tx.Flush(t.Context())
		},
		"not sent": func(tx *postgres.Tx) error { tx.Queue(insertOrder, 7); return errors.New("the handler's own") },
		"sent": func(tx *postgres.Tx) error {
			tx.Queue(insertOrder, 8)
			return errors.Join(errors.New("own"), tx.Flush(t.Context()))
		},
		"direct": func(tx *postgres.Tx) error {
			_, err := tx.Exec(t.Context(), insertOrder, 9)
			return errors.Join(errors.New("own"), err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := withTable(t)
			b := begin(t, store)
			tx := txOf(b)
			tx.Queue(insertOrder, 1)
			must(t, b.Savepoint(t.Context()))
			if err := fail(tx); err == nil {
				t.Fatal("nothing failed")
			}
			must(t, b.RollbackTo(t.Context()))
			must(t, b.Savepoint(t.Context()))
			tx.Queue(insertOrder, 2)
			must(t, b.Release(t.Context()))
			must(t, b.Commit(t.Context()))
			if got := orders(t, store); got != "1 2" {
				t.Errorf("committed are %s, not 1 2", got)
			}
		})
	}
}

func TestASavepointReturnsTheErrorOfWhatWasQueuedBefore(t *testing.T) {
	b := begin(t, withTable(t))
	txOf(b).Queue("SELECT 1/0")
	if err := b.Savepoint(t.Context()); err == nil {
		t.Error("Savepoint returned nil")
	}
}

// The driver closes the connection over a parameter of a queue that it cannot encode.
func TestAParameterThatCannotBeSentIsTheCulpritsFault(t *testing.T) {
	store := withTable(t)
	b := begin(t, store)
	txOf(b).Queue(insertOrder, 1<<40)
	err := txOf(b).Flush(t.Context())
	if err == nil || store.Retryable(err) {
		t.Errorf("Flush returned %v", err)
	}
	if again := b.Commit(t.Context()); again == nil || store.Retryable(again) {
		t.Errorf("Commit returned %v", again)
	}
	must(t, b.Rollback())
	insertInBatch(t, store, 1)
	if got := orders(t, store); got != "1" {
		t.Errorf("committed are %s, not 1", got)
	}
}

func TestOnlyTheRuntimeEndsItsTransaction(t *testing.T) {
	for name, end := range map[string]func(tx *postgres.Tx) error{
		"commit":   func(tx *postgres.Tx) error { return tx.Commit() },
		"rollback": func(tx *postgres.Tx) error { return tx.Rollback() },
		"pgx's":    func(tx *postgres.Tx) error { return tx.Tx.Commit(t.Context()) },
		"nested": func(tx *postgres.Tx) error {
			n, err := tx.Begin(t.Context())
			return errors.Join(err, n.Commit(t.Context()), tx.Commit())
		},
		"commit, SQL": func(tx *postgres.Tx) error {
			_, err := tx.Exec(t.Context(), "COMMIT")
			must(t, err)
			_, err = tx.Exec(t.Context(), "SELECT 1")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := withTable(t)
			b := begin(t, store)
			if !strings.Contains(name, "SQL") {
				_, err := txOf(b).Exec(t.Context(), insertOrder, 1)
				must(t, err)
			} else {
				_, err := txOf(b).Exec(t.Context(), "SELECT 1")
				must(t, err)
			}
			if err := end(txOf(b)); !errors.Is(err, postgres.ErrEnded) {
				t.Errorf("the handler was told %v", err)
			}
			if _, err := txOf(b).Exec(t.Context(), insertOrder, 2); !errors.Is(err, postgres.ErrEnded) {
				t.Errorf("a statement behind the end returned %v", err)
			}
			if err := store.RecordHandled(t.Context(), b.Tx(), "kitchen", time.Now(), []inbox.Handled{{ID: skald.NewID()}}); !errors.Is(err, postgres.ErrEnded) {
				t.Errorf("the store's own statement behind the end returned %v", err)
			}
			if err := b.Commit(t.Context()); !errors.Is(err, postgres.ErrEnded) || store.Retryable(err) {
				t.Errorf("Commit returned %v", err)
			}
			must(t, b.Rollback())
			if got := orders(t, store) + fmt.Sprint(read[int](t, store, "SELECT count(*) FROM skald_inbox")); got != "0" {
				t.Errorf("committed are %s", got)
			}
		})
	}
}

func TestNestedTransactionsAreSavepoints(t *testing.T) {
	store := withTable(t)
	b := begin(t, store)
	tx, ctx := txOf(b), t.Context()
	tx.Queue(insertOrder, 1)
	outer, err := tx.Begin(ctx)
	must(t, err)
	tx.Queue(insertOrder, 2)
	inner, err := outer.Begin(ctx)
	must(t, err)
	tx.Queue("SELECT 1/0") // never sent
	must(t, inner.Rollback(ctx))
	inner, err = outer.Begin(ctx)
	must(t, err)
	if _, err := inner.Exec(ctx, insertOrder, 1); err == nil {
		t.Error("a second order 1 was inserted")
	}
	must(t, inner.Rollback(ctx))
	if err := inner.Rollback(ctx); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("a second Rollback returned %v", err)
	}
	must(t, outer.Commit(ctx))
	must(t, b.Commit(ctx))
	if got := orders(t, store); got != "1 2" {
		t.Errorf("committed are %s, not 1 2", got)
	}
}

// Faults: 81.
func TestRollbackCutsOffAHandlerThatIsStuck(t *testing.T) {
	for name, query := range map[string]func(ctx context.Context, tx *postgres.Tx) error{
		"exec": func(ctx context.Context, tx *postgres.Tx) error {
			_, err := tx.Exec(ctx, "SELECT pg_sleep(60)")
			return err
		},
		"row": func(ctx context.Context, tx *postgres.Tx) error {
			return tx.QueryRow(ctx, "SELECT pg_sleep(60)").Scan(nil)
		},
		"queue": func(ctx context.Context, tx *postgres.Tx) error {
			tx.Queue("SELECT pg_sleep(60)")
			return tx.Flush(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := withTable(t)
			b := begin(t, store)
			tx := txOf(b)
			_, err := tx.Exec(t.Context(), insertOrder, 1)
			must(t, err)
			stuck := make(chan error)
			endless := context.WithoutCancel(t.Context()) // so that nothing but Rollback ends the statement
			go func() {
				err := query(endless, tx)
				_, again := tx.Exec(endless, insertOrder, 2)
				stuck <- errors.Join(err, again)
			}()
			eventually(t, "a statement that hangs", func() bool {
				return read[int](t, store, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'") == 1
			})
			must(t, b.Rollback())
			if err := <-stuck; err == nil || !errors.Is(err, postgres.ErrEnded) {
				t.Errorf("the handler was told %v", err)
			}
			insertInBatch(t, store, 3)
			if got := orders(t, store); got != "3" {
				t.Errorf("committed are %s, not 3", got)
			}
		})
	}
}

// Faults: 34.
func TestAConnectionCutAtTheCommitIsRetryable(t *testing.T) {
	for name, cut := range map[string]func(store *postgres.Store, conn *pgconn.PgConn){
		"by the server": func(store *postgres.Store, conn *pgconn.PgConn) {
			exec(t, store, "SELECT pg_terminate_backend($1, 10000)", conn.PID())
		},
		"by the network": func(_ *postgres.Store, conn *pgconn.PgConn) { must(t, conn.Conn().Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			store := withTable(t)
			b := begin(t, store)
			_, err := txOf(b).Exec(t.Context(), insertOrder, 2)
			must(t, err)
			txOf(b).Queue(insertOrder, 1)
			cut(store, txOf(b).Conn().PgConn())
			if err := b.Commit(t.Context()); err == nil || !store.Retryable(err) {
				t.Errorf("Commit returned %v", err)
			}
			if err := b.Rollback(); err != nil {
				t.Errorf("Rollback returned %v", err)
			}
			insertInBatch(t, store, 1)
			if got := orders(t, store); got != "1" {
				t.Errorf("committed are %s, not 1", got)
			}
		})
	}
}

// Faults: 35.
func TestADeadlockOfTwoBatchesIsRetryable(t *testing.T) {
	store := withTable(t)
	exec(t, store, "INSERT INTO orders VALUES (1), (2)")
	ctx, first, second := soon(t), begin(t, store), begin(t, store)
	update := func(b inbox.Batch, id int) error {
		_, err := txOf(b).Exec(ctx, "UPDATE orders SET id = id WHERE id = $1", id)
		return err
	}
	must(t, errors.Join(update(first, 1), update(second, 2)))
	ended := make(chan error, 2)
	for b, id := range map[inbox.Batch]int{first: 2, second: 1} {
		go func() {
			err := update(b, id)
			if err != nil {
				err = errors.Join(err, b.Rollback())
			}
			ended <- err
		}()
	}
	one, other := <-ended, <-ended
	if err := errors.Join(one, other); !store.Retryable(err) || one != nil && other != nil {
		t.Errorf("the updates ended with %v and %v", one, other)
	}
}

// Only what the store itself has met is retried as a batch: the rest is held with its message.
func TestWhatAHandlerMetElsewhereIsNotRetryable(t *testing.T) {
	store := withTable(t)
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	b := begin(t, store)
	_, late := txOf(b).Exec(short, "SELECT pg_sleep(10)")
	_, refused := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:1")
	for name, err := range map[string]error{"its own deadline": late, "another server": refused, "no row": pgx.ErrNoRows} {
		if err == nil || store.Retryable(fmt.Errorf("handler: %w", err)) {
			t.Errorf("%s: %v is retryable", name, err)
		}
	}
}

func TestAnApplicationsTransactionIsItsOwnToEnd(t *testing.T) {
	store := withTable(t)
	for _, end := range []func(tx *postgres.Tx) error{(*postgres.Tx).Commit, (*postgres.Tx).Rollback} {
		tx, err := store.Pool().Begin(t.Context())
		must(t, err)
		defer rollback(t, tx)
		wrapped := postgres.Wrap(tx)
		must(t, store.AddMessages(t.Context(), wrapped, messages(2, "k")))
		wrapped.Queue("INSERT INTO orders SELECT 1 + count(*) FROM orders")
		must(t, end(wrapped))
		if _, err := wrapped.Exec(t.Context(), "SELECT 1"); !errors.Is(err, postgres.ErrEnded) {
			t.Errorf("a statement behind the end returned %v", err)
		}
	}
	if got := orders(t, store); got != "1" {
		t.Errorf("committed are %s, not 1", got)
	}
}
