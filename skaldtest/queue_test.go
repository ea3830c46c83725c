package skaldtest_test

import (
	"errors"
	"testing"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/skaldtest"
)

func TestQueuedStatements(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		does func(b inbox.Batch, put func(key string), fail func()) error
		want []string
	}{
		"run at the commit": {func(_ inbox.Batch, put func(string), _ func()) error {
			put("a")
			return nil
		}, []string{"a"}},
		"run at a flush, once": {func(b inbox.Batch, put func(string), _ func()) error {
			put("a")
			return errors.Join(b.Flush(t.Context()), b.Flush(t.Context()))
		}, []string{"a"}},
		"are dropped by the return to a savepoint, if queued since": {func(b inbox.Batch, put func(string), _ func()) error {
			put("a")
			err := b.Savepoint(t.Context())
			put("b")
			return errors.Join(err, b.RollbackTo(t.Context()))
		}, []string{"a"}},
		"are kept by a release": {func(b inbox.Batch, put func(string), _ func()) error {
			err := b.Savepoint(t.Context())
			put("a")
			return errors.Join(err, b.Release(t.Context()))
		}, []string{"a"}},
		"break the transaction, until the return to a savepoint": {func(b inbox.Batch, put func(string), fail func()) error {
			put("a")
			err := b.Savepoint(t.Context())
			put("b")
			fail()
			put("c")
			if failed := b.Flush(t.Context()); !errors.Is(failed, broken) {
				t.Errorf("a flush returned %v, want %v", failed, broken)
			}
			if failed := b.Release(t.Context()); !errors.Is(failed, broken) {
				t.Errorf("a statement in a broken transaction returned %v, want %v", failed, broken)
			}
			return errors.Join(err, b.RollbackTo(t.Context()))
		}, []string{"a"}},
		"make the commit fail": {func(_ inbox.Batch, put func(string), fail func()) error {
			put("a")
			fail()
			return nil
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := skaldtest.NewStore()
			b, err := s.Begin(t.Context())
			must(t, err)
			tx := b.Tx().(*skaldtest.Tx)
			must(t, c.does(b,
				func(key string) {
					tx.Queue(func() error { n, _ := tx.Get("t", key); tx.Put("t", key, n+"I"); return nil })
				},
				func() { tx.Queue(func() error { return broken }) },
			))
			if err := b.Commit(t.Context()); (err != nil) != (c.want == nil) {
				t.Fatalf("the commit returned %v", err)
			}
			must(t, b.Rollback())
			got := s.List("t")
			for _, key := range c.want {
				if got[key] != "I" {
					t.Errorf("the statement of %s ran %d times, want once", key, len(got[key]))
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("it holds %v, want %v", got, c.want)
			}
		})
	}
}
