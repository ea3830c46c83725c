package service_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// What a child does before its first steps are through, and after its end.

// sold is a child of a trip.
func sold(steps ...saga.Compensatable[trip]) saga.Definition[trip] {
	return saga.Definition[trip]{Name: "seat.sell", Compensatable: steps}
}

func childOf(child saga.Definition[trip]) saga.ChildAction[trip, trip] {
	return saga.Child(child, func(g trip) (string, trip) { return g.Guest, g })
}

// besides is a group of a step and of one that is refused.
func besides(step saga.Compensatable[trip]) saga.Compensatable[trip] {
	return saga.Compensatable[trip]{Name: "both", Parallel: [][]saga.Compensatable[trip]{{step}, {{Name: "meal", Do: refuses()}}}}
}

// A saga that is refused at its start leaves nothing, because its caller's transaction is not committed. A
// child's caller is its parent, which goes on: the child must undo what it has done.
func TestAChildThatIsRefusedAtItsStartUndoesWhatItHasDone(t *testing.T) {
	child := sold(saga.Compensatable[trip]{Name: "seat", Do: notes("seat"), Undo: notes("seat given back")}, saga.Compensatable[trip]{Name: "meal", Do: refuses()})
	atDeskWith(t, service.Config{}, sells(booking(saga.Compensatable[trip]{Name: "child", Do: childOf(child)})), func(d *desk) {
		d.book("ann", 1)
		d.came("ann", saga.Compensated, "seat", "seat given back")
	})
}

func TestWhatAChildHasSentBeforeItIsRefusedAtItsStartIsUndone(t *testing.T) {
	atDeskWith(t, service.Config{}, seats(booking(saga.Compensatable[trip]{Name: "child", Do: childOf(sold(besides(reserves())))})), func(d *desk) {
		d.book("ann", 1)
		d.pass(time.Minute)
		if e := d.store.List("effects"); e["ann reserved"] != e["ann released"] { // or neither, when the undo overtakes
			t.Errorf("effects: %v", e)
		}
		if o := d.find("ann"); o.Status != saga.Compensated {
			t.Errorf("the trip is %+v", o)
		}
		d.nothingHeld()
	})
}

// The refusal tells the caller that nothing has started. One that notes that, and commits it, commits
// nothing of what the saga has sent meanwhile.
func TestAStartThatIsRefusedSendsNothing(t *testing.T) {
	atDeskWith(t, service.Config{}, seats(booking(besides(reserves()))), func(d *desk) {
		err := d.transact(func(ctx context.Context, tx *skaldtest.Tx) error {
			err := d.trips.Start(ctx, tx, "ann", trip{Guest: "ann"})
			if _, refused := skald.AsRefusal(err); !refused {
				t.Errorf("started: %v", err)
			}
			effect(tx, "ann turned away")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		d.pass(time.Minute)
		if _, found, err := d.trips.Find(d.t.Context(), "ann"); found || err != nil {
			t.Errorf("found: %t, %v", found, err)
		}
		if e := d.store.List("effects"); len(e) != 1 || e["ann turned away"] != "1" {
			t.Errorf("effects: %v", e)
		}
		d.nothingHeld()
	})
}

func TestAGrandchildEndsWithItsParentThatIsRefusedAtItsStart(t *testing.T) {
	grandchild := saga.Definition[trip]{Name: "seat.hold", Compensatable: []saga.Compensatable[trip]{
		{Name: "seat", Do: notes("seat"), Undo: notes("seat given back")}, waits("confirmed", time.Hour),
	}}
	child := sold(besides(saga.Compensatable[trip]{Name: "hold", Do: childOf(grandchild)}))
	atDeskWith(t, service.Config{}, sells(booking(saga.Compensatable[trip]{Name: "child", Do: childOf(child)})), func(d *desk) {
		d.book("ann", 1)
		d.came("ann", saga.Compensated, "seat", "seat given back")
		if live, err := d.service.LiveVersions(d.t.Context()); len(live) > 0 || err != nil {
			t.Errorf("there lives %+v, %v", live, err)
		}
	})
}

func TestARefusalOfAChildAtItsStartIsRecordedByItsParent(t *testing.T) {
	child := childOf(sold(saga.Compensatable[trip]{Name: "seat", Do: refuses()})).Refused(func(g *trip, r skald.Refusal) { g.Said = r.Code })
	atDeskWith(t, service.Config{}, sells(booking(saga.Compensatable[trip]{Name: "child", Do: child})), func(d *desk) {
		d.book("ann", 1)
		d.came("ann", saga.Compensated)
		if said := d.find("ann").State.Said; said != saga.RefusedCompensated {
			t.Errorf("recorded: %q", said)
		}
	})
}

// A child tells its parent of its end by a message, and a message has a limit that a state has not.
func TestAChildWithAStateThatIsLargerThanAMessageTellsItsEnd(t *testing.T) {
	const large = 2 << 20
	child := sold(saga.Compensatable[trip]{Name: "seat", Do: saga.Local(func(_ context.Context, _ *skaldtest.Tx, g *trip) error {
		g.Said = strings.Repeat("x", large)
		return nil
	})})
	then := childOf(child).Then(func(g *trip, child trip) { g.Seats = len(child.Said) })
	atDeskWith(t, service.Config{MaxAttempts: 2}, sells(booking(saga.Compensatable[trip]{Name: "child", Do: then})), func(d *desk) {
		d.book("ann", 1)
		d.pass(time.Minute)
		d.came("ann", saga.Completed)
		if n := d.find("ann").State.Seats; n != large {
			t.Errorf("the parent has seen %d bytes of its child's state", n)
		}
	})
}

// A caller takes [saga.ErrConflict] to say that its saga was started before, and commits what it did
// besides. A child's key is not the caller's.
func TestAChildWhoseKeyIsTakenIsNoConflictOfItsParents(t *testing.T) {
	seat := saga.Child(sold(waits("confirmed", time.Hour)), func(g trip) (string, trip) { return "the last seat", g })
	atDeskWith(t, service.Config{}, sells(booking(
		saga.Compensatable[trip]{Name: "hotel", Do: notes("hotel"), Undo: notes("hotel cancelled")}, saga.Compensatable[trip]{Name: "seat", Do: seat},
	)), func(d *desk) {
		d.book("ann", 1)
		if err := d.begin("ann", 1); !errors.Is(err, saga.ErrConflict) {
			t.Errorf("the same trip again: %v", err)
		}
		if err := d.begin("bob", 1); err == nil || errors.Is(err, saga.ErrConflict) || !strings.Contains(err.Error(), `has a live instance of "the last seat"`) {
			t.Errorf("another trip with the same child: %v", err)
		}
		if _, found, err := d.trips.Find(d.t.Context(), "bob"); found || err != nil {
			t.Errorf("found: %t, %v", found, err)
		}
		d.came("ann", saga.Running, "hotel")
	})
}

// An operator may discard a child's last word, because the parent cannot take it. The parent is not to wait
// for it for ever: when it goes back, it asks again.
func TestAParentThatIsCancelledAsksItsChildAgainWhoseEndWasDiscarded(t *testing.T) {
	broken := true
	then := childOf(sold(saga.Compensatable[trip]{Name: "seat", Do: notes("seat")})).Then(func(*trip, trip) {
		if broken {
			panic("a bug")
		}
	})
	atDeskWith(t, service.Config{MaxAttempts: 2}, sells(booking(saga.Compensatable[trip]{Name: "child", Do: then, Undo: notes("seat given back")})), func(d *desk) {
		d.book("ann", 1)
		d.pass(time.Minute)
		held, err := d.service.Held(d.t.Context(), 0, 10)
		if err != nil || len(held) != 1 {
			t.Fatalf("held: %+v, %v", held, err)
		}
		if n, err := d.service.Discard(d.t.Context(), "a bug", held[0].Message.ID); n != 1 || err != nil {
			t.Fatalf("discarded %d, %v", n, err)
		}
		broken = false
		if err := d.cancel("ann"); err != nil {
			t.Fatal(err)
		}
		d.pass(time.Minute)
		d.came("ann", saga.Compensated, "seat", "seat given back")
	})
}
