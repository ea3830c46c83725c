package service_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// timeout fires the deadlines that are due at the bistro's moment.
func (b *bistro) timeout(id skald.ID) {
	b.t.Helper()
	b.transact("order", func(ctx context.Context, tx *skaldtest.Tx) error {
		return b.players["order"].service.SagaEngine().Timeout(ctx, tx, id)
	})
}

func TestATrackedChoreographyCompletes(t *testing.T) {
	b := newBistro(t)
	id := b.start("a")
	if o := b.outcome(id); o.ID != id || o.Status != saga.Running || o.State != (about{"a"}) {
		t.Fatalf("after the start: %+v", o)
	}
	b.deliver("consumer", b.emitted(orderCreated))
	b.deliver("kitchen", b.emitted(orderCreated))
	b.deliver("accounting", b.emitted(ticketCreated), b.emitted(orderCreated), b.emitted(consumerVerified))
	b.deliver("order", b.emitted(ticketCreated), b.emitted(cardAuthorized), b.emitted(consumerVerified))
	if o := b.outcome(id); o.Status != saga.Completed || o.Reason != "" {
		t.Errorf("in the end: %+v", o)
	}
	want := []string{
		"order.order-created: started", "kitchen.ticket-created: seen: from kitchen", "accounting.card-authorized: seen: from accounting",
		"order.order-approved: seen: from order", ": completed", "consumer.consumer-verified: seen after the end: from consumer",
	}
	if got := b.history(id); !slices.Equal(got, want) {
		t.Errorf("history:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestATrackedChoreographyIsCompensated(t *testing.T) {
	b := newBistro(t, "consumer")
	id := b.start("a")
	b.deliver("consumer", b.emitted(orderCreated))
	refusal := b.emitted(consumerNotVerified)
	b.deliver("order", refusal)
	if o := b.outcome(id); o.Status != saga.Compensated || o.Reason != consumerNotVerified.Name {
		t.Errorf("in the end: %+v", o)
	}
}

func TestAStalledChoreographyIsParkedAndGoesOnWithWhatItExpects(t *testing.T) {
	b := newBistro(t)
	id := b.start("a")
	b.deliver("consumer", b.emitted(orderCreated))
	b.deliver("order", b.emitted(consumerVerified))
	b.now = bistroNow.Add(time.Minute - 1)
	b.timeout(id)
	if o := b.outcome(id); o.Status != saga.Running {
		t.Fatalf("before the deadline: %+v", o)
	}
	b.now = bistroNow.Add(time.Minute)
	b.timeout(id)
	if o := b.outcome(id); o.Status != saga.Parked || o.Reason != "stalled: expects kitchen.ticket-created or kitchen.ticket-creation-failed from kitchen" {
		t.Fatalf("after the deadline: %+v", o)
	}
	b.deliver("order", b.eventOf(b.emitted(consumerVerified), consumerVerified, "consumer")) // nothing new
	if o := b.outcome(id); o.Status != saga.Parked {
		t.Fatalf("after an event that was seen before: %+v", o)
	}
	b.deliver("kitchen", b.emitted(orderCreated))
	b.deliver("order", b.emitted(ticketCreated))
	if o := b.outcome(id); o.Status != saga.Running || o.Reason != "" {
		t.Fatalf("after the event that was expected: %+v", o)
	}
	b.now = b.now.Add(time.Minute)
	b.timeout(id)
	if o := b.outcome(id); o.Status != saga.Parked || !strings.Contains(o.Reason, "from accounting") {
		t.Fatalf("after the next deadline: %+v", o)
	}
	b.deliver("accounting", b.emitted(ticketCreated), b.emitted(orderCreated), b.emitted(consumerVerified))
	b.deliver("order", b.emitted(cardAuthorized))
	if o := b.outcome(id); o.Status != saga.Completed || o.Reason != "" {
		t.Errorf("in the end: %+v", o)
	}
	want := []string{"consumer.consumer-verified: seen again: from consumer", "kitchen.ticket-created: resumed: it came after all"}
	for _, line := range want {
		if got := b.history(id); !slices.Contains(got, line) {
			t.Errorf("history:\n%s\nwithout: %s", strings.Join(got, "\n"), line)
		}
	}
}

func TestAnOperatorGivesAStalledChoreographyANewDeadline(t *testing.T) {
	b := newBistro(t)
	id := b.start("a")
	resume := func() error {
		return b.players["order"].stepper.Transact(t.Context(), b.now, func(ctx context.Context, tx skald.Tx) error {
			return b.players["order"].service.SagaEngine().Resume(ctx, tx, id, "the kitchen is back")
		})
	}
	if err := resume(); err == nil {
		t.Error("resumed what is not parked")
	}
	b.now = bistroNow.Add(time.Minute)
	b.timeout(id)
	if err := resume(); err != nil {
		t.Fatal(err)
	}
	if o := b.outcome(id); o.Status != saga.Running || o.Reason != "" {
		t.Errorf("after the resume: %+v", o)
	}
	b.now = b.now.Add(time.Minute)
	b.timeout(id)
	if o := b.outcome(id); o.Status != saga.Parked {
		t.Errorf("after the new deadline: %+v", o)
	}
}

func TestAnInstanceIsStartedOnceInTheCallersTransaction(t *testing.T) {
	b := newBistro(t)
	store := b.players["order"].store
	start := func(id skald.ID, end func(*skaldtest.Tx) error) error {
		tx, err := store.BeginTx(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = b.order.Start(t.Context(), tx, id, about{"a"})
		if err != nil {
			end = (*skaldtest.Tx).Rollback
		}
		if err := end(tx); err != nil {
			t.Fatal(err)
		}
		return err
	}
	id := skald.NewID()
	if err := start(id, (*skaldtest.Tx).Rollback); err != nil {
		t.Fatal(err)
	}
	if _, found, err := b.order.Find(t.Context(), id); found || err != nil || len(store.Outbox()) > 0 {
		t.Errorf("after a rollback: found %t, %v, outbox %+v", found, err, store.Outbox())
	}
	if err := start(id, (*skaldtest.Tx).Commit); err != nil {
		t.Fatal(err)
	}
	if err := start(id, (*skaldtest.Tx).Commit); !errors.Is(err, saga.ErrConflict) {
		t.Errorf("started twice: %v", err)
	}
	if err := start(skald.ID{}, (*skaldtest.Tx).Commit); err == nil {
		t.Error("started without an id")
	}
	if out := store.Outbox(); len(out) != 1 || b.outcome(id).Status != saga.Running {
		t.Errorf("outbox %+v, outcome %+v", out, b.outcome(id))
	}
}

func TestWhatAHandlerEmittedAndTookBackIsNotSeen(t *testing.T) {
	b := newBistro(t)
	id := b.start("a")
	b.deliver("consumer", b.emitted(orderCreated))
	b.deliver("kitchen", b.emitted(orderCreated))
	b.deliver("accounting", b.emitted(ticketCreated), b.emitted(orderCreated), b.emitted(consumerVerified))
	b.players["order"].store.ExpensiveSavepoints()
	b.on["order "+cardAuthorized.Name] = func(ctx context.Context, tx *skaldtest.Tx, a about) error {
		return errors.Join(outbox.Publish(ctx, b.players["order"].service.Outbox(), tx, orderApproved, a), errors.New("not now"))
	}
	b.deliver("order", b.emitted(ticketCreated), b.emitted(cardAuthorized), b.emitted(consumerVerified))
	want := []string{"order.order-created: started", "kitchen.ticket-created: seen: from kitchen", "consumer.consumer-verified: seen: from consumer"}
	if got := b.history(id); !slices.Equal(got, want) || b.outcome(id).Status != saga.Running {
		t.Errorf("history: %q, want %q", got, want)
	}
	delete(b.on, "order "+cardAuthorized.Name)
	b.now = b.now.Add(time.Hour)
	b.retry("order")
	if o := b.outcome(id); o.Status != saga.Completed {
		t.Errorf("in the end: %+v", o)
	}
}

func TestAnEventOfAnInstanceThatIsUnknownDoesNoHarm(t *testing.T) {
	b := newBistro(t)
	b.start("a")
	m := b.eventOf(b.emitted(orderCreated), ticketCreated, "kitchen")
	m.Headers = nil
	m.Correlate(skald.Correlation{ID: skald.NewID(), Choreography: choreographedOrder})
	b.deliver("order", m)
	if held := b.held("order"); len(held) > 0 {
		t.Errorf("held: %+v", held)
	}
}

// A service that follows a choreography, and takes no part in it.
// A service may keep a view of events that it also follows an instance by.
func TestATrackedEventReachesTheServicesOwnHandlerToo(t *testing.T) {
	for name, handle := range map[string]func(svc *service.Service){
		"one by one": func(svc *service.Service) {
			service.HandleEvent(svc, ticketCreated, func(_ context.Context, tx *skaldtest.Tx, a about) error {
				effect(tx, "view of "+a.Order)
				return nil
			})
		},
		"together": func(svc *service.Service) {
			service.HandleEvents(svc, ticketCreated, func(_ context.Context, tx *skaldtest.Tx, events []*service.Received[about]) error {
				for _, e := range events {
					effect(tx, "view of "+e.Content.Order)
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var orders *saga.Tracked[about]
			b := playsAlone(t, "order", func(svc *service.Service) {
				handle(svc)
				orders = saga.Track(svc, bistroChoreography(), orderCreated)
				for _, event := range []skald.Event[about]{cardAuthorized, consumerNotVerified, ticketNotCreated, cardNotAuthorized} {
					service.React(svc, bistroChoreography(), event, func(context.Context, *skaldtest.Tx, about) error { return nil })
				}
			})
			b.order = orders
			id := b.start("a")
			created := b.ofInstance(id, ticketCreated, "kitchen")
			b.deliver("order", created)
			b.deliver("order", created) // again, as a broker may
			b.expect("order", "effects", "view of a", "1")
			want := []string{"order.order-created: started", "kitchen.ticket-created: seen: from kitchen"}
			if got := b.history(id); !slices.Equal(got, want) {
				t.Errorf("history: %q, want %q", got, want)
			}
			b.deliver("order", b.eventOf(skald.Message{Key: "plain"}, ticketCreated, "kitchen")) // of no instance
			b.expect("order", "effects", "view of plain", "1")
		})
	}
}

// Only its participants can end a choreography: there is nothing that an operator's cancel could undo.
func TestAnOperatorCannotCancelAChoreography(t *testing.T) {
	b := newBistro(t)
	id := b.start("a")
	cancel := func(id skald.ID) error {
		return b.players["order"].stepper.Transact(t.Context(), b.now, func(ctx context.Context, tx skald.Tx) error {
			return b.players["order"].service.SagaEngine().Cancel(ctx, tx, id, "give it up")
		})
	}
	if err := cancel(id); err == nil || !strings.Contains(err.Error(), "it is an instance of choreography") {
		t.Errorf("cancelled: %v", err)
	}
	if o := b.outcome(id); o.Status != saga.Running {
		t.Errorf("the instance is %+v", o)
	}
	if err := cancel(skald.NewID()); !errors.Is(err, saga.ErrNotLive) {
		t.Errorf("cancelled what does not exist: %v", err)
	}
}

func TestDeadlinesOfChoreographiesFireWhileTheServiceRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
		started, done := happened("watcher", "started"), happened("worker", "done")
		c := saga.Choreography{
			Name: "work", Starts: started, Completes: done, Deadline: time.Minute,
			Participants: []saga.Participant{{Service: "worker", Reactions: []saga.Reaction{{Name: "work", On: saga.On(started), Emits: saga.Emits(done)}}}},
		}
		newService := func(name string) *service.Service {
			svc, err := service.New(name, skaldtest.NewStore(), broker, service.Config{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			return svc
		}
		watcher, worker := newService("watcher"), newService("worker")
		work := saga.Track(watcher, c, started)
		service.React(worker, c, started, func(ctx context.Context, tx *skaldtest.Tx, a about) error {
			return outbox.Publish(ctx, worker.Outbox(), tx, done, a)
		})
		stopWatcher := runUntil(t, watcher)
		synctest.Wait()
		id := skald.NewID()
		err := service.Transact(t.Context(), watcher, func(ctx context.Context, tx *skaldtest.Tx) error {
			return work.Start(ctx, tx, id, about{"a"})
		})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		o, err := work.Await(t.Context(), id)
		if err != nil || o.Status != saga.Parked || o.Reason != "stalled: expects worker.done from worker" || time.Since(begun) > 61*time.Second {
			t.Errorf("after %s: %+v, %v", time.Since(begun), o, err)
		}
		if err := watcher.Resume(t.Context(), id, "the worker is back"); err != nil {
			t.Fatal(err)
		}
		begun = time.Now()
		stopWorker := runUntil(t, worker)
		if o, err = work.Await(t.Context(), id); err != nil || o.Status != saga.Completed || time.Since(begun) >= time.Second {
			t.Errorf("in the end, after %s: %+v, %v", time.Since(begun), o, err)
		}
		stopWorker()
		stopWatcher()
	})
}

func TestAServicesOwnEventIsSeenOnceAlthoughItReactsToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, half, done := happened("solo", "started"), happened("solo", "half"), happened("solo", "done")
		c := saga.Choreography{
			Name: "solo", Starts: started, Completes: done, Deadline: time.Minute,
			Participants: []saga.Participant{{Service: "solo", Reactions: []saga.Reaction{
				{Name: "first", On: saga.On(started), Emits: saga.Emits(half)},
				{Name: "second", On: saga.On(half), Emits: saga.Emits(done)},
			}}},
		}
		svc, err := service.New("solo", skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1}), service.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		instances := saga.Track(svc, c, started)
		for event, next := range map[string]skald.Event[about]{"started": half, "half": done} {
			service.React(svc, c, happened("solo", event), func(ctx context.Context, tx *skaldtest.Tx, a about) error {
				return outbox.Publish(ctx, svc.Outbox(), tx, next, a)
			})
		}
		stop := runUntil(t, svc)
		synctest.Wait()
		id := skald.NewID()
		if err := service.Transact(t.Context(), svc, func(ctx context.Context, tx *skaldtest.Tx) error { return instances.Start(ctx, tx, id, about{"a"}) }); err != nil {
			t.Fatal(err)
		}
		if o, err := instances.Await(t.Context(), id); err != nil || o.Status != saga.Completed {
			t.Errorf("%+v, %v", o, err)
		}
		entries, err := svc.History(t.Context(), id)
		if err != nil || len(entries) != 4 {
			t.Errorf("history %+v, %v", entries, err)
		}
		stop()
	})
}

func TestATransactionCarriesItsCallersCorrelation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, said := skaldtest.NewStore(), happened("solo", "said")
		svc, err := service.New("solo", store, skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1}), service.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		stop := runUntil(t, svc)
		synctest.Wait()
		want := skald.Correlation{ID: skald.NewID(), Choreography: "x", Hops: 2}
		err = service.Transact(skald.WithCorrelation(t.Context(), want), svc, func(ctx context.Context, tx *skaldtest.Tx) error {
			return outbox.Publish(ctx, svc.Outbox(), tx, said, about{"a"})
		})
		if err != nil {
			t.Fatal(err)
		}
		if out := store.Outbox(); len(out) != 1 || out[0].Correlation() != want {
			t.Errorf("%+v", out)
		}
		stop()
	})
}
