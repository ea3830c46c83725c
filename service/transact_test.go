package service_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

func TestAFunctionThatIsCommittedIsNotRunAgain(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		in, store := s.running["order"], s.stores["order"]
		runs := 0
		first := make(chan error, 1)
		transact := func(fn func(tx *skaldtest.Tx) error) error {
			return service.Transact(s.t.Context(), in.service, func(_ context.Context, tx *skaldtest.Tx) error { return fn(tx) })
		}
		// While the lane is busy with one function, two more come together into one batch.
		busy := make(chan error, 1)
		go func() {
			busy <- transact(func(tx *skaldtest.Tx) error { return slowly(time.Second)(s.t.Context(), tx) })
		}()
		s.pass(time.Millisecond)
		go func() {
			first <- transact(func(tx *skaldtest.Tx) error { effect(tx, "first"); return nil })
		}()
		s.pass(time.Millisecond)
		err := transact(func(tx *skaldtest.Tx) error {
			switch runs++; runs {
			case 1:
				return tx.Rollback() // breaks the batch, so that each runs in a transaction of its own
			case 2:
				store.FailCommits(1, false)
			}
			effect(tx, "second")
			return nil
		})
		if err := errors.Join(err, <-first, <-busy); err != nil {
			t.Errorf("Transact: %v", err)
		}
		s.once()
	})
}

// Faults: 34.
func TestAFunctionWhoseCommitHasAnUnknownOutcomeRunsOnce(t *testing.T) {
	for _, landed := range []bool{true, false} {
		inShop(t, nil, func(s *shop) {
			for _, order := range []string{"a", "b", "c"} {
				s.stores["order"].FailCommits(1, landed)
				s.mustPlace(order, 1, 500)
				s.pass(5 * time.Second)
				s.approved(order)
			}
		})
	}
}
