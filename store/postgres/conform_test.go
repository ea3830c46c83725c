package postgres_test

import (
	"context"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/conform"
	"github.com/skald-go/skald/store/postgres"
)

var _ conform.Store = (*postgres.Store)(nil)

func TestConformance(t *testing.T) {
	under := func(t *testing.T) conform.StoreUnderTest { return onDatabase(t, database(t), postgres.Config{Relay: postgres.Poll}) }
	conform.TestStore(t, under)
	conform.TestSource(t, under)
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
