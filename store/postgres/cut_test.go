package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald/internal/servers"
)

// A handler that is given up may have done nothing but queue, and end in time: its connection looks
// idle, and has a deadline that is over.
func TestAConnectionThatWasCutIsNotUsedAgain(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), servers.Database(t, servers.PostgreSQL(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := Open(t.Context(), pool, Config{})
	if err != nil {
		t.Fatal(err)
	}
	begun, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := begun.(*Batch)
	b.own.using.Lock()
	if err := b.Rollback(); err != nil {
		t.Fatal(err)
	}
	b.own.using.Unlock()
	for pool.Stat().AcquiredConns() > 0 {
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
	for range 2 * pool.Config().MaxConns {
		if _, err := pool.Exec(t.Context(), "SELECT 1"); err != nil {
			t.Errorf("a statement on a connection of the pool: %v", err)
		}
	}
}
