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
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// A service alone, whose sagas wait and have children.

type trip struct {
	Guest string `json:"guest"`
	Seats int    `json:"seats"`
	Said  string `json:"said,omitempty"`
}

func (g *trip) heard(said string) error {
	if g.Said = said; said == "no" {
		return skald.Refuse("unwanted", "the guest stays")
	}
	return nil
}

func notes(what string) saga.LocalAction[trip] {
	return saga.Local(func(_ context.Context, tx *skaldtest.Tx, g *trip) error {
		if what == "flight" && g.Seats > 9 {
			return skald.Refuse("full", "no seats")
		}
		effect(tx, g.Guest+" "+what)
		return nil
	})
}

func flight() saga.Definition[trip] {
	return saga.Definition[trip]{
		Name: "flight.book",
		Compensatable: []saga.Compensatable[trip]{
			{Name: "offer", Do: notes("offer"), Undo: notes("offer withdrawn")},
			{Name: "guest confirms", Do: saga.Wait((*trip).heard), Deadline: time.Hour},
			{Name: "flight", Do: notes("flight"), Undo: notes("flight cancelled")},
		},
	}
}

func journey() saga.Definition[trip] {
	return saga.Definition[trip]{
		Name: "trip.book",
		Compensatable: []saga.Compensatable[trip]{
			{Name: "hotel", Do: notes("hotel"), Undo: notes("hotel cancelled")},
			{
				Name: "book flight", Undo: notes("flight given back"),
				Do: saga.Child(flight(), func(g trip) (string, trip) { return g.Guest, g }).
					Then(func(g *trip, child trip) { g.Said = child.Said }).
					Refused(func(g *trip, r skald.Refusal) { g.Said = r.Code }),
			},
			{Name: "payment", Do: saga.Wait((*trip).heard), Deadline: 2 * time.Hour},
		},
	}
}

// desk is the service that books trips.
type desk struct {
	t       *testing.T
	store   *skaldtest.Store
	service *service.Service
	trips   *saga.Saga[trip]
	flights *saga.Saga[trip]
}

func atDesk(t *testing.T, fn func(d *desk)) {
	t.Helper()
	atDeskWith(t, service.Config{}, func(d *desk) {
		d.trips = saga.Register(d.service, journey())
		d.flights = saga.Register(d.service, flight())
	}, fn)
}

// atDeskWith runs fn at a desk of which register says what it does.
func atDeskWith(t *testing.T, config service.Config, register, fn func(d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{t: t, store: skaldtest.NewStore()}
		config.Logger = slog.New(slog.DiscardHandler)
		var err error
		d.service, err = service.New("desk", d.store, skaldtest.NewBroker(skaldtest.BrokerConfig{}), config)
		if err != nil {
			t.Fatal(err)
		}
		register(d)
		stop := runUntil(t, d.service)
		synctest.Wait()
		fn(d)
		stop()
	})
}

// sells registers trips that are booked by this definition.
func sells(definition saga.Definition[trip]) func(d *desk) {
	return func(d *desk) { d.trips = saga.Register(d.service, definition) }
}

func (g trip) itself() trip { return g }

func seatCommand(name string) skald.Command[trip, ok] {
	return skald.Command[trip, ok]{Name: "desk." + name, Channel: "desk.commands", Key: func(g trip) string { return g.Guest }}
}

var reserveSeat, releaseSeat = seatCommand("reserve-seat"), seatCommand("release-seat")

// reserves is a step that is a command to the desk itself.
func reserves() saga.Compensatable[trip] {
	return saga.Compensatable[trip]{Name: "seat", Do: saga.Call(reserveSeat, trip.itself), Undo: saga.Call(releaseSeat, trip.itself)}
}

// seats registers a desk that reserves seats too.
func seats(definition saga.Definition[trip]) func(d *desk) {
	return func(d *desk) {
		sells(definition)(d)
		service.HandleCommand(d.service, reserveSeat, func(_ context.Context, tx *skaldtest.Tx, g trip) (ok, error) {
			effect(tx, g.Guest+" reserved")
			return ok{}, nil
		})
		service.HandleCommand(d.service, releaseSeat, func(_ context.Context, tx *skaldtest.Tx, g trip) (ok, error) {
			effect(tx, g.Guest+" released")
			return ok{}, nil
		})
	}
}

func waits(name string, deadline time.Duration) saga.Compensatable[trip] {
	return saga.Compensatable[trip]{Name: name, Do: saga.Wait((*trip).heard), Deadline: deadline}
}

// refuses is a step that is refused whenever it is tried.
func refuses() saga.LocalAction[trip] {
	return saga.Local(func(context.Context, *skaldtest.Tx, *trip) error { return skald.Refuse("full", "no seats") })
}

func booking(steps ...saga.Compensatable[trip]) saga.Definition[trip] {
	return saga.Definition[trip]{Name: "trip.book", Compensatable: steps}
}

func (d *desk) transact(fn func(ctx context.Context, tx *skaldtest.Tx) error) error {
	return service.Transact(d.t.Context(), d.service, fn)
}

func (d *desk) begin(guest string, seats int) error {
	err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error {
		return d.trips.Start(ctx, tx, guest, trip{Guest: guest, Seats: seats})
	})
	d.pass(time.Second)
	return err
}

func (d *desk) book(guest string, seats int) {
	d.t.Helper()
	if err := d.begin(guest, seats); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) tell(of *saga.Saga[trip], guest, step string, said any) error {
	err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error { return of.Signal(ctx, tx, guest, step, said) })
	d.pass(time.Second)
	return err
}

func (d *desk) cancel(guest string) error {
	return d.transact(func(ctx context.Context, tx *skaldtest.Tx) error { return d.trips.Cancel(ctx, tx, guest, "ill") })
}

func (d *desk) pass(by time.Duration) {
	time.Sleep(by) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
	synctest.Wait()
}

func (d *desk) find(guest string) saga.Outcome[trip] {
	d.t.Helper()
	o, found, err := d.trips.Find(d.t.Context(), guest)
	if err != nil || !found {
		d.t.Fatalf("the trip of %s: found %t, %v", guest, found, err)
	}
	return o
}

// numbered checks that the entries of a trip's history are numbered without a gap, and none twice.
func (d *desk) numbered(guest string) {
	d.t.Helper()
	entries, err := d.service.History(d.t.Context(), d.find(guest).ID)
	if err != nil {
		d.t.Fatal(err)
	}
	for i, e := range entries {
		if e.Number != i+1 {
			d.t.Errorf("entry %d of the history has number %d: %+v", i+1, e.Number, entries)
		}
	}
}

// came checks how the trip came out, and what was done for it, each once.
func (d *desk) came(guest string, status saga.Status, effects ...string) {
	d.t.Helper()
	outcome, found, err := d.trips.Find(d.t.Context(), guest)
	if err != nil || !found || outcome.Status != status {
		d.t.Errorf("the trip is %s (%s), want %s: %v", outcome.Status, outcome.Reason, status, err)
	}
	var done []string
	for what, n := range d.store.List("effects") {
		if done = append(done, what); n != "1" {
			d.t.Errorf("%q happened %s times", what, n)
		}
	}
	slices.Sort(done)
	for i := range effects {
		effects[i] = guest + " " + effects[i]
	}
	slices.Sort(effects)
	if !slices.Equal(done, effects) {
		d.t.Errorf("done: %q, want %q", done, effects)
	}
	d.nothingHeld()
}

func (d *desk) nothingHeld() {
	d.t.Helper()
	held, err := d.service.Held(d.t.Context(), 0, 10)
	if err != nil || len(held) > 0 {
		d.t.Errorf("held: %v, %v", held, err)
	}
}

func TestAChildIsAStepAndSignalsEndWaits(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.book("ann", 1)
		if err := d.tell(d.trips, "ann", "payment", "paid"); err != nil { // before its turn
			t.Fatal(err)
		}
		if err := d.tell(d.flights, "ann", "guest confirms", "yes"); err != nil {
			t.Fatal(err)
		}
		d.came("ann", saga.Completed, "hotel", "offer", "flight")
		outcome, _, _ := d.trips.Find(d.t.Context(), "ann")
		if outcome.State.Said != "yes" { // the child's last, because the payment came first
			t.Errorf("the state is %+v", outcome.State)
		}
	})
}

func TestAChildThatCompensatesRefusesItsStep(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.book("bob", 1)
		if err := d.tell(d.flights, "bob", "guest confirms", "no"); err != nil {
			t.Fatal(err)
		}
		d.came("bob", saga.Compensated, "hotel", "offer", "offer withdrawn", "hotel cancelled")
		outcome, _, _ := d.trips.Find(d.t.Context(), "bob")
		if outcome.State.Said != saga.RefusedCompensated || outcome.Reason != "skald.compensated: unwanted: the guest stays" {
			t.Errorf("the state is %+v, the reason %q", outcome.State, outcome.Reason)
		}
	})
}

func TestAParentThatIsCancelledCancelsItsChild(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.book("cid", 1)
		if err := d.cancel("cid"); err != nil {
			t.Fatal(err)
		}
		d.pass(time.Second)
		d.came("cid", saga.Compensated, "hotel", "offer", "offer withdrawn", "hotel cancelled")
	})
}

func TestACompletedChildIsUndoneByItsStep(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.book("dan", 1)
		if err := d.tell(d.flights, "dan", "guest confirms", "yes"); err != nil {
			t.Fatal(err)
		}
		d.pass(3 * time.Hour) // nobody pays
		d.came("dan", saga.Compensated, "hotel", "offer", "flight", "flight given back", "hotel cancelled")
	})
}

func TestASignalThatDoesNotFitChangesNothing(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.book("eve", 1)
		for name, c := range map[string]struct {
			guest, step string
			said        any
			want        error
		}{
			"another guest":     {"sue", "payment", "paid", saga.ErrNotLive},
			"no step":           {"eve", "visa", "paid", nil},
			"a step of its own": {"eve", "hotel", "paid", nil},
			"another type":      {"eve", "payment", 7, nil},
		} {
			if err := d.tell(d.trips, c.guest, c.step, c.said); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := d.tell(d.trips, "eve", "payment", "no"); err != nil {
			t.Fatal(err)
		}
		if err := d.tell(d.trips, "eve", "payment", "yes"); !errors.Is(err, saga.ErrNotAwaited) {
			t.Errorf("told twice: %v", err)
		}
		if err := d.tell(d.flights, "eve", "guest confirms", "yes"); err != nil {
			t.Fatal(err)
		}
		d.came("eve", saga.Compensated, "hotel", "offer", "flight", "flight given back", "hotel cancelled")
		if err := d.tell(d.trips, "eve", "payment", "yes"); !errors.Is(err, saga.ErrNotLive) {
			t.Errorf("told after the end: %v", err)
		}
	})
}

func TestASignalForAStepThatDoesNotWaitIsRefused(t *testing.T) {
	atDeskWith(t, service.Config{}, seats(booking(waits("confirmed", time.Hour), reserves())), func(d *desk) {
		d.book("ann", 1)
		for _, said := range []any{nil, "yes"} { // nil is of no type, as what a call waits for
			if err := d.tell(d.trips, "ann", "seat", said); err == nil || !strings.Contains(err.Error(), `no step "seat" that waits for a signal`) {
				t.Errorf("told %v: %v", said, err)
			}
		}
		d.came("ann", saga.Running)
	})
}

// The step's outcome is not there yet: what else it makes of its own saga could only be lost.
func TestALocalStepCannotCancelOrSignalItsOwnSaga(t *testing.T) {
	for name, itself := range map[string]func(d *desk, ctx context.Context, tx *skaldtest.Tx) error{
		"signal": func(d *desk, ctx context.Context, tx *skaldtest.Tx) error {
			return d.trips.Signal(ctx, tx, "ann", "confirmed", "by itself")
		},
		"cancel": func(d *desk, ctx context.Context, tx *skaldtest.Tx) error {
			return d.trips.Cancel(ctx, tx, "ann", "by itself")
		},
	} {
		t.Run(name, func(t *testing.T) {
			atDeskWith(t, service.Config{}, func(d *desk) {
				sells(booking(
					waits("asked", time.Hour),
					saga.Compensatable[trip]{Name: "decide", Do: saga.Local(func(ctx context.Context, tx *skaldtest.Tx, _ *trip) error { return itself(d, ctx, tx) })},
					waits("confirmed", time.Hour),
				))(d)
			}, func(d *desk) {
				d.book("ann", 1)
				if err := d.tell(d.trips, "ann", "asked", "yes"); err == nil || !strings.Contains(err.Error(), "a local step cannot cancel or signal its own saga") {
					t.Errorf("told: %v", err)
				}
				d.came("ann", saga.Running)
			})
		})
	}
}
