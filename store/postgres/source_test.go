package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/conform"
	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

func sourceUnderTest(t *testing.T, config postgres.Config) conform.StoreUnderTest {
	t.Helper()
	return sourceOn(t, servers.Database(t, servers.PostgreSQL(t)), config)
}

func sourceOn(t *testing.T, url string, config postgres.Config) conform.StoreUnderTest {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := postgres.Open(t.Context(), pool, config)
	if err != nil {
		t.Fatal(err)
	}
	return conform.StoreUnderTest{
		Store: store, Coarse: true,
		Begin: func(ctx context.Context) (skald.Tx, func() error, func() error, error) {
			tx, err := pool.Begin(ctx)
			if err != nil {
				return nil, nil, nil, err
			}
			return postgres.Wrap(tx), func() error { return tx.Commit(ctx) }, func() error { return tx.Rollback(ctx) }, nil
		},
		Reopen: func(t *testing.T) conform.StoreUnderTest {
			t.Helper()
			return sourceOn(t, url, config)
		},
	}
}

func TestSourceConformance(t *testing.T) {
	for _, how := range []postgres.Relay{postgres.Tail, postgres.TailOnly, postgres.Poll} {
		t.Run(string(how), func(t *testing.T) {
			conform.TestSource(t, func(t *testing.T) conform.StoreUnderTest {
				t.Helper()
				return sourceUnderTest(t, postgres.Config{Relay: how})
			})
		})
	}
}
