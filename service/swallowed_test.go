package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// An error of Cancel or Signal leaves half of what they were to write in the transaction. A handler that
// says nothing of it must not commit that.

// stubborn is a trip whose first undo fails as long as broken says so.
func stubborn(broken *atomic.Bool) saga.Definition[trip] {
	undo := saga.Local(func(_ context.Context, tx *skaldtest.Tx, g *trip) error {
		effect(tx, g.Guest+" crossed out")
		if broken.Load() {
			return errors.New("not now")
		}
		return nil
	})
	return booking(saga.Compensatable[trip]{Name: "note", Do: notes("noted"), Undo: undo}, waits("asked", time.Hour), waits("confirmed", time.Hour))
}

func TestAHandlerThatSwallowsAnErrorOfCancelCannotCommit(t *testing.T) {
	for name, again := range map[string]func(d *desk, ctx context.Context, tx *skaldtest.Tx) error{
		"and goes on": func(_ *desk, _ context.Context, tx *skaldtest.Tx) error {
			effect(tx, "ann went on")
			return nil
		},
		"and tries again": func(d *desk, ctx context.Context, tx *skaldtest.Tx) error {
			_ = d.trips.Cancel(ctx, tx, "ann", "ill")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			notNow := "not now"
			var broken atomic.Bool
			broken.Store(true)
			atDeskWith(t, service.Config{}, sells(stubborn(&broken)), func(d *desk) {
				d.book("ann", 1)
				err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error {
					if err := d.trips.Cancel(ctx, tx, "ann", "ill"); err == nil {
						t.Error("cancelled")
					}
					return again(d, ctx, tx)
				})
				if err == nil || !strings.Contains(err.Error(), notNow) {
					t.Errorf("committed: %v", err)
				}
				d.came("ann", saga.Running, "noted")
				d.numbered("ann")
				broken.Store(false)
				if err := d.tell(d.trips, "ann", "asked", "yes"); err != nil {
					t.Error(err)
				}
				if err := d.cancel("ann"); err != nil {
					t.Error(err)
				}
				d.came("ann", saga.Compensated, "noted", "crossed out")
				d.numbered("ann")
			})
		})
	}
}

func TestAHandlerThatSwallowsAnErrorOfSignalCannotCommit(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	book := saga.Local(func(_ context.Context, tx *skaldtest.Tx, g *trip) error {
		effect(tx, g.Guest+" booked")
		if broken.Load() {
			return errors.New("not now")
		}
		return nil
	})
	atDeskWith(t, service.Config{}, sells(booking(waits("asked", time.Hour), saga.Compensatable[trip]{Name: "book", Do: book})), func(d *desk) {
		d.book("ann", 1)
		err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error {
			_ = d.trips.Signal(ctx, tx, "ann", "asked", "yes")
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "not now") {
			t.Errorf("committed: %v", err)
		}
		d.came("ann", saga.Running)
		if said := d.find("ann").State.Said; said != "" {
			t.Errorf("the trip has heard %q", said)
		}
		broken.Store(false)
		if err := d.tell(d.trips, "ann", "asked", "yes"); err != nil {
			t.Error(err)
		}
		d.came("ann", saga.Completed, "booked")
		d.numbered("ann")
	})
}

func TestAMessageWhoseHandlerSwallowsAnErrorIsTriedAgain(t *testing.T) {
	for name, register := range map[string]func(d *desk, said skald.Event[about]){
		"alone": func(d *desk, said skald.Event[about]) {
			service.HandleEvent(d.service, said, func(ctx context.Context, tx *skaldtest.Tx, a about) error {
				effect(tx, "ann heard")
				_ = d.trips.Cancel(ctx, tx, a.Order, "ill")
				return nil
			})
		},
		"together": func(d *desk, said skald.Event[about]) {
			service.HandleEvents(d.service, said, func(ctx context.Context, tx *skaldtest.Tx, events []*service.Received[about]) error {
				for _, e := range events {
					effect(tx, "ann heard")
					_ = d.trips.Cancel(e.Context(ctx), tx, e.Content.Order, "ill")
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			said := happened("desk", "illness-said")
			var broken atomic.Bool
			broken.Store(true)
			atDeskWith(t, service.Config{}, func(d *desk) {
				sells(stubborn(&broken))(d)
				register(d, said)
			}, func(d *desk) {
				d.book("ann", 1)
				if err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error {
					return outbox.Publish(ctx, d.service.Outbox(), tx, said, about{"ann"})
				}); err != nil {
					t.Fatal(err)
				}
				d.pass(time.Second)
				if o := d.find("ann"); o.Status != saga.Running {
					t.Errorf("the trip is %+v", o)
				}
				if held, err := d.service.Held(d.t.Context(), 0, 10); err != nil || len(held) != 1 || held[0].State != inbox.HeldRetrying || !strings.Contains(held[0].Reason, "not now") {
					t.Errorf("held: %+v, %v", held, err)
				}
				broken.Store(false)
				d.pass(time.Minute)
				d.came("ann", saga.Compensated, "heard", "noted", "crossed out")
				d.numbered("ann")
			})
		})
	}
}

// A batch shares what it has loaded. A message of it that fails after it cancelled a saga with children is
// forgotten, whatever the others make of the same saga before and after it.
func TestACancelThatIsTakenBackIsForgottenByItsBatch(t *testing.T) {
	child := sold(saga.Compensatable[trip]{Name: "seat", Do: notes("seat"), Undo: notes("seat given back")}, waits("yes", time.Hour))
	second := saga.Child(child, func(g trip) (string, trip) { g.Guest += " 2"; return g.Guest, g })
	d := booking(
		saga.Compensatable[trip]{Name: "note", Do: notes("noted"), Undo: notes("crossed out")},
		saga.Compensatable[trip]{Name: "group", Parallel: [][]saga.Compensatable[trip]{
			{{Name: "first child", Do: childOf(child)}},
			{waits("asked", time.Hour), {Name: "second child", Do: second}},
		}},
		waits("confirmed", time.Hour),
	)
	for _, expensive := range []bool{false, true} {
		for _, order := range [][]string{{"asked", "cancel", "confirmed"}, {"cancel", "asked", "confirmed"}, {"asked", "confirmed", "cancel"}, {"cancel", "confirmed", "asked"}} {
			t.Run(fmt.Sprintf("%v, expensive savepoints: %t", order, expensive), func(t *testing.T) {
				atDeskWith(t, service.Config{}, sells(d), func(d *desk) {
					if expensive {
						d.store.ExpensiveSavepoints()
					}
					d.book("ann", 1)
					if failed := d.together(order, func(ctx context.Context, tx *skaldtest.Tx, what string) error {
						if what != "cancel" {
							return d.trips.Signal(ctx, tx, "ann", what, "yes")
						}
						if err := d.trips.Cancel(ctx, tx, "ann", "ill"); err != nil {
							t.Error(err)
						}
						return errors.New("and then it fails")
					}); failed != 1 {
						t.Errorf("%d of them failed, want the cancel alone", failed)
					}
					d.came("ann", saga.Running, "noted", "seat", "2 seat")
					d.numbered("ann")
					d.pass(2 * time.Hour) // the children wait in vain
					d.came("ann", saga.Compensated, "noted", "seat", "2 seat", "seat given back", "2 seat given back", "crossed out")
					d.numbered("ann")
				})
			})
		}
	}
}

// together has transactions run in one batch, in their order, and returns how many failed.
func (d *desk) together(all []string, run func(ctx context.Context, tx *skaldtest.Tx, what string) error) (failed int) {
	d.t.Helper()
	release, ended := make(chan struct{}), make(chan error, len(all)+1)
	go func() { ended <- d.transact(func(context.Context, *skaldtest.Tx) error { <-release; return nil }) }()
	d.pass(time.Millisecond) // the others queue up behind it
	for _, what := range all {
		go func() {
			ended <- d.transact(func(ctx context.Context, tx *skaldtest.Tx) error { return run(ctx, tx, what) })
		}()
		d.pass(time.Millisecond)
	}
	close(release)
	for range len(all) + 1 {
		if err := <-ended; err != nil {
			failed++
		}
	}
	return failed
}
