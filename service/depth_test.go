package service_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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
	synctest.Test(t, func(t *testing.T) {
		d := &desk{t: t, store: skaldtest.NewStore()}
		var err error
		d.service, err = service.New("desk", d.store, skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		d.trips = saga.Register(d.service, journey())
		d.flights = saga.Register(d.service, flight())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.service.Run(ctx) }()
		synctest.Wait()
		fn(d)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (d *desk) transact(fn func(ctx context.Context, tx *skaldtest.Tx) error) error {
	return service.Transact(d.t.Context(), d.service, fn)
}

func (d *desk) book(guest string, seats int) {
	d.t.Helper()
	err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error {
		return d.trips.Start(ctx, tx, guest, trip{Guest: guest, Seats: seats})
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.pass(time.Second)
}

func (d *desk) tell(of *saga.Saga[trip], guest, step string, said any) error {
	err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error { return of.Signal(ctx, tx, guest, step, said) })
	d.pass(time.Second)
	return err
}

func (d *desk) pass(by time.Duration) {
	time.Sleep(by) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
	synctest.Wait()
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
		err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error { return d.trips.Cancel(ctx, tx, "cid", "ill") })
		if err != nil {
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
