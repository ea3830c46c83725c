package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/store/sqlite"
)

// open makes a store on a file that the test may open again.
func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path, sqlite.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	return store
}

func fresh(t testing.TB) *sqlite.Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "service.db"))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inBatch runs fn in a batch and commits it.
func inBatch(t testing.TB, store *sqlite.Store, fn func(tx skald.Tx)) {
	t.Helper()
	b := begin(t, store)
	fn(b.Tx())
	must(t, b.Commit(t.Context()))
}

// begin opens a batch that is rolled back at the test's end if it is still open.
func begin(t testing.TB, store *sqlite.Store) inbox.Batch {
	t.Helper()
	b, err := store.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = b.Rollback() })
	return b
}

// exec runs a statement of the service's own.
func exec(t testing.TB, tx skald.Tx, query string, args ...any) {
	t.Helper()
	_, err := tx.ExecContext(t.Context(), query, args...)
	must(t, err)
}

// number reads one number from the database.
func number(t testing.TB, db *sql.DB, query string, args ...any) int {
	t.Helper()
	var n int
	must(t, db.QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
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
