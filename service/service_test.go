package service_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

func TestASagaRunsThroughEveryService(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.mustPlace("a", 2, 500)
		s.pass(time.Second)
		s.approved("a")
	})
}

func TestARefusedPivotIsUndoneInReverseOrder(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.mustPlace("a", 2, 5000)
		s.pass(time.Second)
		s.rejected("a")
		s.expect("kitchen", "tickets", "a", "rejected")
		s.expect("accounting", "cards", "a", "declined") // kept: a declined card is a committed fact
		if got := s.outcome("a").State.Reason; got != "declined" {
			t.Errorf("reason in the state is %q, want declined", got)
		}
		want := []string{
			": started", "create order: done", "create ticket: sent", "create ticket: done", "authorize card: sent", "authorize card: refused",
			"create ticket: undo sent", "create ticket: undone", "create order: undone", ": compensated",
		}
		if got := s.history("a"); !slices.Equal(got, want) {
			t.Errorf("history:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestARefusalUndoesItsOwnWrites(t *testing.T) {
	for _, savepoints := range []string{"cheap", "expensive"} {
		t.Run(savepoints, func(t *testing.T) {
			inShop(t, nil, func(s *shop) {
				if savepoints == "expensive" {
					s.stores["kitchen"].ExpensiveSavepoints()
				}
				s.mustPlace("a", 0, 500)
				s.mustPlace("b", 1, 500)
				s.pass(time.Second)
				s.rejected("a")
				s.expect("kitchen", "tickets", "a", "")
				s.approved("b")
			})
		})
	}
}

func TestAFailingMessageIsTriedAgainAndOthersFlowOn(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		failures := 3
		s.on(authorize.Name, func(_ context.Context, tx *skaldtest.Tx) error {
			if card, _ := tx.Get("cards", "a"); card == "" || failures == 0 {
				return nil
			}
			failures--
			return errors.New("the bank does not answer")
		})
		s.mustPlace("a", 1, 500)
		s.mustPlace("b", 1, 500)
		s.pass(20 * time.Millisecond)
		s.approved("b")
		if held := s.held("accounting"); len(held) != 1 || held[0].State != inbox.HeldRetrying {
			t.Fatalf("held: %+v, want the one message that fails", held)
		}
		s.pass(time.Minute)
		s.approved("a")
		if held := s.held("accounting"); len(held) != 0 {
			t.Errorf("still held: %+v", held)
		}
	})
}

// Faults: 27.
func TestAMessageThatFailsForEverIsParkedAndRedriven(t *testing.T) {
	inShop(t, func(s *shop) { s.config.MaxAttempts = 3 }, func(s *shop) {
		s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("broken") })
		s.mustPlace("a", 1, 500)
		s.pass(time.Hour)
		held := s.held("accounting")
		if len(held) != 1 || held[0].State != inbox.HeldParked || held[0].Attempts != 3 || !strings.Contains(held[0].Reason, "broken") {
			t.Fatalf("held: %+v, want one parked after 3 attempts", held)
		}
		if health, err := s.running["accounting"].service.Health(s.t.Context()); err != nil || health.Parked != 1 {
			t.Errorf("health: %+v, %v: want one parked", health, err)
		}
		s.on(authorize.Name, nil)
		if n, err := s.stores["accounting"].Redrive(s.t.Context(), "accounting", []skald.ID{held[0].Message.ID}); n != 1 || err != nil {
			t.Fatalf("redrive: %d, %v", n, err)
		}
		s.pass(2 * time.Second)
		s.approved("a")
	})
}

func TestOrderPerKeyHoldsThroughRetries(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		failures := 4
		s.on(orderPlaced.Name, func(_ context.Context, tx *skaldtest.Tx) error {
			seen, _ := tx.Get("seen", "a")
			if strings.HasSuffix(seen, "3 ") && failures > 0 {
				failures--
				return errors.New("not yet")
			}
			return nil
		})
		for n := range 6 {
			s.emit("a", n)
			s.emit("b", n)
		}
		s.pass(10 * time.Millisecond)
		s.expect("kitchen", "seen", "a", "0 1 2 ")
		s.expect("kitchen", "seen", "b", "0 1 2 3 4 5 ")
		s.emit("a", 6)
		s.pass(time.Minute)
		s.emit("a", 7)
		s.pass(time.Second)
		s.expect("kitchen", "seen", "a", "0 1 2 3 4 5 6 7 ")
		s.once()
	})
}

// Faults: 53.
func TestEachMessageIsHandledOnceHoweverOftenItComes(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.broker.Repeat(3)
		for i := range 20 {
			s.mustPlace(fmt.Sprint("o", i), 1, 500+i%2*5000)
		}
		s.pass(time.Second)
		for i := range 20 {
			if order := fmt.Sprint("o", i); i%2 == 0 {
				s.approved(order)
			} else {
				s.rejected(order)
			}
		}
		s.nothingHeld()
	})
}

// Faults: 80.
func TestAPanicIsContained(t *testing.T) {
	inShop(t, func(s *shop) { s.config.MaxAttempts = 2 }, func(s *shop) {
		s.on(createTicket.Name, func(_ context.Context, tx *skaldtest.Tx) error {
			if _, bad := tx.Get("tickets", "bad"); bad {
				panic("out of gas")
			}
			return nil
		})
		s.mustPlace("bad", 1, 500)
		s.mustPlace("good", 1, 500)
		s.pass(time.Minute)
		s.approved("good")
		held := s.held("kitchen")
		if len(held) != 1 || held[0].State != inbox.HeldParked || !strings.Contains(held[0].Reason, "out of gas") {
			t.Errorf("held: %+v, want the panicking message parked", held)
		}
	})
}

// Faults: 81.
func TestAHangingHandlerIsAbandonedAndOthersFlowOn(t *testing.T) {
	for _, obedient := range []bool{true, false} {
		t.Run(fmt.Sprintf("heeds its context %t", obedient), func(t *testing.T) {
			inShop(t, func(s *shop) { s.config.HandlerTimeout, s.config.MaxAttempts = time.Second, 1 }, func(s *shop) {
				release := make(chan struct{})
				defer close(release)
				s.on(createTicket.Name, func(ctx context.Context, tx *skaldtest.Tx) error {
					if _, bad := tx.Get("tickets", "bad"); !bad {
						return nil
					}
					if obedient {
						<-ctx.Done()
						return ctx.Err()
					}
					<-release
					return nil
				})
				s.mustPlace("bad", 1, 500)
				s.mustPlace("good", 1, 500)
				s.pass(10 * time.Second)
				s.approved("good")
				s.expect("kitchen", "tickets", "bad", "")
				if held := s.held("kitchen"); len(held) != 1 || held[0].State != inbox.HeldParked {
					t.Errorf("held: %+v, want the hanging message parked", held)
				}
			})
		})
	}
}

func TestAHandlerCannotCommit(t *testing.T) {
	inShop(t, func(s *shop) { s.config.MaxAttempts = 1 }, func(s *shop) {
		s.on(createTicket.Name, func(_ context.Context, tx *skaldtest.Tx) error {
			if _, bad := tx.Get("tickets", "bad"); !bad {
				return nil
			}
			if err := tx.Commit(); err == nil {
				t.Error("a handler's Commit succeeded")
			}
			return tx.Rollback()
		})
		s.mustPlace("bad", 1, 500)
		s.mustPlace("good", 1, 500)
		s.pass(10 * time.Second)
		s.approved("good")
		s.expect("kitchen", "tickets", "bad", "")
		if held := s.held("kitchen"); len(held) != 1 {
			t.Errorf("held: %+v, want the message whose handler ended the transaction", held)
		}
	})
}

func TestAnUndeclaredRefusalIsAnError(t *testing.T) {
	inShop(t, func(s *shop) { s.config.MaxAttempts = 1 }, func(s *shop) {
		s.on(createTicket.Name, func(context.Context, *skaldtest.Tx) error { return skald.Refuse("bored", "no reason") })
		s.mustPlace("a", 1, 500)
		s.pass(time.Second)
		held := s.held("kitchen")
		if len(held) != 1 || !strings.Contains(held[0].Reason, "undeclared code \"bored\"") {
			t.Errorf("held: %+v, want the message with its undeclared code named", held)
		}
	})
}

func TestWhatNobodyHandlesIsParkedOrPassedOver(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		in := s.running["order"]
		stranger := skald.Command[ok, ok]{Name: "shop.stranger", Channel: "shop.kitchen"}
		future := skald.Command[ticket, ok]{Name: "shop.create-ticket", Version: 9, Channel: "shop.kitchen"}
		rumour := skald.Event[ok]{Name: "shop.rumour", Channel: "shop.order.events"}
		err := service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
			a, _ := stranger.Message(ok{})
			b, _ := future.Message(ticket{Order: "a"})
			c, _ := rumour.Message(ok{})
			d, _ := createTicket.Message(ticket{Order: "corrupt"})
			d.Payload = []byte(`{"items": "many"}`)
			return in.service.Outbox().Add(ctx, tx, a, b, c, d)
		})
		if err != nil {
			t.Fatal(err)
		}
		s.broker.PublishRaw("shop.kitchen", "k", []byte{0xff, 0x00})
		s.pass(time.Second)
		var reasons []string
		for _, h := range s.held("kitchen") {
			if h.State != inbox.HeldParked {
				t.Errorf("not parked: %+v", h)
			}
			reasons = append(reasons, h.Reason)
		}
		slices.Sort(reasons)
		want := []string{`malformed`, `no handler for command "shop.create-ticket" version 9`, `no handler for command "shop.stranger"`, `is no message`}
		for _, part := range want {
			if !slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, part) }) {
				t.Errorf("no parked message says %q; they say %q", part, reasons)
			}
		}
		if len(reasons) != len(want) {
			t.Errorf("%d messages parked, want %d: %q", len(reasons), len(want), reasons)
		}
	})
}

func TestTransactUndoesAFailedFunctionOnly(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		in := s.running["order"]
		broken := errors.New("changed my mind")
		results := make(chan error, 2)
		for _, fails := range []error{broken, nil} {
			go func() {
				results <- service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
					tx.Put("orders", fmt.Sprint(fails), "x")
					if err := in.sagas.Start(ctx, tx, fmt.Sprint("order ", fails), state{Order: fmt.Sprint("order ", fails), Items: 1}); err != nil {
						return err
					}
					return fails
				})
			}()
		}
		first, second := <-results, <-results
		if !errors.Is(errors.Join(first, second), broken) || first != nil && second != nil {
			t.Errorf("results: %v, %v", first, second)
		}
		s.pass(time.Second)
		s.expect("order", "orders", "<nil>", "x")
		s.expect("order", "orders", broken.Error(), "")
		if _, found, _ := in.sagas.Find(s.t.Context(), "order "+broken.Error()); found {
			t.Error("a saga was started by a transaction that was undone")
		}
		s.approved("order <nil>")
	})
}

// Faults: 78.
func TestStartingTwiceIsOneSaga(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("wait") })
		if err := errors.Join(s.place("a", 1, 500, saga.Request("r1")), s.place("a", 1, 500, saga.Request("r1"))); err != nil {
			t.Fatalf("the same request twice: %v", err)
		}
		if err := s.place("a", 1, 500, saga.Request("r2")); !errors.Is(err, saga.ErrConflict) {
			t.Errorf("another request on a live key: %v, want ErrConflict", err)
		}
		s.on(authorize.Name, nil)
		s.pass(time.Minute)
		s.approved("a")
		if err := s.place("a", 1, 500, saga.Request("r1")); err != nil {
			t.Errorf("the same request after the end: %v", err)
		}
		s.once()
	})
}

func TestRunStartsASagaAndReturnsItsOutcome(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		run := s.running["order"].sagas.Run
		outcome, err := run(s.t.Context(), "a", state{Order: "a", Items: 1, Cents: 100}, saga.Request("first"))
		if err != nil || outcome.Status != saga.Completed || outcome.State.Order != "a" {
			s.t.Errorf("outcome %+v, %v", outcome, err)
		}
		again, err := run(s.t.Context(), "a", state{Order: "a", Items: 1, Cents: 100}, saga.Request("first"))
		if err != nil || again.ID != outcome.ID {
			s.t.Errorf("the same request once more: %+v, %v; before: %+v", again, err, outcome)
		}
		refused, err := run(s.t.Context(), "b", state{Order: "b", Items: 0, Cents: 100})
		if err != nil || refused.Status != saga.Compensated || refused.State.Reason != "no_items" {
			s.t.Errorf("an order of nothing: %+v, %v", refused, err)
		}
		s.stop("accounting")
		ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
		defer cancel()
		if _, err := run(ctx, "c", state{Order: "c", Items: 1, Cents: 100}); !errors.Is(err, context.DeadlineExceeded) {
			s.t.Errorf("a saga that does not end: %v", err)
		}
		if _, err := run(s.t.Context(), "c", state{Order: "c", Items: 1, Cents: 100}); !errors.Is(err, saga.ErrConflict) {
			s.t.Errorf("a second saga of a live key: %v", err)
		}
	})
}

func TestAwaitReturnsTheOutcome(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.mustPlace("a", 1, 5000)
		outcome, err := s.running["order"].sagas.Await(s.t.Context(), "a")
		if err != nil || outcome.Status != saga.Compensated || outcome.State.Reason != "declined" {
			t.Errorf("outcome %+v, %v", outcome, err)
		}
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
		defer cancel()
		if _, err := s.running["order"].sagas.Await(ctx, "nobody"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("awaiting nothing: %v, want the deadline", err)
		}
	})
}

func TestAPivotThatDoesNotAnswerIsBarred(t *testing.T) {
	inShop(t, func(s *shop) { s.bar = 30 * time.Second }, func(s *shop) {
		s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("the bank is closed") })
		s.mustPlace("a", 1, 500)
		s.pass(29 * time.Second)
		if o := s.outcome("a"); o.Status != saga.Running {
			t.Fatalf("before the deadline the saga is %s", o.Status)
		}
		s.pass(2 * time.Second)
		s.rejected("a")
		s.on(authorize.Name, nil)
		s.pass(time.Hour)
		s.rejected("a") // the held pivot was refused by the barrier
		if held := s.held("accounting"); len(held) != 0 {
			t.Errorf("still held: %+v", held)
		}
	})
}

// Faults: 55.
func TestABarBringsBackTheAnswerOfAPivotThatLanded(t *testing.T) {
	inShop(t, func(s *shop) { s.bar = 30 * time.Second }, func(s *shop) {
		s.stop("accounting")
		s.mustPlace("a", 1, 500)
		s.pass(31 * time.Second) // pivot and bar wait in the broker, in order
		s.start("accounting")
		s.pass(10 * time.Second)
		s.approved("a")
	})
}

func TestAServiceThatCrashesLosesAndRepeatsNothing(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		const orders = 40
		for i := range orders {
			s.mustPlace(fmt.Sprint("o", i), 1, 500+i%4/3*5000)
			if i%5 == 0 {
				name := []string{"kitchen", "accounting", "order"}[i/5%3]
				s.crash(name)
				s.start(name)
				s.pass(20 * time.Second) // until the dead instance's leases have expired
			}
		}
		s.pass(time.Minute)
		for i := range orders {
			if order := fmt.Sprint("o", i); i%4 < 3 {
				s.approved(order)
			} else {
				s.rejected(order)
			}
		}
	})
}

// Faults: 34.
func TestACommitWithUnknownOutcomeIsHarmless(t *testing.T) {
	for _, landed := range []bool{true, false} {
		t.Run(fmt.Sprintf("landed %t", landed), func(t *testing.T) {
			inShop(t, nil, func(s *shop) {
				for i := range 10 {
					s.mustPlace(fmt.Sprint("o", i), 1, 500)
					s.stores["kitchen"].FailCommits(1, landed)
					s.stores["accounting"].FailCommits(1, landed)
					s.pass(5 * time.Second)
				}
				s.pass(time.Minute)
				for i := range 10 {
					s.approved(fmt.Sprint("o", i))
				}
			})
		})
	}
}

// Faults: 30.
func TestABrokerThatWasWipedGetsEverythingAgain(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.stop("kitchen")
		for i := range 10 {
			s.mustPlace(fmt.Sprint("o", i), 1, 500)
		}
		s.pass(5 * time.Second) // published, confirmed and past the checkpoint
		s.broker.Wipe()
		s.start("kitchen")
		s.pass(time.Minute)
		for i := range 10 {
			s.approved(fmt.Sprint("o", i))
		}
	})
}

// Faults: 25, 30.
func TestWhatIsPublishedAgainLaterIsHandledOnce(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		runs := 0 // of a handler that no barrier protects, whatever became of them
		s.on(confirmTicket.Name, func(context.Context, *skaldtest.Tx) error { runs++; return nil })
		for i := range 10 {
			s.mustPlace(fmt.Sprint("o", i), 1, 500+i%2*5000)
		}
		s.pass(10 * time.Second)
		s.broker.Wipe() // every relay publishes all that its outbox retains
		s.pass(5 * time.Minute)
		for i := range 10 {
			if order := fmt.Sprint("o", i); i%2 == 0 {
				s.approved(order)
			} else {
				s.rejected(order)
			}
		}
		s.nothingHeld()
		if runs != 5 {
			t.Errorf("the handler ran %d times for 5 messages", runs)
		}
	})
}

// Faults: 82.
func TestAnUnpublishableMessageIsHeldAndItsKeyWaits(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		refuse := true
		s.broker.RejectIf(func(m *skald.Message) error {
			if refuse && m.Key == "a" && m.Type == orderPlaced.Name {
				return errors.New("too large for this broker")
			}
			return nil
		})
		for n := range 3 {
			s.emit("a", n)
			s.emit("b", n)
		}
		s.pass(5 * time.Second)
		s.expect("kitchen", "seen", "a", "")
		s.expect("kitchen", "seen", "b", "0 1 2 ")
		refuse = false
		s.emit("a", 3)
		s.pass(2 * time.Minute)
		s.expect("kitchen", "seen", "a", "0 1 2 3 ")
		s.once()
	})
}

func TestASecondInstanceStandsByAndTakesOver(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		first := s.running["kitchen"]
		s.stores["first"], s.stores["kitchen"] = s.stores["kitchen"], s.stores["kitchen"].Connect()
		s.start("kitchen")
		s.mustPlace("a", 1, 500)
		s.pass(time.Second)
		s.approved("a")
		s.running["first"] = first
		s.stores["first"].Crash()
		first.stop()
		if err := <-first.ended; err != nil {
			t.Logf("the first instance crashed: %v", err)
		}
		delete(s.running, "first")
		delete(s.stores, "first")
		s.mustPlace("b", 1, 500)
		s.pass(10 * time.Second)
		s.approved("b")
	})
}

func TestFaultyRegistrationsAreRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc, err := service.New("order", skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{})
		if err != nil {
			t.Fatal(err)
		}
		service.HandleCommand(svc, createTicket, func(context.Context, skald.Queryer, ticket) (ok, error) { return ok{}, nil })
		service.HandleEvent(svc, skald.Event[ok]{Name: "Bad Name"}, func(context.Context, *skaldtest.Tx, ok) error { return nil })
		definition := createOrder(0, 0)
		definition.Retriable[0].Bar = time.Second
		definition.Compensatable[1].Name = "create order"
		saga.Register(svc, definition)
		err = svc.Run(t.Context())
		for _, part := range []string{"takes a transaction of type skald.Queryer", "Bad Name", "only a pivot has a bar", "two steps have this name"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("Run says %v; want it to say %q", err, part)
			}
		}
	})
}
