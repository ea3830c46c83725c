package service_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// A shop of three services, as small as a saga with all its parts can be.

type ticket struct {
	Order string `json:"order"`
	Items int    `json:"items"`
}

type charge struct {
	Order string `json:"order"`
	Cents int    `json:"cents"`
}

type ok struct {
	Note string `json:"note,omitempty"`
}

func byOrder[C any](order func(C) string) func(C) string { return order }

var (
	createTicket = skald.Command[ticket, ok]{
		Name: "shop.create-ticket", Channel: "shop.kitchen", Key: byOrder(func(t ticket) string { return t.Order }), Refusals: []string{"no_items"},
	}
	rejectTicket = skald.Command[ticket, ok]{
		Name: "shop.reject-ticket", Channel: "shop.kitchen", Key: byOrder(func(t ticket) string { return t.Order }), Refusals: []string{"too_late"},
	}
	authorize = skald.Command[charge, ok]{
		Name: "shop.authorize", Channel: "shop.accounting", Key: byOrder(func(c charge) string { return c.Order }), Refusals: []string{"declined"},
	}
	confirmTicket = skald.Command[ticket, ok]{
		Name: "shop.confirm-ticket", Channel: "shop.kitchen", Key: byOrder(func(t ticket) string { return t.Order }), Refusals: []string{"gone"},
	}
	orderPlaced = skald.Event[ticket]{Name: "shop.order-placed", Channel: "shop.order.events", Key: byOrder(func(t ticket) string { return t.Order })}
)

type state struct {
	Order  string `json:"order"`
	Items  int    `json:"items"`
	Cents  int    `json:"cents"`
	Reason string `json:"reason,omitempty"`
}

func (s state) ticket() ticket { return ticket{s.Order, s.Items} }
func (s state) charge() charge { return charge{s.Order, s.Cents} }

func (s *state) because(r skald.Refusal) { s.Reason = r.Code }

func createOrder(deadline, bar time.Duration) saga.Definition[state] {
	return saga.Definition[state]{
		Name: "order.create",
		Compensatable: []saga.Compensatable[state]{
			{Name: "create order", Do: saga.Local(orderIs("pending")), Undo: saga.Local(orderIs("rejected"))},
			{Name: "create ticket", Do: saga.Call(createTicket, state.ticket).Refused((*state).because), Undo: saga.Call(rejectTicket, state.ticket), Deadline: deadline},
		},
		Pivot:     saga.Step[state]{Name: "authorize card", Do: saga.Call(authorize, state.charge).Refused((*state).because), Bar: bar},
		Retriable: []saga.Step[state]{{Name: "confirm ticket", Do: saga.Call(confirmTicket, state.ticket)}, {Name: "approve order", Do: saga.Local(orderIs("approved"))}},
	}
}

func orderIs(status string) func(context.Context, *skaldtest.Tx, *state) error {
	return func(_ context.Context, tx *skaldtest.Tx, s *state) error {
		tx.Put("orders", s.Order, status)
		effect(tx, s.Order+" "+status)
		return nil
	}
}

// effect counts how often something was done, in the transaction that does it.
func effect(tx *skaldtest.Tx, what string) {
	before, _ := tx.Get("effects", what)
	n, _ := strconv.Atoi(before)
	tx.Put("effects", what, strconv.Itoa(n+1))
}

// shop is the three services, each with its own database, and the broker between them.
type shop struct {
	t       *testing.T
	broker  *skaldtest.Broker
	stores  map[string]*skaldtest.Store
	running map[string]*instance
	config  service.Config
	// Of the saga: the deadline of its ticket, and the bar of its pivot.
	deadline, bar time.Duration
	// definitions replace the saga, if not nil: none of them, or several versions.
	definitions   []saga.Definition[state]
	startVersions map[string]int
	// skew is by how much the services' clocks are ahead.
	skew atomic.Int64
	// syncInterval is how long the broker may lose what it has acknowledged.
	syncInterval time.Duration
	// also, if set for a service, registers more with it.
	also map[string]func(*service.Service)
	// wrap, if set, stands between a service and its store.
	wrap func(name string, store *skaldtest.Store) service.Store

	mu sync.Mutex
	// before, if set for a message type, is called first by its handler.
	before map[string]func(ctx context.Context, tx *skaldtest.Tx) error
}

type instance struct {
	service *service.Service
	sagas   *saga.Saga[state]
	stop    context.CancelFunc
	ended   chan error
}

// inShop runs fn in a bubble of virtual time, with the three services up.
func inShop(t *testing.T, configure func(*shop), fn func(s *shop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &shop{
			t: t, stores: map[string]*skaldtest.Store{},
			running: map[string]*instance{}, before: map[string]func(context.Context, *skaldtest.Tx) error{},
		}
		s.config.Logger = slog.New(slog.DiscardHandler)
		s.config.Now = func() time.Time { return time.Now().Add(time.Duration(s.skew.Load())) }
		if configure != nil {
			configure(s)
		}
		s.broker = skaldtest.NewBroker(skaldtest.BrokerConfig{SyncInterval: s.syncInterval})
		for _, name := range []string{"order", "kitchen", "accounting"} {
			s.stores[name] = skaldtest.NewStore()
			s.start(name)
		}
		fn(s)
		for _, name := range slices.Sorted(maps.Keys(s.running)) {
			s.stop(name)
		}
	})
}

func (s *shop) start(name string) {
	s.t.Helper()
	var store service.Store = s.stores[name]
	if s.wrap != nil {
		store = s.wrap(name, s.stores[name])
	}
	config := s.config
	if name == "order" {
		config.StartVersions = s.startVersions
	}
	svc, err := service.New(name, store, s.broker, config)
	if err != nil {
		s.t.Fatal(err)
	}
	in := &instance{service: svc, ended: make(chan error, 1)}
	switch name {
	case "order":
		if s.definitions == nil {
			s.definitions = []saga.Definition[state]{createOrder(s.deadline, s.bar)}
		}
		if len(s.definitions) > 0 {
			in.sagas = saga.Register(svc, s.definitions[0], s.definitions[1:]...)
		}
	case "kitchen":
		service.HandleCommand(svc, createTicket, s.createTicket)
		service.HandleCommand(svc, rejectTicket, s.rejectTicket)
		service.HandleCommand(svc, confirmTicket, s.confirmTicket)
		service.HandleEvent(svc, orderPlaced, s.orderPlaced)
	case "accounting":
		service.HandleCommand(svc, authorize, s.authorize)
	}
	if also := s.also[name]; also != nil {
		also(svc)
	}
	ctx, stop := context.WithCancel(s.t.Context())
	in.stop = stop
	go func() { in.ended <- svc.Run(ctx) }()
	s.running[name] = in
	synctest.Wait()
}

func (s *shop) stop(name string) {
	s.t.Helper()
	in := s.running[name]
	delete(s.running, name)
	in.stop()
	if err := <-in.ended; err != nil {
		s.t.Errorf("service %s: %v", name, err)
	}
}

// crash kills a service at once; its database stays.
func (s *shop) crash(name string) {
	s.t.Helper()
	in := s.running[name]
	delete(s.running, name)
	s.stores[name] = s.stores[name].Crash()
	in.stop()
	if err := <-in.ended; err != nil {
		s.t.Logf("service %s crashed: %v", name, err)
	}
}

func (s *shop) call(ctx context.Context, tx *skaldtest.Tx, kind string) error {
	s.mu.Lock()
	fn := s.before[kind]
	s.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(ctx, tx)
}

// on sets what a handler does first; nil for nothing.
func (s *shop) on(kind string, fn func(ctx context.Context, tx *skaldtest.Tx) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before[kind] = fn
}

func (s *shop) createTicket(ctx context.Context, tx *skaldtest.Tx, c ticket) (ok, error) {
	tx.Put("tickets", c.Order, "pending")
	if c.Items < 1 {
		return ok{}, skald.Refuse("no_items", "nothing to cook") // after a write, which must not stay
	}
	effect(tx, c.Order+" ticket created")
	return ok{}, s.call(ctx, tx, createTicket.Name)
}

func (s *shop) rejectTicket(ctx context.Context, tx *skaldtest.Tx, c ticket) (ok, error) {
	tx.Put("tickets", c.Order, "rejected")
	effect(tx, c.Order+" ticket rejected")
	return ok{}, s.call(ctx, tx, rejectTicket.Name)
}

func (s *shop) confirmTicket(ctx context.Context, tx *skaldtest.Tx, c ticket) (ok, error) {
	tx.Put("tickets", c.Order, "confirmed")
	effect(tx, c.Order+" ticket confirmed")
	return ok{}, s.call(ctx, tx, confirmTicket.Name)
}

func (s *shop) authorize(ctx context.Context, tx *skaldtest.Tx, c charge) (ok, error) {
	if c.Cents > 1000 {
		tx.Put("cards", c.Order, "declined")
		return ok{}, skald.Refuse("declined", "over the limit").Keep()
	}
	tx.Put("cards", c.Order, "authorized")
	effect(tx, c.Order+" card authorized")
	return ok{}, s.call(ctx, tx, authorize.Name)
}

func (s *shop) orderPlaced(ctx context.Context, tx *skaldtest.Tx, c ticket) error {
	seen, _ := tx.Get("seen", c.Order)
	tx.Put("seen", c.Order, seen+strconv.Itoa(c.Items)+" ")
	effect(tx, fmt.Sprintf("%s placed %d", c.Order, c.Items))
	return s.call(ctx, tx, orderPlaced.Name)
}

// place starts a saga in the order service's own batch.
func (s *shop) place(order string, items, cents int, options ...saga.StartOption) error {
	in := s.running["order"]
	return service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
		return in.sagas.Start(ctx, tx, order, state{Order: order, Items: items, Cents: cents}, options...)
	})
}

// emit publishes an event from the order service.
func (s *shop) emit(order string, n int) {
	s.t.Helper()
	in := s.running["order"]
	err := service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
		m, err := orderPlaced.Message(ticket{order, n})
		if err != nil {
			return err
		}
		return in.service.Outbox().Add(ctx, tx, m)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) mustPlace(order string, items, cents int) {
	s.t.Helper()
	if err := s.place(order, items, cents); err != nil {
		s.t.Fatalf("place order %s: %v", order, err)
	}
}

// resume is an operator's word to try again what a parked saga stands at.
func (s *shop) resume(order string) {
	s.t.Helper()
	if err := s.running["order"].service.Resume(s.t.Context(), s.outcome(order).ID, "mended"); err != nil {
		s.t.Fatal(err)
	}
}

func refused(code string) error { return skald.Refuse(code, "no") }

// pass lets virtual time go by.
func (s *shop) pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
	synctest.Wait()
}

func (s *shop) outcome(order string) saga.Outcome[state] {
	s.t.Helper()
	outcome, found, err := s.running["order"].sagas.Find(s.t.Context(), order)
	if err != nil || !found {
		s.t.Fatalf("saga of order %s: found %t, %v", order, found, err)
	}
	return outcome
}

func (s *shop) history(order string) []string {
	s.t.Helper()
	entries, err := s.stores["order"].ReadHistory(s.t.Context(), s.outcome(order).ID)
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	for _, e := range entries {
		lines = append(lines, e.Step+": "+e.What)
	}
	return lines
}

func (s *shop) held(name string) []inbox.Held {
	s.t.Helper()
	held, err := s.stores[name].ListHeld(s.t.Context(), "", 0, 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	return held
}

// nothingHeld checks that no message waits anywhere.
func (s *shop) nothingHeld() {
	s.t.Helper()
	for name := range s.stores {
		for _, h := range s.held(name) {
			s.t.Errorf("%s holds %s %q (%s): %s", name, h.Message.Kind, h.Message.Type, h.State, h.Reason)
		}
	}
}

// expect checks a value of a service's own data; "" means absent.
func (s *shop) expect(name, table, key, want string) {
	s.t.Helper()
	if got, _ := s.stores[name].Get(table, key); got != want {
		s.t.Errorf("%s: %s of %s is %q, want %q", name, table, key, got, want)
	}
}

// once checks that every effect so far happened once.
func (s *shop) once() {
	s.t.Helper()
	for name, store := range s.stores {
		for what, n := range store.List("effects") {
			if n != "1" {
				s.t.Errorf("%s: %q happened %s times", name, what, n)
			}
		}
	}
}

func (s *shop) approved(order string) {
	s.t.Helper()
	if o := s.outcome(order); o.Status != saga.Completed {
		s.t.Fatalf("saga of order %s is %s (%s), want completed; history:\n%v", order, o.Status, o.Reason, s.history(order))
	}
	s.expect("order", "orders", order, "approved")
	s.expect("kitchen", "tickets", order, "confirmed")
	s.expect("accounting", "cards", order, "authorized")
	s.once()
}

func (s *shop) rejected(order string) {
	s.t.Helper()
	if o := s.outcome(order); o.Status != saga.Compensated {
		s.t.Fatalf("saga of order %s is %s (%s), want compensated; history:\n%v", order, o.Status, o.Reason, s.history(order))
	}
	s.expect("order", "orders", order, "rejected")
	if card, _ := s.stores["accounting"].Get("cards", order); card == "authorized" {
		s.t.Errorf("order %s was rejected, and its card is still authorized", order)
	}
	s.once()
}
