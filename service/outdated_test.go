package service_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// A service keeps live sagas in memory, and another process may go on with one of them: an operator's
// command, a transaction of a caller, another instance whose timers are first. What is in memory then says
// that an event does not fit, and is no reason to refuse it.

// another is one more process of a service with the same database. It reads nothing.
func another[S any](t *testing.T, name string, store *skaldtest.Store, d saga.Definition[S]) (*service.Service, *saga.Saga[S]) {
	t.Helper()
	s, err := service.New(name, store.Connect(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{Logger: slog.New(slog.DiscardHandler), RelayElsewhere: true})
	if err != nil {
		t.Fatal(err)
	}
	return s, saga.Register(s, d)
}

// inOwnTransaction runs fn in a transaction that belongs to the caller, and is not run again.
func inOwnTransaction(t *testing.T, store *skaldtest.Store, fn func(tx *skaldtest.Tx) error) error {
	t.Helper()
	tx, err := store.BeginTx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// A caller's own transaction cannot be run again when the commit meets what is stored: it must not begin
// with what is in memory.
func TestASignalInTheCallersTransactionMeetsWhatIsStored(t *testing.T) {
	d := booking(waits("asked", 6*time.Hour), waits("confirmed", 6*time.Hour))
	atDeskWith(t, service.Config{}, sells(d), func(at *desk) {
		at.book("ann", 1)
		_, theirs := another(at.t, "desk", at.store, d)
		signal := func(of *saga.Saga[trip], step string) error {
			return inOwnTransaction(at.t, at.store, func(tx *skaldtest.Tx) error { return of.Signal(at.t.Context(), tx, "ann", step, "yes") })
		}
		if err := signal(theirs, "asked"); err != nil {
			t.Fatal(err)
		}
		if err := signal(at.trips, "confirmed"); err != nil {
			t.Errorf("after another process: %v", err)
		}
		if err := signal(at.trips, "confirmed"); !errors.Is(err, saga.ErrNotLive) {
			t.Errorf("after the end: %v", err)
		}
		at.came("ann", saga.Completed)
	})
}

func TestAReplyToWhatAnotherProcessAskedForIsHandled(t *testing.T) {
	inShop(t, func(s *shop) { s.bar = time.Hour }, func(s *shop) {
		s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("the bank does not answer") })
		s.mustPlace("a", 1, 500)
		s.pass(time.Second) // the order service has the saga in memory
		_, theirs := another(s.t, "order", s.stores["order"], createOrder(0, time.Hour))
		err := inOwnTransaction(s.t, s.stores["order"], func(tx *skaldtest.Tx) error { return theirs.Cancel(s.t.Context(), tx, "a", "the guest left") })
		if err != nil {
			t.Fatal(err)
		}
		s.pass(2 * time.Hour)
		s.nothingHeld()
		s.rejected("a")
	})
}

// The first instance has all partitions, and gets the reply to what the second one's timer asked for.
func TestAReplyToWhatAnotherInstancesTimerAskedForIsHandled(t *testing.T) {
	d := booking(reserves(), waits("confirmed", time.Hour))
	late := func() time.Time { return time.Now().Add(-10 * time.Minute) } // so that the other one's timers are first
	atDeskWith(t, service.Config{Now: late}, seats(d), func(at *desk) {
		at.book("ann", 1)
		other, _ := another(at.t, "desk", at.store, d)
		stop := runUntil(at.t, other)
		at.pass(2 * time.Hour)
		at.came("ann", saga.Compensated, "reserved", "released")
		stop()
	})
}

func TestAnOperatorResumesWhatAnotherProcessHasParked(t *testing.T) {
	d := booking(saga.Compensatable[trip]{Name: "note", Do: notes("noted"), Undo: refuses()}, waits("confirmed", time.Hour))
	atDeskWith(t, service.Config{}, sells(d), func(at *desk) {
		at.book("ann", 1)
		_, theirs := another(at.t, "desk", at.store, d)
		err := inOwnTransaction(at.t, at.store, func(tx *skaldtest.Tx) error { return theirs.Cancel(at.t.Context(), tx, "ann", "ill") })
		if err != nil {
			t.Fatal(err)
		}
		o := at.find("ann")
		if o.Status != saga.Parked {
			t.Fatalf("the trip is %+v", o)
		}
		if err := at.service.Resume(at.t.Context(), o.ID, "again"); err != nil {
			t.Error(err)
		}
	})
}

// A parent takes over what its child has ended with, not what this process has last seen of it.
func TestAParentSeesWithWhatAnotherProcessHasEndedItsChild(t *testing.T) {
	child := saga.Definition[trip]{Name: "flight.book", Compensatable: []saga.Compensatable[trip]{waits("confirmed", 6*time.Hour)}}
	d := booking(saga.Compensatable[trip]{
		Name: "flight", Do: saga.Child(child, func(g trip) (string, trip) { return g.Guest, g }).Then(func(g *trip, child trip) { g.Said = child.Said }),
	})
	atDeskWith(t, service.Config{}, sells(d), func(at *desk) {
		at.book("ann", 1)
		_, theirs := another(at.t, "desk", at.store, child)
		err := inOwnTransaction(at.t, at.store, func(tx *skaldtest.Tx) error { return theirs.Signal(at.t.Context(), tx, "ann", "confirmed", "yes") })
		if err != nil {
			t.Fatal(err)
		}
		at.pass(time.Minute)
		if o, _, err := at.trips.Find(at.t.Context(), "ann"); o.Status != saga.Completed || o.State.Said != "yes" {
			t.Errorf("the trip is %+v, %v", o, err)
		}
	})
}
