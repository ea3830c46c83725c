package service_test

import (
	"context"
	"fmt"
	"log/slog"
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

// about is what every event of the bistro says.
type about struct {
	Order string `json:"order"`
}

func happened(name, what string) skald.Event[about] {
	return skald.Event[about]{Name: name + "." + what, Channel: name + ".events", Key: func(a about) string { return a.Order }}
}

// The events of an order's creation as FTGO choreographs it.
var (
	orderCreated        = happened("order", "order-created")
	orderApproved       = happened("order", "order-approved")
	orderRejected       = happened("order", "order-rejected")
	consumerVerified    = happened("consumer", "consumer-verified")
	consumerNotVerified = happened("consumer", "consumer-verification-failed")
	ticketCreated       = happened("kitchen", "ticket-created")
	ticketNotCreated    = happened("kitchen", "ticket-creation-failed")
	cardAuthorized      = happened("accounting", "card-authorized")
	cardNotAuthorized   = happened("accounting", "card-authorization-failed")
	bistroNames         = []string{"order", "consumer", "kitchen", "accounting"}
	bistroNow           = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	choreographedOrder  = "order.choreographed"
)

func bistroChoreography() saga.Choreography {
	return saga.Choreography{
		Name: choreographedOrder, Starts: orderCreated, Completes: orderApproved, Compensates: orderRejected, Deadline: time.Minute,
		Participants: []saga.Participant{
			{Service: "consumer", Reactions: []saga.Reaction{
				{Name: "verify consumer", On: saga.On(orderCreated), Emits: saga.Emits(consumerVerified, consumerNotVerified)},
			}},
			{Service: "kitchen", Reactions: []saga.Reaction{
				{Name: "create ticket", On: saga.On(orderCreated), Emits: saga.Emits(ticketCreated, ticketNotCreated)},
				{Name: "confirm ticket", On: saga.On(cardAuthorized)},
				{Name: "reject ticket", On: saga.On(consumerNotVerified, cardNotAuthorized), Undoes: "create ticket"},
			}},
			{Service: "accounting", Reactions: []saga.Reaction{
				{Name: "open authorization", On: saga.On(orderCreated)},
				{Name: "charge", On: saga.OnAll(orderCreated, consumerVerified, ticketCreated), Emits: saga.Emits(cardAuthorized, cardNotAuthorized)},
				{Name: "decline", On: saga.On(consumerNotVerified, ticketNotCreated), Undoes: "open authorization"},
			}},
			{Service: "order", Reactions: []saga.Reaction{
				{Name: "approve", On: saga.On(cardAuthorized), Emits: saga.Emits(orderApproved)},
				{Name: "reject", On: saga.On(consumerNotVerified, ticketNotCreated, cardNotAuthorized), Emits: saga.Emits(orderRejected)},
			}},
		},
	}
}

// bistro is four services without an orchestrator, whose messages the test delivers one by one. The order
// service follows the choreography.
type bistro struct {
	t       *testing.T
	order   *saga.Tracked[about]
	players map[string]*player
	now     time.Time
	// fails names what goes wrong: consumer, kitchen, card.
	fails map[string]bool
	// together says that events are handled in batches.
	together bool
	// on takes the place of a handler, by service and event.
	on map[string]func(ctx context.Context, tx *skaldtest.Tx, a about) error
}

type player struct {
	name     string
	store    *skaldtest.Store
	service  *service.Service
	stepper  *inbox.Stepper
	position uint64
}

func newBistro(t *testing.T, fails ...string) *bistro {
	t.Helper()
	return openBistro(t, false, fails...)
}

func openBistro(t *testing.T, together bool, fails ...string) *bistro {
	t.Helper()
	b := &bistro{together: together, t: t, players: map[string]*player{}, now: bistroNow, fails: map[string]bool{}, on: map[string]func(context.Context, *skaldtest.Tx, about) error{}}
	for _, what := range fails {
		b.fails[what] = true
	}
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
	for _, name := range bistroNames {
		p := &player{name: name, store: skaldtest.NewStore()}
		b.players[name] = p
		svc, err := service.New(name, p.store, broker, service.Config{Logger: slog.New(slog.DiscardHandler), LeaseTTL: 1000 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		p.service = svc
		b.cast(p)
		if p.stepper, err = svc.Stepper(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(b.close)
	return b
}

// playsAlone is one service without the others, which register gives its part.
func playsAlone(t *testing.T, name string, register func(svc *service.Service)) *bistro {
	t.Helper()
	p := &player{name: name, store: skaldtest.NewStore()}
	svc, err := service.New(name, p.store, skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1}), service.Config{Logger: slog.New(slog.DiscardHandler), LeaseTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p.service = svc
	register(svc)
	if p.stepper, err = svc.Stepper(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := &bistro{t: t, players: map[string]*player{name: p}, now: bistroNow}
	t.Cleanup(b.close)
	return b
}

// ofInstance is an event of an instance of the choreography.
func (b *bistro) ofInstance(id skald.ID, event skald.Event[about], source string) skald.Message {
	b.t.Helper()
	m := skald.Message{Key: "a"}
	m.Correlate(skald.Correlation{ID: id, Choreography: choreographedOrder})
	return b.eventOf(m, event, source)
}

func (b *bistro) close() {
	for _, p := range b.players {
		p.stepper.Close()
	}
}

// cast gives a service its part.
func (b *bistro) cast(p *player) {
	switch p.name {
	case "order":
		b.order = saga.Track(p.service, bistroChoreography(), orderCreated)
		b.react(p, cardAuthorized, func(tx *skaldtest.Tx, a about) []skald.Event[about] {
			tx.Put("orders", a.Order, "approved")
			return emit(orderApproved)
		})
		for _, event := range []skald.Event[about]{consumerNotVerified, ticketNotCreated, cardNotAuthorized} {
			b.react(p, event, func(tx *skaldtest.Tx, a about) []skald.Event[about] {
				if state, _ := tx.Get("orders", a.Order); state == "rejected" {
					return nil
				}
				tx.Put("orders", a.Order, "rejected")
				return emit(orderRejected)
			})
		}
	case "consumer":
		b.react(p, orderCreated, func(*skaldtest.Tx, about) []skald.Event[about] {
			return emit(b.either("consumer", consumerVerified, consumerNotVerified))
		})
	case "kitchen":
		b.kitchen(p)
	case "accounting":
		b.accounting(p)
	}
}

func (b *bistro) kitchen(p *player) {
	b.react(p, orderCreated, func(tx *skaldtest.Tx, a about) []skald.Event[about] {
		if !b.fails["kitchen"] {
			effect(tx, "ticket created")
			tx.Put("tickets", a.Order, "create pending")
		}
		return emit(b.either("kitchen", ticketCreated, ticketNotCreated))
	})
	b.react(p, cardAuthorized, func(tx *skaldtest.Tx, a about) []skald.Event[about] {
		tx.Put("tickets", a.Order, "awaiting acceptance")
		return nil
	})
	for _, event := range []skald.Event[about]{consumerNotVerified, cardNotAuthorized} {
		b.react(p, event, func(tx *skaldtest.Tx, a about) []skald.Event[about] {
			effect(tx, "ticket rejected")
			if _, created := tx.Get("tickets", a.Order); created {
				tx.Put("tickets", a.Order, "rejected")
			}
			return nil
		})
	}
}

func (b *bistro) accounting(p *player) {
	for _, event := range []skald.Event[about]{orderCreated, consumerVerified, ticketCreated} {
		b.react(p, event, func(tx *skaldtest.Tx, a about) []skald.Event[about] {
			seen, _ := tx.Get("seen", a.Order)
			seen += "I"
			tx.Put("seen", a.Order, seen)
			if event.Name == orderCreated.Name {
				tx.Put("cards", a.Order, "pending")
			}
			if seen != "III" {
				return nil
			}
			effect(tx, "charged")
			tx.Put("cards", a.Order, map[bool]string{true: "declined", false: "authorized"}[b.fails["card"]])
			return emit(b.either("card", cardAuthorized, cardNotAuthorized))
		})
	}
	for _, event := range []skald.Event[about]{consumerNotVerified, ticketNotCreated} {
		b.react(p, event, func(tx *skaldtest.Tx, a about) []skald.Event[about] {
			effect(tx, "authorization declined")
			tx.Put("cards", a.Order, "declined")
			return nil
		})
	}
}

func emit(events ...skald.Event[about]) []skald.Event[about] { return events }

func (b *bistro) either(what string, well, badly skald.Event[about]) skald.Event[about] {
	if b.fails[what] {
		return badly
	}
	return well
}

// react registers a reaction that emits the events that it returns.
func (b *bistro) react(p *player, event skald.Event[about], fn func(tx *skaldtest.Tx, a about) []skald.Event[about]) {
	one := func(ctx context.Context, tx *skaldtest.Tx, a about) error {
		if instead := b.on[p.name+" "+event.Name]; instead != nil {
			return instead(ctx, tx, a)
		}
		for _, out := range fn(tx, a) {
			if err := outbox.Publish(ctx, p.service.Outbox(), tx, out, a); err != nil {
				return err
			}
		}
		return nil
	}
	if !b.together {
		service.React(p.service, bistroChoreography(), event, one)
		return
	}
	service.ReactBatch(p.service, bistroChoreography(), event, func(ctx context.Context, tx *skaldtest.Tx, events []*service.Received[about]) error {
		for _, e := range events {
			if err := one(e.Context(ctx), tx, e.Content); err != nil {
				return err
			}
		}
		return nil
	})
}

// start starts the creation of an order, and returns its correlation id.
func (b *bistro) start(order string) skald.ID {
	b.t.Helper()
	id := skald.NewID()
	b.transact("order", func(ctx context.Context, tx *skaldtest.Tx) error {
		tx.Put("orders", order, "approval pending")
		return b.order.Start(ctx, tx, id, about{order})
	})
	return id
}

func (b *bistro) transact(name string, fn func(ctx context.Context, tx *skaldtest.Tx) error) {
	b.t.Helper()
	err := b.players[name].stepper.Transact(b.t.Context(), b.now, func(ctx context.Context, tx skald.Tx) error { return fn(ctx, tx.(*skaldtest.Tx)) })
	if err != nil {
		b.t.Fatal(err)
	}
}

// emitted finds an event that a service has emitted.
func (b *bistro) emitted(event skald.Event[about]) skald.Message {
	b.t.Helper()
	name, _, _ := strings.Cut(event.Name, ".")
	for _, m := range b.players[name].store.Outbox() {
		if m.Type == event.Name {
			return m
		}
	}
	b.t.Fatalf("%s has not emitted %s", name, event.Name)
	return skald.Message{}
}

// deliver delivers messages to a service, in one batch.
func (b *bistro) deliver(name string, messages ...skald.Message) {
	b.t.Helper()
	p := b.players[name]
	deliveries := make([]inbox.Delivery, len(messages))
	for i, m := range messages {
		p.position++
		deliveries[i] = inbox.Delivery{Message: m, Position: inbox.Position{Sequence: p.position, Last: m.ID}}
	}
	if err := p.stepper.Deliver(b.t.Context(), b.now, deliveries...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bistro) retry(name string) {
	b.t.Helper()
	if err := b.players[name].stepper.RetryHeld(b.t.Context(), b.now); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bistro) held(name string) []inbox.Held {
	b.t.Helper()
	held, err := b.players[name].store.ListHeld(b.t.Context(), "", 0, 100)
	if err != nil {
		b.t.Fatal(err)
	}
	return held
}

func (b *bistro) get(name, table, key string) string {
	value, _ := b.players[name].store.Get(table, key)
	return value
}

func (b *bistro) expect(name, table, key, want string) {
	b.t.Helper()
	if got := b.get(name, table, key); got != want {
		b.t.Errorf("%s: %s of %s is %q, want %q", name, table, key, got, want)
	}
}

func (b *bistro) outcome(id skald.ID) saga.Outcome[about] {
	b.t.Helper()
	o, found, err := b.order.Find(b.t.Context(), id)
	if err != nil || !found {
		b.t.Fatalf("instance %s: found %t, %v", id, found, err)
	}
	return o
}

func (b *bistro) history(id skald.ID) []string {
	b.t.Helper()
	entries, err := b.players["order"].service.History(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	var lines []string
	for _, e := range entries {
		lines = append(lines, strings.TrimSuffix(fmt.Sprintf("%s: %s: %s", e.Step, e.What, e.Detail), ": "))
	}
	return lines
}

// arrival is a message that a service has not received yet.
type arrival struct {
	name    string
	message skald.Message
}

// subscribed are the events that each service of the bistro receives.
var subscribed = func() map[string][]skald.EventType {
	c := bistroChoreography()
	all := map[string][]skald.EventType{"order": c.Foreign("order")}
	for _, name := range bistroNames[1:] {
		for _, r := range c.Roles(name) {
			all[name] = append(all[name], r.Event)
		}
	}
	return all
}()
