package service_test

import (
	"errors"
	"testing"
	"time"

	"github.com/skald-go/skald/saga"
)

func TestASagaStartsInTheCallersOwnTransaction(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		in, store := s.running["order"], s.stores["order"]
		for order, commit := range map[string]bool{"kept": true, "dropped": false} {
			tx, err := store.BeginTx(s.t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := in.sagas.Start(s.t.Context(), tx, order, state{Order: order, Items: 1, Cents: 500}); err != nil {
				t.Fatal(err)
			}
			if err := in.sagas.Start(s.t.Context(), tx, order, state{Order: order, Items: 1}); !errors.Is(err, saga.ErrConflict) {
				t.Errorf("start %s twice in one transaction: %v, want ErrConflict", order, err)
			}
			end := tx.Rollback
			if commit {
				end = tx.Commit
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		s.pass(5 * time.Second)
		s.approved("kept")
		s.expect("order", "orders", "dropped", "")
		if _, found, err := in.sagas.Find(s.t.Context(), "dropped"); found || err != nil {
			t.Errorf("a saga that was rolled back: found %t, %v", found, err)
		}
	})
}

func TestAMessageExistsIfAndOnlyIfTheCallersTransactionCommits(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		in, store := s.running["order"], s.stores["order"]
		for n, commit := range []bool{true, false, true} {
			tx, err := store.BeginTx(s.t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m, err := orderPlaced.Message(ticket{"a", n})
			if err != nil {
				t.Fatal(err)
			}
			if err := in.service.Outbox().Add(s.t.Context(), tx, m); err != nil {
				t.Fatal(err)
			}
			end := tx.Rollback
			if commit {
				end = tx.Commit
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		s.pass(5 * time.Second)
		s.expect("kitchen", "seen", "a", "0 2 ")
	})
}
