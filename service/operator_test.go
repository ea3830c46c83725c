package service_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/skaldtest"
)

func TestADiscardedCommandIsAnsweredAndItsSagaCompensates(t *testing.T) {
	inShop(t, func(s *shop) { s.config.MaxAttempts = 1 }, func(s *shop) {
		s.on(createTicket.Name, func(_ context.Context, tx *skaldtest.Tx) error {
			if _, bad := tx.Get("tickets", "a"); bad {
				return errors.New("this one breaks the oven")
			}
			return nil
		})
		s.mustPlace("a", 1, 500)
		s.pass(time.Second)
		kitchen := s.running["kitchen"].service
		held, err := kitchen.Held(s.t.Context(), 0, 10)
		if err != nil || len(held) != 1 || held[0].State != inbox.HeldParked {
			t.Fatalf("held: %+v, %v; want one parked message", held, err)
		}
		if _, err := kitchen.Discard(s.t.Context(), "", held[0].Message.ID); err == nil {
			t.Error("Discard took no reason")
		}
		if n, err := kitchen.Discard(s.t.Context(), "the customer was called", held[0].Message.ID); n != 1 || err != nil {
			t.Fatalf("Discard: %d, %v", n, err)
		}
		s.pass(10 * time.Second)
		s.rejected("a")
		s.expect("kitchen", "tickets", "a", "")
		s.nothingHeld()
		if got := s.outcome("a").Reason; got != "skald.discarded: the customer was called" {
			t.Errorf("the saga's reason is %q", got)
		}
		if n, err := kitchen.Discard(s.t.Context(), "again", held[0].Message.ID); n != 0 || err != nil {
			t.Errorf("discarded a second time: %d, %v", n, err)
		}
	})
}

func TestWhatFollowsADiscardedMessageGoesOn(t *testing.T) {
	inShop(t, func(s *shop) { s.config.MaxAttempts = 1 }, func(s *shop) {
		s.on(orderPlaced.Name, func(_ context.Context, tx *skaldtest.Tx) error {
			if seen, _ := tx.Get("seen", "a"); seen == "0 1 " {
				return errors.New("unlucky")
			}
			return nil
		})
		for n := range 4 {
			s.emit("a", n)
		}
		s.pass(time.Second)
		held := s.held("kitchen")
		if len(held) != 3 || held[0].State != inbox.HeldParked {
			t.Fatalf("held: %+v; want message 1 parked and two behind it", held)
		}
		if n, err := s.running["kitchen"].service.Discard(s.t.Context(), "unlucky", held[0].Message.ID); n != 1 || err != nil {
			t.Fatalf("Discard: %d, %v", n, err)
		}
		s.pass(10 * time.Second)
		s.expect("kitchen", "seen", "a", "0 2 3 ")
		s.nothingHeld()
	})
}
