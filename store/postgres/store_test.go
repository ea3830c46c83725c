package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

// connect opens a pool on a database of the test's own.
func connect(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func database(t testing.TB) string {
	t.Helper()
	return servers.Database(t, servers.PostgreSQL(t))
}

// open makes a store that says nothing.
func open(t testing.TB, pool *pgxpool.Pool, config postgres.Config) *postgres.Store {
	t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	store, err := postgres.Open(t.Context(), pool, config)
	must(t, err)
	return store
}

func fresh(t testing.TB) *postgres.Store {
	t.Helper()
	return open(t, connect(t, database(t)), postgres.Config{})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// begin opens a batch that is rolled back at the test's end if it is still open.
func begin(t testing.TB, store *postgres.Store) inbox.Batch {
	t.Helper()
	b, err := store.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = b.Rollback() })
	return b
}

// txOf is the transaction of a batch as its handlers get it.
func txOf(b inbox.Batch) *postgres.Tx { return b.Tx().(*postgres.Tx) }

// inBatch runs fn in a batch and commits it.
func inBatch(t testing.TB, store *postgres.Store, fn func(tx skald.Tx)) {
	t.Helper()
	b := begin(t, store)
	fn(b.Tx())
	must(t, b.Commit(t.Context()))
}

// exec runs a statement of the service's own, outside of any transaction.
func exec(t testing.TB, store *postgres.Store, query string, args ...any) {
	t.Helper()
	_, err := store.Pool().Exec(t.Context(), query, args...)
	must(t, err)
}

// read reads one value from the database.
func read[T any](t testing.TB, store *postgres.Store, query string, args ...any) T {
	t.Helper()
	var v T
	must(t, store.Pool().QueryRow(t.Context(), query, args...).Scan(&v))
	return v
}

// withTable is a store beside a table of the service's own.
func withTable(t testing.TB) *postgres.Store {
	t.Helper()
	store := fresh(t)
	exec(t, store, "CREATE TABLE orders (id integer PRIMARY KEY)")
	return store
}

// orders are the ids in that table, in order.
func orders(t testing.TB, store *postgres.Store) string {
	t.Helper()
	return read[string](t, store, "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM orders")
}

// messages makes n events of a key.
func messages(n int, key string) []skald.Message {
	list := make([]skald.Message, n)
	for i := range list {
		list[i] = skald.Message{
			ID: skald.NewID(), Kind: skald.KindEvent, Channel: "orders", Key: key, Type: "order.placed", Version: 1, Source: "order",
			Time:    time.Now().UTC().Truncate(time.Microsecond),
			Headers: skald.Headers{{Name: skald.HeaderTraceParent, Value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
			Payload: fmt.Appendf(nil, `{"order":%d}`, i),
		}
	}
	return list
}

// soon bounds what must happen without further ado.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually asks again until the answer is yes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := soon(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("there was never %s", what)
		}
	}
}

// rollback ends an application's transaction that may have ended.
func rollback(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		t.Log(err)
	}
}

// count counts rows.
func count(t *testing.T, store *postgres.Store, from string, args ...any) int {
	t.Helper()
	return read[int](t, store, "SELECT count(*) FROM "+from, args...)
}
