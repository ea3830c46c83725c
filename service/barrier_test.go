package service_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/skaldtest"
)

// Faults: 56, 57.
func TestAnUndoThatComesFirstDoesNothingAndBarsItsDo(t *testing.T) {
	inShop(t, func(s *shop) { s.deadline = 10 * time.Second }, func(s *shop) {
		s.on(createTicket.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("the kitchen is on fire") })
		s.mustPlace("a", 1, 500)
		s.pass(11 * time.Second)
		s.rejected("a")
		s.on(createTicket.Name, nil)
		s.pass(time.Hour) // the held do is due, and is refused
		s.rejected("a")
		s.expect("kitchen", "tickets", "a", "")
		if _, undone := s.stores["kitchen"].Get("effects", "a ticket rejected"); undone {
			t.Error("an undo was run for a do that never landed")
		}
		if held := s.held("kitchen"); len(held) != 0 {
			t.Errorf("still held: %+v", held)
		}
	})
}

// Faults: 55.
func TestAStepThatLandedWithoutAnAnswerIsUndone(t *testing.T) {
	inShop(t, func(s *shop) { s.deadline = 10 * time.Second }, func(s *shop) {
		s.stop("kitchen")
		s.mustPlace("a", 1, 500)
		s.pass(11 * time.Second) // do and undo wait at the broker, in order
		s.start("kitchen")
		s.pass(10 * time.Second)
		s.rejected("a")
		s.expect("kitchen", "tickets", "a", "rejected")
		if got := s.history("a"); !slices.Contains(got, "create ticket: timed out") || !slices.Contains(got, "create ticket: undone") {
			t.Errorf("history: %q", got)
		}
	})
}

// Faults: 60.
func TestACompensationThatIsRefusedParksTheSagaUntilItIsResumed(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		refuse := true
		s.on(rejectTicket.Name, func(context.Context, *skaldtest.Tx) error {
			if refuse {
				return refused("too_late")
			}
			return nil
		})
		s.mustPlace("a", 1, 5000)
		s.pass(time.Second)
		if o := s.outcome("a"); o.Status != saga.Parked || o.Reason != "compensation stuck: too_late: no" {
			t.Fatalf("the saga is %s (%s), want it parked as stuck", o.Status, o.Reason)
		}
		s.expect("order", "orders", "a", "pending")
		refuse = false
		s.resume("a")
		s.pass(time.Second)
		s.rejected("a")
	})
}

func TestARefusalAfterThePivotParksTheSagaAndUndoesNothing(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		refuse := true
		s.on(confirmTicket.Name, func(context.Context, *skaldtest.Tx) error {
			if refuse {
				return refused("gone")
			}
			return nil
		})
		s.mustPlace("a", 1, 500)
		s.pass(time.Second)
		if o := s.outcome("a"); o.Status != saga.Parked || o.Reason != "refused after the pivot: gone: no" {
			t.Fatalf("the saga is %s (%s), want it parked", o.Status, o.Reason)
		}
		s.expect("accounting", "cards", "a", "authorized")
		refuse = false
		s.resume("a")
		s.pass(time.Second)
		s.approved("a")
		entries, err := s.running["order"].service.History(s.t.Context(), s.outcome("a").ID)
		if err != nil || !slices.ContainsFunc(entries, func(e saga.Entry) bool { return e.What == saga.HistoryResumed && e.Detail == "mended" }) {
			t.Errorf("history %+v, %v; want the operator's word in it", entries, err)
		}
	})
}

// Faults: 18.
func TestWhatTheBrokerHadNotSyncedIsPublishedAgain(t *testing.T) {
	inShop(t, func(s *shop) { s.syncInterval = 10 * time.Second }, func(s *shop) {
		s.stop("kitchen")
		s.mustPlace("a", 1, 500)
		s.pass(3 * time.Second) // acknowledged by the broker, and not on its disk
		s.broker.Crash()
		s.start("kitchen")
		s.pass(time.Minute)
		s.approved("a")
	})
}

func TestALostConfirmationIsPublishedAgainAndHandledOnce(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		for range 5 {
			s.broker.CutPublish(1)
			s.broker.FailPublish(1)
		}
		s.mustPlace("a", 1, 500)
		s.mustPlace("b", 1, 5000)
		s.pass(5 * time.Minute)
		s.approved("a")
		s.rejected("b")
	})
}
