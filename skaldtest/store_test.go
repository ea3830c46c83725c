package skaldtest_test

import (
	"database/sql"
	"errors"
	"maps"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/skaldtest"
)

func begin(t *testing.T, s *skaldtest.Store) *skaldtest.Tx {
	t.Helper()
	tx, err := s.BeginTx(t.Context())
	must(t, err)
	return tx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, s *skaldtest.Store, key, value string) {
	t.Helper()
	tx := begin(t, s)
	tx.Put("table", key, value)
	must(t, tx.Commit())
}

func holds(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("the table holds %v, not %v", got, want)
	}
}

func TestATransactionSeesItsOwnWritesAndNobodyElseDoesUntilItCommits(t *testing.T) {
	s := skaldtest.NewStore()
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	tx := begin(t, s)
	tx.Put("table", "a", "2")
	tx.Delete("table", "b")
	tx.Put("table", "c", "2")
	tx.Put("other", "a", "2")
	holds(t, tx.List("table"), map[string]string{"a": "2", "c": "2"})
	if v, ok := tx.Get("table", "b"); ok {
		t.Errorf("a deleted key has the value %q", v)
	}
	holds(t, s.List("table"), map[string]string{"a": "1", "b": "1"})
	must(t, tx.Commit())
	holds(t, s.List("table"), map[string]string{"a": "2", "c": "2"})
	if v, ok := s.Get("table", "a"); v != "2" || !ok {
		t.Errorf("the committed value is %q, %t", v, ok)
	}
}

func TestRollbacksAndSavepointsUndoBusinessData(t *testing.T) {
	s, ctx := skaldtest.NewStore(), t.Context()
	put(t, s, "a", "1")
	b, err := s.Begin(ctx)
	must(t, err)
	tx := b.Tx().(*skaldtest.Tx)
	tx.Put("table", "b", "1")
	must(t, b.Savepoint(ctx))
	tx.Put("table", "a", "2")
	tx.Put("table", "b", "2")
	tx.Delete("table", "a")
	must(t, b.RollbackTo(ctx))
	holds(t, tx.List("table"), map[string]string{"a": "1", "b": "1"})
	must(t, b.Rollback())
	holds(t, s.List("table"), map[string]string{"a": "1"})
}

func TestAFailedStatementLeavesNothingBehind(t *testing.T) {
	s, id := skaldtest.NewStore(), skald.NewID()
	tx := begin(t, s)
	must(t, s.SaveSagas(t.Context(), tx, sagas(id)))
	if s.SaveSagas(t.Context(), tx, sagas(skald.NewID(), id)) == nil {
		t.Error("a saga was inserted twice")
	}
	must(t, tx.Commit())
	list, err := s.ListSagas(t.Context(), "", skald.ID{}, 10)
	must(t, err)
	if len(list) != 1 {
		t.Errorf("%d sagas are stored, not the one that was inserted without an error", len(list))
	}
}

func TestATransactionThatHasEndedIsOfNoMoreUse(t *testing.T) {
	s := skaldtest.NewStore()
	tx := begin(t, s)
	must(t, tx.Commit())
	for what, err := range map[string]error{
		"commit": tx.Commit(), "roll back": tx.Rollback(), "add": s.AddMessages(t.Context(), tx, nil),
	} {
		if !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("%s after the commit: %v", what, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a write after the commit passed in silence")
		}
	}()
	tx.Put("table", "a", "1")
}

func TestATransactionIsOfItsOwnStoreAndNotSQL(t *testing.T) {
	s, other := skaldtest.NewStore(), skaldtest.NewStore()
	tx := begin(t, s)
	if other.AddMessages(t.Context(), tx, nil) == nil {
		t.Error("another database took the transaction")
	}
	if _, err := tx.ExecContext(t.Context(), "DELETE FROM orders"); err == nil {
		t.Error("the twin ran SQL")
	}
}

func TestACrashLosesTheOpenTransactionOnly(t *testing.T) {
	s := skaldtest.NewStore()
	other := s.Connect()
	put(t, s, "a", "1")
	tx := begin(t, s)
	tx.Put("table", "b", "1")
	waits := make(chan error)
	go func() {
		_, err := s.BeginTx(t.Context())
		waits <- err
	}()
	next := s.Crash()
	if err := <-waits; !errors.Is(err, skaldtest.ErrCrashed) {
		t.Errorf("the crashed process began a transaction: %v", err)
	}
	if err := tx.Commit(); err == nil {
		t.Error("the crashed process committed")
	}
	if _, err := s.Checkpoint(t.Context()); !errors.Is(err, skaldtest.ErrCrashed) {
		t.Errorf("the crashed process reads: %v", err)
	}
	put(t, next, "c", "1")
	put(t, other, "d", "1")
	holds(t, next.List("table"), map[string]string{"a": "1", "c": "1", "d": "1"})
}

func TestACutConnectionAtCommitHasLandedOrNot(t *testing.T) {
	for _, landed := range []bool{true, false} {
		s := skaldtest.NewStore()
		s.FailCommits(1, landed)
		tx := begin(t, s)
		tx.Put("table", "a", "1")
		if err := tx.Commit(); !s.Retryable(err) {
			t.Errorf("the fault is not retryable: %v", err)
		}
		if _, ok := s.Get("table", "a"); ok != landed {
			t.Errorf("landed is %t, and the write is there: %t", landed, ok)
		}
		put(t, s, "b", "1")
	}
}

func TestARestoredDatabaseIsThatOfTheBackup(t *testing.T) {
	s := skaldtest.NewStore()
	put(t, s, "a", "1")
	backup := s.Snapshot()
	put(t, s, "a", "2")
	tx := begin(t, s)
	tx.Put("table", "b", "1")
	s.Restore(backup)
	if tx.Commit() == nil {
		t.Error("a transaction outlived the restore")
	}
	put(t, s, "c", "1")
	holds(t, s.List("table"), map[string]string{"a": "1", "c": "1"})
	s.Restore(backup)
	holds(t, s.List("table"), map[string]string{"a": "1"})
}

func TestSavepointsCostWhatTheStoreIsTold(t *testing.T) {
	s := skaldtest.NewStore()
	for _, cheap := range []bool{true, false} {
		b, err := s.Begin(t.Context())
		must(t, err)
		if b.CheapSavepoints() != cheap {
			t.Errorf("savepoints are cheap: %t", !cheap)
		}
		must(t, b.Rollback())
		s.ExpensiveSavepoints()
	}
}
