package service_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// Faults: 54.
func TestAChoreographyEndsLegallyInWhateverOrderItsEventsArrive(t *testing.T) {
	for _, fails := range [][]string{nil, {"consumer"}, {"kitchen"}, {"card"}, {"consumer", "kitchen"}} {
		t.Run("fails: "+strings.Join(fails, " and "), func(t *testing.T) {
			b := newBistro(t, fails...)
			w := &orders{bistro: b, id: b.start("a")}
			w.arrive(map[string]bool{}, nil)
			t.Logf("%d orders of arrival, up to %d messages in flight", w.ended, w.inFlight)
			if w.inFlight < 5 {
				t.Errorf("only %d messages in flight", w.inFlight)
			}
		})
	}
}

// orders goes through every order in which messages can arrive, from the moment that the bistro is at.
type orders struct {
	*bistro
	id              skald.ID
	ended, inFlight int
}

func (w *orders) arrive(arrived map[string]bool, trail []string) {
	waiting := w.waiting(arrived)
	w.inFlight = max(w.inFlight, len(waiting))
	if len(waiting) == 0 {
		w.ended++
		if w.endsLegally(w.id); w.t.Failed() {
			w.t.Fatalf("in the order:\n%s", strings.Join(trail, "\n"))
		}
	}
	for _, a := range waiting {
		store, key := w.players[a.name].store, a.name+a.message.ID.String()
		before := store.Snapshot()
		arrived[key] = true
		w.deliver(a.name, a.message)
		w.arrive(arrived, append(trail, a.name+" gets "+a.message.Type))
		delete(arrived, key)
		store.Restore(before)
	}
}

// waiting are the messages that have not arrived yet, in a fixed order.
func (b *bistro) waiting(arrived map[string]bool) []arrival {
	var all []arrival
	for _, from := range bistroNames {
		for _, m := range b.players[from].store.Outbox() {
			for _, to := range bistroNames {
				if slices.Contains(subscribed[to], m.EventType()) && !arrived[to+m.ID.String()] {
					all = append(all, arrival{to, m})
				}
			}
		}
	}
	return all
}

func (b *bistro) endsLegally(id skald.ID) {
	b.t.Helper()
	want := []string{"approved", "awaiting acceptance", "authorized", string(saga.Completed)}
	if len(b.fails) > 0 {
		want = []string{"rejected", "rejected", "declined", string(saga.Compensated)}
	}
	got := []string{b.get("order", "orders", "a"), b.get("kitchen", "tickets", "a"), b.get("accounting", "cards", "a"), string(b.outcome(id).Status)}
	for i := range want {
		nothing := got[i] == "" && len(b.fails) > 0 && i < 3
		if got[i] != want[i] && !nothing {
			b.t.Errorf("order, ticket, card and choreography are %q, want %q", got, want)
			break
		}
	}
	for _, name := range bistroNames {
		if held := b.held(name); len(held) > 0 {
			b.t.Errorf("%s holds %+v", name, held)
		}
		for what, times := range b.players[name].store.List("effects") {
			if times != "1" {
				b.t.Errorf("%s: %s %s times", name, what, times)
			}
		}
	}
	if !b.fails["kitchen"] && b.get("kitchen", "effects", "ticket rejected") != b.get("kitchen", "effects", "ticket created") && len(b.fails) > 0 {
		b.t.Error("a ticket was rejected that was not created, or the other way round")
	}
}

// Faults: 56, 57.
func TestAnUndoThatComesFirstDoesNothingAndItsDoIsSkipped(t *testing.T) {
	for _, together := range []bool{false, true} {
		t.Run(fmt.Sprintf("in one batch: %t", together), func(t *testing.T) {
			b := newBistro(t, "consumer")
			b.start("a")
			b.deliver("consumer", b.emitted(orderCreated))
			undo, do := b.emitted(consumerNotVerified), b.emitted(orderCreated)
			if together {
				b.deliver("kitchen", undo, do)
			} else {
				b.deliver("kitchen", undo)
				b.deliver("kitchen", do)
			}
			b.expect("kitchen", "effects", "ticket created", "")
			b.expect("kitchen", "effects", "ticket rejected", "")
			if out := b.players["kitchen"].store.Outbox(); len(out) > 0 {
				t.Errorf("the kitchen emitted %+v", out)
			}
			if held := b.held("kitchen"); len(held) > 0 {
				t.Errorf("the kitchen holds %+v", held)
			}
		})
	}
}

func TestAnUndoRunsOnceAfterItsDo(t *testing.T) {
	for _, together := range []bool{false, true} {
		t.Run(fmt.Sprintf("in one batch: %t", together), func(t *testing.T) {
			b := newBistro(t, "consumer")
			b.start("a")
			b.deliver("consumer", b.emitted(orderCreated))
			undo, do := b.emitted(consumerNotVerified), b.emitted(orderCreated)
			again := b.eventOf(undo, cardNotAuthorized, "accounting")
			if together {
				b.deliver("kitchen", do, undo, again)
			} else {
				b.deliver("kitchen", do)
				b.deliver("kitchen", undo)
				b.deliver("kitchen", again)
			}
			b.expect("kitchen", "tickets", "a", "rejected")
			b.expect("kitchen", "effects", "ticket created", "1")
			b.expect("kitchen", "effects", "ticket rejected", "1")
		})
	}
}

// eventOf makes another event of a message's instance.
func (b *bistro) eventOf(m skald.Message, event skald.Event[about], source string) skald.Message {
	b.t.Helper()
	other, err := event.Message(about{m.Key})
	if err != nil {
		b.t.Fatal(err)
	}
	other.ID, other.Source, other.Time = skald.NewID(), source, m.Time
	other.Correlate(m.Correlation())
	return other
}

// Faults: 56, 57.
func TestTheDoThatIsHeldIsSkippedOnceItsUndoHasCome(t *testing.T) {
	for _, parked := range []bool{false, true} {
		t.Run(fmt.Sprintf("parked: %t", parked), func(t *testing.T) {
			b := newBistro(t, "consumer")
			b.on["kitchen "+orderCreated.Name] = func(_ context.Context, tx *skaldtest.Tx, _ about) error {
				effect(tx, "ticket created")
				if parked {
					return inbox.ErrUnhandleable
				}
				return errors.New("the kitchen is on fire")
			}
			b.start("a")
			b.deliver("consumer", b.emitted(orderCreated))
			b.deliver("kitchen", b.emitted(orderCreated))
			if held := b.held("kitchen"); len(held) != 1 || (held[0].State == inbox.HeldParked) != parked {
				t.Fatalf("the kitchen holds %+v", held)
			}
			b.deliver("kitchen", b.emitted(consumerNotVerified))
			b.now = b.now.Add(time.Hour)
			b.retry("kitchen")
			b.expect("kitchen", "effects", "ticket created", "")
			b.expect("kitchen", "effects", "ticket rejected", "")
			if held := b.held("kitchen"); len(held) > 0 {
				t.Errorf("the kitchen holds %+v", held)
			}
		})
	}
}

func TestAnEventThatIsNotDeclaredParksWhatItWasEmittedFor(t *testing.T) {
	b := newBistro(t)
	b.on["kitchen "+orderCreated.Name] = func(ctx context.Context, tx *skaldtest.Tx, a about) error {
		tx.Put("tickets", a.Order, "create pending")
		return outbox.Publish(ctx, b.players["kitchen"].service.Outbox(), tx, happened("kitchen", "kitchen-closed"), a)
	}
	b.start("a")
	b.deliver("kitchen", b.emitted(orderCreated))
	b.expect("kitchen", "tickets", "a", "")
	held := b.held("kitchen")
	if len(held) != 1 || held[0].State != inbox.HeldParked || !strings.Contains(held[0].Reason, "with kitchen.kitchen-closed, which it does not declare") {
		t.Errorf("the kitchen holds %+v", held)
	}
	if out := b.players["kitchen"].store.Outbox(); len(out) > 0 {
		t.Errorf("the kitchen emitted %+v", out)
	}
}

// A batch reaction is given the batch's context too. What it publishes with that belongs to no instance, and
// the instance would wait for it in vain.
func TestADeclaredEventThatIsEmittedWithoutItsContextParksWhatItWasEmittedFor(t *testing.T) {
	b := playsAlone(t, "consumer", func(svc *service.Service) {
		service.ReactBatch(svc, bistroChoreography(), orderCreated, func(ctx context.Context, tx *skaldtest.Tx, events []*service.Received[about]) error {
			for _, e := range events {
				if err := outbox.Publish(ctx, svc.Outbox(), tx, consumerVerified, e.Content); err != nil { // in place of e.Context(ctx)
					return err
				}
			}
			return nil
		})
	})
	b.deliver("consumer", b.ofInstance(skald.NewID(), orderCreated, "order"))
	held := b.held("consumer")
	if len(held) != 1 || held[0].State != inbox.HeldParked || !strings.Contains(held[0].Reason, "publishes that outside of the choreography: publish with the event's own Context") {
		t.Errorf("the consumer service holds %+v", held)
	}
	if out := b.players["consumer"].store.Outbox(); len(out) > 0 {
		t.Errorf("it emitted %+v", out)
	}
}

func TestReactionsThatAreHandledTogetherKeepWhatIsPromised(t *testing.T) {
	b := openBistro(t, true, "consumer")
	b.on["kitchen "+orderCreated.Name] = func(ctx context.Context, tx *skaldtest.Tx, a about) error {
		effect(tx, "ticket of "+a.Order)
		event := ticketCreated
		if a.Order == "undeclared" {
			event = happened("kitchen", "kitchen-closed")
		}
		return outbox.Publish(ctx, b.players["kitchen"].service.Outbox(), tx, event, a)
	}
	var dos, undos []skald.Message
	for _, order := range []string{"done", "undone", "undeclared", "undone before"} {
		b.start(order)
		created := b.players["order"].store.Outbox()
		dos = append(dos, created[len(created)-1])
		undos = append(undos, b.eventOf(created[len(created)-1], consumerNotVerified, "consumer"))
	}
	broken := dos[0]
	broken.ID, broken.Headers = skald.NewID(), skald.Headers{{Name: skald.HeaderChoreography, Value: choreographedOrder}}
	b.deliver("kitchen", undos[3], dos[0], dos[1], dos[2], dos[3], broken, undos[1])
	want := map[string]string{"ticket of done": "1", "ticket of undone": "1", "ticket rejected": "1"}
	if got := b.players["kitchen"].store.List("effects"); !maps.Equal(got, want) {
		t.Errorf("effects: %v, want %v", got, want)
	}
	var held []string
	for _, h := range b.held("kitchen") {
		held = append(held, string(h.State)+" "+h.Message.Key)
	}
	if !slices.Equal(held, []string{"parked undeclared", "parked done"}) {
		t.Errorf("held: %q", held)
	}
	for _, m := range b.players["kitchen"].store.Outbox() {
		if m.Correlation().Hops != 1 || m.Correlation().ID.IsZero() {
			t.Errorf("emitted: %+v", m)
		}
	}
}

func TestAnEventForOthersIsEmittedUncorrelated(t *testing.T) {
	b := newBistro(t)
	b.on["kitchen "+orderCreated.Name] = func(ctx context.Context, tx *skaldtest.Tx, a about) error {
		return outbox.Publish(skald.Uncorrelated(ctx), b.players["kitchen"].service.Outbox(), tx, happened("kitchen", "kitchen-closed"), a)
	}
	b.start("a")
	b.deliver("kitchen", b.emitted(orderCreated))
	out := b.players["kitchen"].store.Outbox()
	if len(out) != 1 || out[0].Correlation() != (skald.Correlation{Hops: 1}) {
		t.Errorf("the kitchen emitted %+v", out)
	}
}

func TestAReactionGetsItsChoreographysEventsOnly(t *testing.T) {
	b := newBistro(t)
	m, err := orderCreated.Message(about{"a"})
	if err != nil {
		t.Fatal(err)
	}
	m.ID, m.Source, m.Time = skald.NewID(), "order", b.now
	other := m
	other.ID = skald.NewID()
	other.Correlate(skald.Correlation{ID: skald.NewID(), Choreography: "order.other"})
	b.deliver("kitchen", m, other)
	b.expect("kitchen", "effects", "ticket created", "")
	broken := m
	broken.ID, broken.Headers = skald.NewID(), skald.Headers{{Name: skald.HeaderChoreography, Value: choreographedOrder}, {Name: skald.HeaderCorrelation, Value: "a"}}
	b.deliver("kitchen", broken)
	if held := b.held("kitchen"); len(held) != 1 || held[0].State != inbox.HeldParked || !strings.Contains(held[0].Reason, "no correlation id") {
		t.Errorf("the kitchen holds %+v", held)
	}
}

func TestAnOrdinaryHandlerGetsWhatNoReactionTakes(t *testing.T) {
	for _, reacts := range []bool{true, false} {
		note := func(what string) func(context.Context, *skaldtest.Tx, about) error {
			return func(_ context.Context, tx *skaldtest.Tx, a about) error { effect(tx, what+" "+a.Order); return nil }
		}
		b := playsAlone(t, "consumer", func(svc *service.Service) {
			service.HandleEvent(svc, orderCreated, note("handled"))
			if reacts {
				service.React(svc, bistroChoreography(), orderCreated, note("reacted to"))
			}
		})
		b.deliver("consumer", b.eventOf(skald.Message{Key: "plain"}, orderCreated, "order"))
		correlated := b.eventOf(skald.Message{Key: "correlated"}, orderCreated, "order")
		correlated.Correlate(skald.Correlation{ID: skald.NewID(), Choreography: choreographedOrder})
		b.deliver("consumer", correlated)
		b.expect("consumer", "effects", "handled plain", "1")
		b.expect("consumer", "effects", map[bool]string{true: "reacted to correlated", false: "handled correlated"}[reacts], "1")
	}
}

func TestWhatASagaOfEventsCarries(t *testing.T) {
	b := newBistro(t)
	id := b.start("a")
	b.deliver("consumer", b.emitted(orderCreated))
	b.deliver("kitchen", b.emitted(orderCreated))
	b.deliver("accounting", b.emitted(ticketCreated), b.emitted(orderCreated), b.emitted(consumerVerified))
	for event, hops := range map[string]int{orderCreated.Name: 0, ticketCreated.Name: 1, cardAuthorized.Name: 2} {
		name, what, _ := strings.Cut(event, ".")
		m := b.emitted(happened(name, what))
		if got := m.Correlation(); got != (skald.Correlation{ID: id, Choreography: choreographedOrder, Hops: hops}) {
			t.Errorf("%s carries %+v", event, got)
		}
	}
}

func TestWhatIsMissingOrTooMuchAtRegistrationIsSaidByRun(t *testing.T) {
	newService := func(name string) *service.Service {
		svc, err := service.New(name, skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return svc
	}
	nothing := func(context.Context, *skaldtest.Tx, about) error { return nil }
	for name, c := range map[string]struct {
		register func() *service.Service
		want     []string
	}{
		"no handler for a declared reaction": {func() *service.Service {
			svc := newService("kitchen")
			service.React(svc, bistroChoreography(), orderCreated, nothing)
			return svc
		}, []string{`declares a reaction to event accounting.card-authorized`, `declares a reaction to event consumer.consumer-verification-failed`}},
		"no handler at all, and tracked": {func() *service.Service {
			svc := newService("order")
			saga.Track(svc, bistroChoreography(), orderCreated)
			return svc
		}, []string{`declares a reaction to event accounting.card-authorized in choreography "order.choreographed", and has no handler for it: register one with React`}},
		"a reaction that is not declared": {func() *service.Service {
			svc := newService("consumer")
			service.React(svc, bistroChoreography(), orderCreated, nothing)
			service.React(svc, bistroChoreography(), ticketCreated, nothing)
			return svc
		}, []string{`service "consumer" declares no reaction to event kitchen.ticket-created`}},
		"two handlers": {func() *service.Service {
			svc := newService("consumer")
			service.React(svc, bistroChoreography(), orderCreated, nothing)
			service.React(svc, bistroChoreography(), orderCreated, nothing)
			return svc
		}, []string{`two handlers`}},
		"two choreographies of one name": {func() *service.Service {
			svc := newService("consumer")
			service.React(svc, bistroChoreography(), orderCreated, nothing)
			other := bistroChoreography()
			other.Compensates = nil
			service.React(svc, other, orderCreated, nothing)
			return svc
		}, []string{`two different choreographies of the name`}},
		"a faulty declaration": {func() *service.Service {
			svc := newService("consumer")
			faulty := bistroChoreography()
			faulty.Deadline = 0
			service.React(svc, faulty, orderCreated, nothing)
			return svc
		}, []string{`no deadline`}},
		"a faulty declaration, tracked from a wrong event": {func() *service.Service {
			svc := newService("watcher")
			faulty := bistroChoreography()
			faulty.Deadline = 0
			saga.Track(svc, faulty, orderApproved)
			saga.Track(svc, faulty, orderCreated)
			return svc
		}, []string{`no deadline`, `give Track the start event`, `tracked twice`}},
		"a declaration that is tracked, and followed in another way": {func() *service.Service {
			svc := newService("order")
			for _, event := range []skald.Event[about]{cardAuthorized, consumerNotVerified, ticketNotCreated, cardNotAuthorized} {
				service.React(svc, bistroChoreography(), event, nothing)
			}
			other, confirmed := bistroChoreography(), happened("order", "order-confirmed")
			other.Participants[3].Reactions[0].Emits, other.Completes = saga.Emits(confirmed), confirmed
			saga.Track(svc, other, orderCreated)
			return svc
		}, []string{`give React and Track the same value`}},
		"a saga of the same name": {func() *service.Service {
			svc := newService("watcher")
			saga.Track(svc, bistroChoreography(), orderCreated)
			saga.Register(svc, saga.Definition[state]{Name: choreographedOrder, Retriable: []saga.Step[state]{{Name: "x", Do: saga.Local(orderIs("y"))}}})
			return svc
		}, []string{`a saga has this name too`}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.register().Run(t.Context())
			for _, want := range c.want {
				if err == nil || strings.Count(err.Error(), want) != 1 {
					t.Errorf("Run: %v\nwant once: %s", err, want)
				}
			}
		})
	}
}

func TestAChangedDeclarationNeedsANewVersion(t *testing.T) {
	store := skaldtest.NewStore()
	track := func(c saga.Choreography) error {
		svc, err := service.New("watcher", store, skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1}), service.Config{LeaseTTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		saga.Track(svc, c, orderCreated)
		return svc.SagaEngine().Check(t.Context())
	}
	c := bistroChoreography()
	if err := track(c); err != nil {
		t.Fatal(err)
	}
	c.Deadline *= 2
	if err := track(c); err != nil {
		t.Errorf("another deadline: %v", err)
	}
	c.Participants = slices.Clone(c.Participants)
	c.Participants[1].Reactions = slices.Clone(c.Participants[1].Reactions)
	c.Participants[1].Reactions[1].Name = "serve ticket"
	if err := track(c); err == nil || !strings.Contains(err.Error(), "raise Version") {
		t.Errorf("another reaction: %v", err)
	}
	c.Version = 2
	if err := track(c); err != nil {
		t.Errorf("another version: %v", err)
	}
}

var update = flag.Bool("update", false, "draw the guide's picture anew")

func TestTheGuideShowsTheChoreographyAsItIs(t *testing.T) {
	const picture = "../docs/guide/choreography.svg"
	drawn := ServeMeal.SVG()
	if *update {
		if err := os.WriteFile(picture, drawn, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(picture); err != nil || !bytes.Equal(got, drawn) {
		t.Errorf("%s is not what is drawn now (%v): run with -update, and look at it", picture, err)
	}
}
