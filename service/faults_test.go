package service_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// forge sends the order service a reply that nobody's handler gave.
func (s *shop) forge(id skald.ID, step string, attempt int, refusal *skald.Refusal) {
	s.t.Helper()
	request := skald.Message{ID: skald.NewID(), Kind: skald.KindCommand, Channel: "shop.kitchen", Key: "forged", Type: createTicket.Name, Version: 1}
	request.Headers = skald.Headers{
		{Name: skald.HeaderReplyTo, Value: "order.replies"},
		{Name: skald.HeaderSaga, Value: id.String()},
		{Name: skald.HeaderStep, Value: step},
		{Name: skald.HeaderAction, Value: skald.ActionDo},
		{Name: skald.HeaderAttempt, Value: strconv.Itoa(attempt)},
	}
	reply, err := skald.Reply(&request, ok{}, refusal)
	if err != nil {
		s.t.Fatal(err)
	}
	reply.Key = reply.ID.String() // what is parked holds up its key
	in := s.running["kitchen"]
	if err := service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
		return in.service.Outbox().Add(ctx, tx, reply)
	}); err != nil {
		s.t.Fatal(err)
	}
}

// Faults: 69.
func TestOfTwoContraryRepliesTheFirstCounts(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.stop("accounting")
		s.mustPlace("a", 1, 500)  // its ticket is made, and its pivot waits
		s.mustPlace("b", 0, 5000) // its ticket is refused
		s.pass(time.Second)
		s.forge(s.outcome("a").ID, "create ticket", 1, skald.Refuse("no_items", "after all"))
		s.forge(s.outcome("b").ID, "create ticket", 1, nil)
		s.pass(time.Second)
		for order, ignored := range map[string]string{"a": "create ticket: reply ignored", "b": "create ticket: reply ignored"} {
			if got := s.history(order); !slices.Contains(got, ignored) {
				t.Errorf("the history of order %s does not say that a reply was ignored: %q", order, got)
			}
		}
		s.start("accounting")
		s.pass(10 * time.Second)
		s.approved("a")
		s.rejected("b")
		s.nothingHeld()
	})
}

// Faults: 70.
func TestAReplyToNothingThatWasAskedIsParked(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.stop("accounting")
		s.mustPlace("a", 1, 500)
		s.pass(time.Second)
		id := s.outcome("a").ID
		s.forge(skald.NewID(), "create ticket", 1, nil)
		s.forge(id, "no such step", 1, nil)
		s.forge(id, "create ticket", 2, nil)
		s.forge(id, "confirm ticket", 1, nil)
		s.pass(time.Second)
		held := s.held("order")
		for _, h := range held {
			if h.State != inbox.HeldParked || !strings.Contains(h.Reason, saga.ErrUnknownReply.Error()) {
				t.Errorf("%s: %s", h.State, h.Reason)
			}
		}
		if len(held) != 4 {
			t.Errorf("%d replies are held, want 4", len(held))
		}
		s.start("accounting")
		s.pass(10 * time.Second)
		s.approved("a")
	})
}

// Faults: 59.
func TestAnUndoThatFailsForEverIsParkedAndNothingIsUndoneBehindIt(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.on(rejectTicket.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("broken") })
		s.mustPlace("a", 1, 5000)
		s.pass(2 * time.Hour)
		if o := s.outcome("a"); o.Status != saga.Compensating {
			t.Errorf("the saga is %s, and its undo has never succeeded", o.Status)
		}
		s.expect("order", "orders", "a", "pending")
		held := s.held("kitchen")
		if len(held) != 1 || held[0].State != inbox.HeldParked || !strings.Contains(held[0].Reason, "broken") {
			t.Fatalf("held: %+v, want the undo parked with its reason", held)
		}
		s.on(rejectTicket.Name, nil)
		if n, err := s.stores["kitchen"].Redrive(s.t.Context(), "kitchen", []skald.ID{held[0].Message.ID}); n != 1 || err != nil {
			t.Fatalf("redrive: %d, %v", n, err)
		}
		s.pass(2 * time.Second)
		s.rejected("a")
		s.expect("kitchen", "tickets", "a", "rejected")
	})
}

// Faults: 61.
func TestAStepBehindThePivotIsTriedUntilItSucceeds(t *testing.T) {
	inShop(t, func(s *shop) { s.deadline, s.bar = time.Second, 30*time.Second }, func(s *shop) {
		failures := 12
		s.on(confirmTicket.Name, func(context.Context, *skaldtest.Tx) error {
			if failures--; failures >= 0 {
				return errors.New("not yet")
			}
			return nil
		})
		s.mustPlace("a", 1, 500)
		s.pass(time.Hour)
		s.approved("a")
		for _, line := range s.history("a") {
			if strings.Contains(line, "undo") {
				t.Errorf("behind the pivot something was undone: %s", line)
			}
		}
	})
}

// Faults: 90.
func TestAParkedMessageThatIsRedrivenTwiceIsHandledOnce(t *testing.T) {
	inShop(t, func(s *shop) { s.config.MaxAttempts = 1 }, func(s *shop) {
		s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("broken") })
		s.mustPlace("a", 1, 500)
		s.pass(time.Second)
		held := s.held("accounting")
		if len(held) != 1 || held[0].State != inbox.HeldParked {
			t.Fatalf("held: %+v, want one parked", held)
		}
		redrive := func(want int) {
			t.Helper()
			if n, err := s.stores["accounting"].Redrive(s.t.Context(), "accounting", []skald.ID{held[0].Message.ID}); n != want || err != nil {
				t.Errorf("redrive: %d, %v", n, err)
			}
		}
		s.on(authorize.Name, slowly(500*time.Millisecond))
		redrive(1)
		redrive(1)
		s.pass(1200 * time.Millisecond)
		s.pass(time.Minute)
		redrive(0)
		s.pass(time.Minute)
		s.approved("a")
		s.nothingHeld()
	})
}

// Faults: 82.
func TestAMessageThatIsTooLargeIsRefusedWhereItIsAdded(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		in := s.running["order"]
		err := service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
			effect(tx, "too large")
			m, err := orderPlaced.Message(ticket{strings.Repeat("x", skald.MaxPayload), 1})
			if err != nil {
				return err
			}
			m.Key = "a"
			return in.service.Outbox().Add(ctx, tx, m)
		})
		if !errors.Is(err, skald.ErrInvalidMessage) {
			t.Errorf("a message of more than %d bytes: %v", skald.MaxPayload, err)
		}
		s.emit("a", 1)
		s.pass(time.Second)
		s.expect("kitchen", "seen", "a", "1 ")
		if _, written := s.stores["order"].Get("effects", "too large"); written {
			t.Error("what was written beside the refused message stays")
		}
	})
}

// Faults: 89.
func TestAttemptsDoNotMultiply(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		const orders, attempts = 30, 20
		runs := 0
		s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error { runs++; return errors.New("the bank is closed") })
		for i := range orders {
			s.mustPlace(fmt.Sprint("o", i), 1, 500)
		}
		s.pass(2 * time.Hour)
		if runs != orders*attempts {
			t.Errorf("the handler ran %d times for %d messages of %d attempts each", runs, orders, attempts)
		}
		commands := 0
		for _, m := range s.broker.Messages("shop.accounting") {
			if m.Type == authorize.Name {
				commands++
			}
		}
		if commands != orders {
			t.Errorf("%d commands were sent for %d orders", commands, orders)
		}
		if held := s.held("accounting"); len(held) != orders || slices.ContainsFunc(held, func(h inbox.Held) bool { return h.State != inbox.HeldParked }) {
			t.Errorf("%d messages are held, want %d parked", len(held), orders)
		}
	})
}

// Faults: 35.
func TestAConflictInAHandlerIsTriedAgain(t *testing.T) {
	for _, savepoints := range []string{"cheap", "expensive"} {
		t.Run(savepoints, func(t *testing.T) {
			inShop(t, nil, func(s *shop) {
				if savepoints == "expensive" {
					s.stores["accounting"].ExpensiveSavepoints()
				}
				conflicts := 2
				s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error {
					if conflicts--; conflicts >= 0 {
						return fmt.Errorf("update: %w", skaldtest.ErrConnectionLost) // retryable, as a deadlock is
					}
					return nil
				})
				for _, order := range []string{"a", "b", "c"} {
					s.mustPlace(order, 1, 500)
				}
				s.pass(10 * time.Second)
				for _, order := range []string{"a", "b", "c"} {
					s.approved(order)
				}
				s.nothingHeld()
			})
		})
	}
}
