package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// revisedOrder is version 2 of [createOrder]: one step more at its beginning and at its end, one
// renamed, two in another order.
func revisedOrder(deadline, bar time.Duration) saga.Definition[state] {
	d := createOrder(deadline, bar)
	d.Version = 2
	d.Compensatable[1].Name = "open ticket"
	d.Compensatable = slices.Insert(d.Compensatable, 0, saga.Compensatable[state]{Name: "note", Do: saga.Local(orderIs("noted")), Undo: saga.Local(orderIs("crossed out"))})
	slices.Reverse(d.Retriable)
	d.Retriable = append(d.Retriable, saga.Step[state]{Name: "close", Do: saga.Local(func(_ context.Context, tx *skaldtest.Tx, s *state) error {
		effect(tx, s.Order+" closed")
		return nil
	})})
	return d
}

// stepsOf are the names of the first and the second version's steps.
var stepsOf = map[int][]string{
	1: {"create order", "create ticket", "authorize card", "confirm ticket", "approve order"},
	2: {"note", "create order", "open ticket", "authorize card", "approve order", "confirm ticket", "close"},
}

// deploy stops the order service and starts it with other definitions, as another release would.
func (s *shop) deploy(definitions ...saga.Definition[state]) {
	s.t.Helper()
	s.stop("order")
	s.definitions = append([]saga.Definition[state]{}, definitions...)
	s.start("order")
}

// record is a saga as it is stored, whatever this process has registered.
func (s *shop) record(order string) saga.Record {
	s.t.Helper()
	r, err := s.stores["order"].ReadSaga(s.t.Context(), "order.create", order)
	if err != nil || r == nil {
		s.t.Fatalf("saga of order %s: %v, %v", order, r, err)
	}
	return *r
}

// endedAs checks that a saga has ended as a version, and with the steps of that version alone, in their
// order: all of them done, or those before a refusal done and then undone.
func (s *shop) endedAs(version int, order string, want saga.Status) {
	s.t.Helper()
	r := s.record(order)
	if r.Version != version || r.Status != want {
		s.t.Fatalf("saga of order %s is %s (%s) as version %d, want %s as version %d; history:\n%v", order, r.Status, r.Reason, r.Version, want, version, s.history(order))
	}
	entries, err := s.stores["order"].ReadHistory(s.t.Context(), r.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	var done, undone []string
	for _, e := range entries {
		switch e.What {
		case saga.HistoryDone, saga.HistoryTimedOut: // which may have landed
			done = append(done, e.Step)
		case saga.HistoryUndone:
			undone = append(undone, e.Step)
		}
	}
	steps := stepsOf[version]
	if want == saga.Completed && !slices.Equal(done, steps) || len(done) > len(steps) || !slices.Equal(done, steps[:len(done)]) {
		s.t.Errorf("version %d of order %s did %q", version, order, done)
	}
	slices.Reverse(done)
	if want == saga.Compensated && !slices.Equal(undone, done) {
		s.t.Errorf("version %d of order %s did %q, the last one first, and undid %q", version, order, done, undone)
	}
}

// journal keeps what is logged.
type journal struct {
	mu    sync.Mutex
	lines []string
}

// Write implements [io.Writer].
func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(line))
	return len(line), nil
}

// count counts the lines that contain all of parts.
func (j *journal) count(parts ...string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, line := range j.lines {
		missing := func(part string) bool { return !strings.Contains(line, part) }
		if !slices.ContainsFunc(parts, missing) {
			n++
		}
	}
	return n
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// Faults: 73.
func TestRunningSagasEndWithTheStepsOfTheVersionTheyStartedWith(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		first, second := createOrder(0, 0), revisedOrder(0, 0)
		began := map[string]int{}
		place := func(version, n int) {
			for range n {
				order := fmt.Sprintf("o%03d", len(began))
				began[order] = version
				s.mustPlace(order, 1, 500+len(began)%3*300) // each third is declined
			}
		}
		s.stop("accounting")
		place(1, 250) // they wait for their pivot
		s.pass(time.Second)
		s.stop("kitchen")
		place(1, 250) // they wait for their tickets
		s.startVersions = map[string]int{"order.create": 1}
		s.deploy(second, first) // registered, and not switched on
		place(1, 60)
		s.start("kitchen")
		s.startVersions = nil
		s.deploy(first, second)
		place(2, 120)
		s.startVersions = map[string]int{"order.create": 1}
		s.deploy(first, second) // switched back, while both run
		place(1, 60)
		s.start("accounting")
		s.pass(time.Minute)
		for order, version := range began {
			want := saga.Completed
			if o := s.outcome(order); o.State.Cents > 1000 {
				want = saga.Compensated
			}
			s.endedAs(version, order, want)
		}
		s.once()
		s.nothingHeld()
		if live, err := s.running["order"].service.LiveVersions(s.t.Context()); len(live) > 0 || err != nil {
			t.Errorf("still live: %v (%v)", live, err)
		}
	})
}

// Faults: 75.
func TestWhenADeploymentIsTakenBackTheNewVersionsSagasWaitAndTheOthersGoOn(t *testing.T) {
	var log journal
	inShop(t, func(s *shop) { s.config.Logger, s.deadline = log.logger(), 2*time.Hour }, func(s *shop) {
		first, second := createOrder(s.deadline, 0), revisedOrder(s.deadline, 0)
		s.deploy(second, first)
		s.stop("accounting")
		s.mustPlace("paying", 1, 500) // its ticket is made, and its pivot is on its way
		s.pass(time.Second)
		s.stop("kitchen")
		s.mustPlace("cooking", 1, 500) // its ticket is on its way
		s.deploy(first)
		s.mustPlace("old", 1, 500)
		s.start("kitchen")
		s.start("accounting")
		s.pass(time.Hour)
		s.endedAs(1, "old", saga.Completed)
		held := s.held("order")
		for _, h := range held {
			if h.State != inbox.HeldRetrying || h.Attempts != 0 || !strings.Contains(h.Reason, saga.ErrUnknownVersion.Error()) {
				t.Errorf("a reply of version 2 is %s after %d attempts: %s", h.State, h.Attempts, h.Reason)
			}
		}
		if len(held) != 2 {
			t.Errorf("%d replies are held, want 2", len(held))
		}
		if n := log.count("WARN", "waits for a process that can handle it", "version 2"); n != 2 {
			t.Errorf("it is said %d times that a reply waits, want once for each", n)
		}
		if err := s.running["order"].service.Resume(s.t.Context(), s.record("cooking").ID, "try"); !errors.Is(err, saga.ErrUnknownVersion) {
			t.Errorf("an operator's resume of version 2: %v", err)
		}
		s.deploy(first, second)
		s.pass(15 * time.Second) // no longer, whenever it is deployed
		s.endedAs(2, "paying", saga.Completed)
		s.endedAs(2, "cooking", saga.Completed)
		s.once()
		s.nothingHeld()
	})
}

// Faults: 75.
func TestTimersOfAnUnknownVersionWaitAndHoldUpNobody(t *testing.T) {
	var log journal
	inShop(t, func(s *shop) { s.config.Logger, s.deadline = log.logger(), 10*time.Second }, func(s *shop) {
		const many = 600 // more than fire together
		first, second := createOrder(s.deadline, 0), revisedOrder(s.deadline, 0)
		s.deploy(first, second)
		s.stop("kitchen")
		for i := range many {
			s.mustPlace(fmt.Sprint("new", i), 1, 500)
		}
		s.deploy(first)
		s.mustPlace("old", 1, 500)
		s.pass(11 * time.Second)
		if o := s.outcome("old"); o.Status != saga.Compensating {
			t.Errorf("version 1 is %s although its deadline has passed", o.Status)
		}
		if n := log.count("timers could not be fired"); n > 0 {
			t.Errorf("timers of version 2 were tried %d times in vain", n)
		}
		if r := s.record("new0"); r.Status != saga.Running {
			t.Errorf("version 2 is %s in a process that does not know it", r.Status)
		}
		s.deploy(first, second)
		s.pass(2 * time.Second)
		s.start("kitchen")
		s.pass(time.Minute)
		s.endedAs(1, "old", saga.Compensated)
		for i := range many {
			if r := s.record(fmt.Sprint("new", i)); r.Status != saga.Compensated {
				t.Fatalf("saga %d of version 2 is %s", i, r.Status)
			}
		}
		s.once()
	})
}

// A handler that signals a saga of a version that this process does not have is tried again until it has
// it, as the saga's own messages are.
func TestAMessageWaitsWhoseHandlerSignalsASagaOfAnUnknownVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, broker, said := skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), happened("desk", "guest-said")
		run := func(version int) (d *desk, stop func()) {
			d = &desk{t: t, store: store}
			var err error
			if d.service, err = service.New("desk", store, broker, service.Config{Logger: slog.New(slog.DiscardHandler)}); err != nil {
				t.Fatal(err)
			}
			definition := booking(waits("asked", 60*24*time.Hour))
			definition.Version = version
			sells(definition)(d)
			service.HandleEvent(d.service, said, func(ctx context.Context, tx *skaldtest.Tx, a about) error {
				return d.trips.Signal(ctx, tx, a.Order, "asked", "yes")
			})
			stop = runUntil(t, d.service)
			synctest.Wait()
			return d, stop
		}
		d, stop := run(2)
		d.book("ann", 1)
		stop()
		d, stop = run(1) // the deployment is taken back
		err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error {
			return outbox.Publish(ctx, d.service.Outbox(), tx, said, about{"ann"})
		})
		if err != nil {
			t.Fatal(err)
		}
		d.pass(time.Hour)
		if held, err := d.service.Held(t.Context(), 0, 10); err != nil || len(held) != 1 || held[0].State == inbox.HeldParked {
			t.Errorf("held: %+v, %v", held, err)
		}
		stop()
		d, stop = run(2)
		d.pass(time.Minute)
		d.came("ann", saga.Completed)
		stop()
	})
}

// Faults: 74.
func TestAMissingDefinitionIsNamedAtTheStartAndItsSagasWaitForIt(t *testing.T) {
	other := createOrder(0, 0)
	other.Name = "order.other"
	for name, left := range map[string][]saga.Definition[state]{"another is registered": {other}, "none is registered": nil} {
		t.Run(name, func(t *testing.T) {
			var log journal
			inShop(t, func(s *shop) { s.config.Logger = log.logger() }, func(s *shop) {
				s.stop("kitchen")
				s.mustPlace("b", 1, 500)
				s.mustPlace("a", 1, 500)
				s.deploy(left...)
				if n := log.count("ERROR", "saga=order.create", "version=1", "instances=2", "example_key=a"); n != 1 {
					t.Errorf("it is said %d times at the start that a definition is missing: %q", n, log.lines)
				}
				s.start("kitchen")
				s.pass(3 * time.Hour)
				for _, h := range s.held("order") {
					if h.State != inbox.HeldRetrying {
						t.Errorf("a reply is %s: %s", h.State, h.Reason)
					}
				}
				if n := len(s.held("order")); n != 2 {
					t.Errorf("%d replies are held, want 2", n)
				}
				live, err := s.running["order"].service.Live(s.t.Context(), saga.Version{Name: "order.create", Number: 1}, "a", 10)
				if err != nil || len(live) != 1 || live[0].Key != "b" {
					t.Errorf("listed behind a: %v (%v)", live, err)
				}
				s.deploy(createOrder(0, 0))
				s.pass(15 * time.Second)
				s.approved("a")
				s.approved("b")
				s.nothingHeld()
			})
		})
	}
}

func TestStartVersionsAreCheckedAtTheStart(t *testing.T) {
	for _, c := range []struct {
		start map[string]int
		want  string
	}{
		{map[string]int{"order.create": 3}, `saga "order.create": StartVersions says that version 3 starts, and it is not registered: register it, or choose one of [1 2]`},
		{map[string]int{"order.crate": 1}, `saga "order.crate": StartVersions says that version 1 starts, and no definition of this name is registered: register it, or correct the name; there are ["order.create"]`},
	} {
		svc, err := service.New("order", skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{StartVersions: c.start})
		if err != nil {
			t.Fatal(err)
		}
		saga.Register(svc, createOrder(0, 0), revisedOrder(0, 0))
		if err := svc.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("with %v it ran: %v", c.start, err)
		}
	}
}

// revisedState is a state of another type, under which a version is registered apart.
type revisedState struct {
	Order string `json:"order"`
	Lines []int  `json:"lines"`
}

func TestVersionsWithStatesOfDifferentTypesAreRegisteredApart(t *testing.T) {
	store := skaldtest.NewStore()
	revised := saga.Definition[revisedState]{Name: "order.create", Version: 2, Retriable: []saga.Step[revisedState]{
		{Name: "note", Do: saga.Local(func(_ context.Context, tx *skaldtest.Tx, s *revisedState) error { effect(tx, s.Order); return nil })},
	}}
	for _, c := range []struct {
		start   map[string]int
		starts1 bool
		starts2 bool
	}{
		{nil, true, true}, // each handle starts what it has
		{map[string]int{"order.create": 1}, true, false},
		{map[string]int{"order.create": 2}, false, true},
	} {
		svc, err := service.New("order", store, skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{StartVersions: c.start})
		if err != nil {
			t.Fatal(err)
		}
		first, second := saga.Register(svc, createOrder(0, 0)), saga.Register(svc, revised)
		try := func(start func(ctx context.Context, tx skald.Tx) error) error {
			b, err := store.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Rollback() }()
			return start(t.Context(), b.Tx())
		}
		err1 := try(func(ctx context.Context, tx skald.Tx) error { return first.Start(ctx, tx, "a", state{Order: "a"}) })
		err2 := try(func(ctx context.Context, tx skald.Tx) error {
			return second.Start(ctx, tx, "b", revisedState{Order: "b"})
		})
		if (err1 == nil) != c.starts1 || (err2 == nil) != c.starts2 {
			t.Errorf("with %v the first handle started: %v, the second: %v", c.start, err1, err2)
		}
	}
}

func TestOneCallOfRegisterIsForOneName(t *testing.T) {
	other := createOrder(0, 0)
	other.Name = "order.other"
	svc, err := service.New("order", skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{})
	if err != nil {
		t.Fatal(err)
	}
	saga.Register(svc, createOrder(0, 0), other)
	if err := svc.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `saga "order.other": registered as a version of "order.create"`) {
		t.Errorf("it ran: %v", err)
	}
}
