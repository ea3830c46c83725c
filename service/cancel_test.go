package service_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// cancel cancels an order's saga in a batch of the order service.
func (s *shop) cancel(order string) error {
	in := s.running["order"]
	return service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
		return in.sagas.Cancel(ctx, tx, order, "the guest left")
	})
}

func TestACancelledSagaIsUndone(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.stop("kitchen")
		s.mustPlace("a", 1, 500)
		s.pass(time.Second)
		if err := s.cancel("a"); err != nil {
			t.Fatal(err)
		}
		if err := s.cancel("a"); err != nil {
			t.Errorf("cancelled twice: %v", err)
		}
		s.start("kitchen") // the ticket's do and undo wait there
		s.pass(10 * time.Second)
		s.rejected("a")
		s.nothingHeld()
		if ticket, _ := s.stores["kitchen"].Get("tickets", "a"); ticket == "pending" {
			t.Error("the ticket is still there")
		}
		if reason := s.outcome("a").Reason; reason != "cancelled: the guest left" {
			t.Errorf("the reason is %q", reason)
		}
		if err := s.cancel("a"); !errors.Is(err, saga.ErrNotLive) {
			t.Errorf("cancelled after the end: %v", err)
		}
		if err := s.cancel("b"); !errors.Is(err, saga.ErrNotLive) {
			t.Errorf("cancelled what was never there: %v", err)
		}
	})
}

func TestAfterThePivotACancelIsRefused(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.on(confirmTicket.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("the kitchen is busy") })
		s.mustPlace("a", 1, 500)
		s.pass(time.Second)
		if err := s.cancel("a"); !errors.Is(err, saga.ErrDecided) {
			t.Fatalf("cancelled after the pivot: %v", err)
		}
		if err := s.running["order"].service.Cancel(s.t.Context(), s.outcome("a").ID, "an operator"); !errors.Is(err, saga.ErrDecided) {
			t.Errorf("cancelled by an operator after the pivot: %v", err)
		}
		s.on(confirmTicket.Name, nil)
		s.pass(time.Minute)
		s.approved("a")
	})
}

func TestWhileThePivotIsUnknownItsBarDecidesOnACancel(t *testing.T) {
	t.Run("the pivot never arrived", func(t *testing.T) {
		inShop(t, func(s *shop) { s.bar = time.Hour }, func(s *shop) {
			s.stop("accounting")
			s.mustPlace("a", 1, 500)
			s.pass(time.Second)
			if err := s.cancel("a"); err != nil {
				t.Fatal(err)
			}
			s.start("accounting")
			s.pass(10 * time.Second)
			if o := s.outcome("a"); o.Status != saga.Completed && o.Status != saga.Compensated {
				t.Fatalf("the saga is %s; history:\n%v", o.Status, s.history("a"))
			}
			s.nothingHeld()
			if card, _ := s.stores["accounting"].Get("cards", "a"); (card == "authorized") != (s.outcome("a").Status == saga.Completed) {
				t.Errorf("the saga is %s, and the card %q", s.outcome("a").Status, card)
			}
		})
	})
	t.Run("the pivot is held and barred", func(t *testing.T) {
		inShop(t, func(s *shop) { s.bar = time.Hour }, func(s *shop) {
			s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("the bank does not answer") })
			s.mustPlace("a", 1, 500)
			s.pass(time.Second)
			if err := s.cancel("a"); err != nil {
				t.Fatal(err)
			}
			s.pass(10 * time.Second)
			s.on(authorize.Name, nil)
			s.pass(time.Hour)
			s.rejected("a")
			s.expect("accounting", "cards", "a", "")
			s.nothingHeld()
		})
	})
}
