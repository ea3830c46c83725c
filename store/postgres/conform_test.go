package postgres_test

import (
	"context"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/conform"
	"github.com/skald-go/skald/store/postgres"
)

var _ conform.Store = (*postgres.Store)(nil)

// What it is as a source, TestSourceConformance shows.
func TestConformance(t *testing.T) {
	for name, config := range map[string]postgres.Config{"pgx": {Relay: postgres.Poll}, "database-sql": {Relay: postgres.Poll, SQL: true}} {
		t.Run(name, func(t *testing.T) {
			conform.TestStore(t, func(t *testing.T) conform.StoreUnderTest {
				t.Helper()
				return onDatabase(t, database(t), config)
			})
		})
	}
}

func onDatabase(t *testing.T, url string, config postgres.Config) conform.StoreUnderTest {
	t.Helper()
	pool := connect(t, url)
	store := open(t, pool, config)
	return conform.StoreUnderTest{
		Store: store,
		Begin: func(ctx context.Context) (skald.Tx, func() error, func() error, error) {
			tx, err := pool.Begin(ctx)
			if err != nil {
				return nil, nil, nil, err
			}
			wrapped := postgres.Wrap(tx)
			return wrapped, wrapped.Commit, wrapped.Rollback, nil
		},
		Reopen: func(t *testing.T) conform.StoreUnderTest {
			t.Helper()
			pool.Close()
			return onDatabase(t, url, config)
		},
	}
}
