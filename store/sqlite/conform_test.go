package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/conform"
	"github.com/skald-go/skald/store/sqlite"
)

// underTest opens an empty store for one case of the conformance suites.
func underTest(t *testing.T) conform.StoreUnderTest {
	t.Helper()
	return openUnderTest(t, filepath.Join(t.TempDir(), "service.db"))
}

func openUnderTest(t *testing.T, path string) conform.StoreUnderTest {
	t.Helper()
	store := open(t, path)
	return conform.StoreUnderTest{
		Store: store,
		Begin: func(ctx context.Context) (skald.Tx, func() error, func() error, error) {
			tx, err := store.DB().BeginTx(ctx, nil)
			if err != nil {
				return nil, nil, nil, err
			}
			return tx, tx.Commit, tx.Rollback, nil
		},
		Reopen: func(t *testing.T) conform.StoreUnderTest {
			t.Helper()
			must(t, store.Close())
			return openUnderTest(t, path)
		},
	}
}

func TestConformance(t *testing.T) {
	conform.TestStore(t, underTest)
	conform.TestSource(t, underTest)
}

var _ conform.Store = (*sqlite.Store)(nil)
