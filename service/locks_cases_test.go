package service_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// olderWaits has an older saga wait for account 2 in the west, which a younger one holds.
func (b *bank) olderWaits() (older, younger skald.ID) { return b.waitsFor("younger") }

func (b *bank) waitsFor(name string) (older, younger skald.ID) {
	b.t.Helper()
	b.holdsUp.Store("")
	b.shut.Store("slow")
	b.start(b.eastFirst, transfer{Name: "older", From: "slow", To: "2"})
	b.pass(time.Second)
	b.start(b.eastFirst, transfer{Name: name, From: "1", To: "2"})
	b.pass(time.Second)
	b.shut.Store("")
	b.pass(5 * time.Second)
	older, younger = b.came(b.eastFirst, "older").ID, b.came(b.eastFirst, name).ID
	rows, err := b.services["west"].Locks().List(b.t.Context(), west, lock.Key{}, 10)
	if err != nil || len(rows) != 2 || rows[0].Root != younger || rows[1].Root != older {
		b.t.Fatalf("the queue is %v, %v", rows, err)
	}
	return older, younger
}

func (b *bank) endsAs(name string, want saga.Status, reason string) {
	b.t.Helper()
	o := b.came(b.eastFirst, name)
	if o.Status != want || !strings.Contains(o.Reason, reason) {
		b.t.Errorf("%s: %s (%s), want %s (%s)\n%q", name, o.Status, o.Reason, want, reason, b.history(o.ID))
	}
}

func TestAnOlderSagaGetsTheLockThatItWaitedFor(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		older, _ := b.olderWaits()
		held, err := b.services["west"].Held(b.t.Context(), 0, 10)
		if err != nil || len(held) != 1 || !held[0].Apart || !strings.Contains(held[0].Reason, `waits for the lock on bank.west.account "2", behind 1; it is held by saga east.first`) {
			b.t.Errorf("held: %v, %v", held, err)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("younger", saga.Completed, "")
		b.endsAs("older", saga.Completed, "")
		if n := count(b.history(older), "started again"); n != 0 {
			b.t.Errorf("the older one started again %d times", n)
		}
		b.nothingLeft()
	})
}

func TestAWaitForALockIsBounded(t *testing.T) {
	inBank(t, service.Config{LockPatience: 10 * time.Second}, transfers, func(b *bank) {
		b.olderWaits()
		b.start(b.eastFirst, transfer{Name: "youngest", From: "3", To: "2"}) // reserves
		b.pass(20 * time.Second)
		b.endsAs("older", saga.Compensated, "skald.locked")
		b.endsAs("youngest", saga.Compensated, "skald.locked")
		if o := b.came(b.eastFirst, "youngest"); o.State.Reason != skald.RefusedLocked {
			b.t.Errorf("the state of the one that reserved says %q", o.State.Reason)
		}
		if o := b.came(b.eastFirst, "older"); o.State.Reason != skald.RefusedLocked {
			b.t.Errorf("its state says %q", o.State.Reason)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("younger", saga.Completed, "")
		b.nothingLeft()
	})
}

func TestWhoIsCancelledWaitsForNoLock(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		older, _ := b.olderWaits()
		b.start(b.eastFirst, transfer{Name: "youngest", From: "3", To: "2"}) // reserves
		b.pass(time.Second)
		for _, id := range []skald.ID{older, b.came(b.eastFirst, "youngest").ID} {
			if err := b.services["desk"].Cancel(b.t.Context(), id, "enough"); err != nil {
				b.t.Fatal(err)
			}
		}
		b.pass(10 * time.Second)
		b.endsAs("older", saga.Compensated, "cancelled: enough")
		b.endsAs("youngest", saga.Compensated, "cancelled: enough")
		want := []string{`bank.east.account "1" east.first 1`, `bank.west.account "2" east.first 1`}
		if got := b.locks(); !slices.Equal(got, want) {
			b.t.Errorf("locks: %q", got)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("younger", saga.Completed, "")
		b.nothingLeft()
	})
}

// Whoever holds a lock does not go on. It is seen, and an operator takes the lock from it; what it
// would do under another's lock then is refused.
//
// Faults: 66.
func TestAnAbandonedLockIsSeenAndReleasedByAnOperator(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		_, younger := b.olderWaits()
		b.forced.Store(true)
		k := lock.Key{Resource: west, Key: "2"}
		if _, err := b.services["west"].ReleaseLock(b.t.Context(), k, younger, ""); err == nil {
			b.t.Error("released without a reason")
		}
		released, err := b.services["west"].ReleaseLock(b.t.Context(), k, younger, "its desk burnt down")
		if err != nil || !released {
			b.t.Fatalf("released %t, %v", released, err)
		}
		if again, err := b.services["west"].ReleaseLock(b.t.Context(), k, younger, "twice"); again || err != nil {
			b.t.Errorf("released again %t, %v", again, err)
		}
		b.pass(time.Second)
		b.holdsUp.Store("nobody") // both come to the end, the older one first or not
		b.pass(time.Minute)
		b.endsAs("older", saga.Completed, "")
		if o := b.came(b.eastFirst, "younger"); o.Status == saga.Parked {
			if err := b.services["desk"].Resume(b.t.Context(), o.ID, "the other one is through"); err != nil {
				b.t.Fatal(err)
			}
			b.pass(time.Minute)
		}
		b.endsAs("younger", saga.Completed, "")
		b.nothingLeft()
	})
}

// What would undo, or confirm, a change under another's lock is refused, and its saga parked.
func TestNothingIsUnlockedThatIsAnothers(t *testing.T) {
	for name, status := range map[string]saga.Status{"good": saga.Completed, "bad": saga.Compensated} {
		inBank(t, service.Config{}, transfers, func(b *bank) {
			_, younger := b.waitsFor(name)
			b.forced.Store(true)
			if _, err := b.services["west"].ReleaseLock(b.t.Context(), lock.Key{Resource: west, Key: "2"}, younger, "for a test"); err != nil {
				b.t.Fatal(err)
			}
			b.holdsUp.Store("older")
			b.pass(time.Minute)
			b.endsAs(name, saga.Parked, `bank.west.account "2" is locked by saga east.first`)
			if got := b.locks(); !slices.Contains(got, `bank.west.account "2" east.first 2`) {
				b.t.Errorf("locks: %q", got)
			}
			b.holdsUp.Store("nobody")
			b.pass(time.Minute)
			b.endsAs("older", saga.Completed, "")
			if err := b.services["desk"].Resume(b.t.Context(), younger, "the other one is through"); err != nil {
				b.t.Fatal(err)
			}
			b.pass(time.Minute)
			b.endsAs(name, status, "")
			b.nothingLeft()
		})
	}
}

func TestAWaitingCommandThatIsDiscardedLeavesTheQueue(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		b.olderWaits()
		held, err := b.services["west"].Held(b.t.Context(), 0, 10)
		if err != nil || len(held) != 1 {
			b.t.Fatalf("held: %v, %v", held, err)
		}
		if n, err := b.services["west"].Discard(b.t.Context(), "hopeless", held[0].Message.ID); n != 1 || err != nil {
			b.t.Fatalf("discarded %d, %v", n, err)
		}
		b.pass(10 * time.Second)
		b.endsAs("older", saga.Compensated, "skald.discarded")
		if got := b.locks(); len(got) != 2 {
			b.t.Errorf("locks: %q", got)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("younger", saga.Completed, "")
		b.nothingLeft()
	})
}

func TestWhoIsRefusedAtALockCompensates(t *testing.T) {
	register := func(b *bank) {
		b.eastFirst = saga.Register(b.services["desk"], moves("east.first", inEast, inWest, lock.Refuse))
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("")
		b.start(b.eastFirst, transfer{Name: "first", From: "1", To: "2"})
		b.pass(time.Second)
		b.start(b.eastFirst, transfer{Name: "second", From: "3", To: "2"})
		b.pass(time.Minute)
		b.endsAs("second", saga.Compensated, `skald.locked: bank.west.account "2" is locked by saga east.first`)
		if o := b.came(b.eastFirst, "second"); o.State.Reason != skald.RefusedLocked {
			b.t.Errorf("its state says %q", o.State.Reason)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("first", saga.Completed, "")
		b.nothingLeft()
	})
}

func TestWhatIsRefusedLocksNothing(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		b.start(b.eastFirst, transfer{Name: "bad one", From: "1", To: "2"})
		b.start(b.eastFirst, transfer{Name: "late", From: "1", To: "closed"})
		b.start(b.westFirst, transfer{Name: "soon", From: "closed", To: "1"})
		b.pass(time.Minute)
		b.endsAs("bad one", saga.Compensated, "no_cover")
		b.endsAs("late", saga.Compensated, "closed")
		if o := b.came(b.westFirst, "soon"); o.Status != saga.Compensated {
			b.t.Errorf("soon: %+v", o)
		}
		b.nothingLeft()
	})
}

// twice locks one account with two steps.
func twice() saga.Definition[transfer] {
	return moves("east.first", inEast, inEast, lock.Wait)
}

// Faults: 67.
func TestASagaLocksAndUnlocksTwiceWhatItHas(t *testing.T) {
	register := func(b *bank) {
		b.eastFirst = saga.Register(b.services["desk"], twice())
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.forced.Store(true) // the accounts are marked once, and left three times
		b.start(b.eastFirst, transfer{Name: "bad one", From: "1", To: "1"})
		b.start(b.eastFirst, transfer{Name: "good one", From: "1", To: "1"})
		b.pass(time.Minute)
		b.endsAs("bad one", saga.Compensated, "no_cover")
		b.endsAs("good one", saga.Completed, "")
		b.nothingLeft()
	})
}

// An undo of the first round comes again, under another id, when the saga has the lock in its second.
//
// Faults: 68.
func TestAStaleUnlockReleasesNothing(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		b.holdsUp.Store("")
		b.start(b.eastFirst, transfer{Name: "first", From: "9", To: "2"})
		b.pass(time.Second)
		b.start(b.eastFirst, transfer{Name: "second", From: "1", To: "2"}) // is undone in the east, and starts again
		b.pass(time.Second)
		b.holdsUp.Store("second")
		b.pass(time.Minute)
		id := b.came(b.eastFirst, "second").ID
		want := []string{`bank.east.account "1" east.first 1`, `bank.west.account "2" east.first 2`}
		if got := b.locks(); count(b.history(id), "started again") != 1 || !slices.Equal(got, want) {
			b.t.Fatalf("locks: %q after %q", got, b.history(id))
		}
		before := b.locks()
		stale, err := inEast.free.Message(mark{"1", "second"})
		if err != nil {
			b.t.Fatal(err)
		}
		for name, value := range map[string]string{
			skald.HeaderSaga: id.String(), skald.HeaderStep: "hold first", skald.HeaderAction: skald.ActionUndo,
			skald.HeaderAttempt: "1", skald.HeaderBarrier: "1", skald.HeaderReplyTo: "desk.replies",
		} {
			stale.Headers.Set(name, value)
		}
		err = service.Transact(b.t.Context(), b.services["desk"], func(ctx context.Context, tx *skaldtest.Tx) error {
			return b.services["desk"].Outbox().Add(ctx, tx, stale)
		})
		if err != nil {
			b.t.Fatal(err)
		}
		b.pass(time.Second)
		if after := b.locks(); !slices.Equal(before, after) {
			b.t.Errorf("locks were %q, and are %q", before, after)
		}
		b.holdsUp.Store("nobody")
		b.pass(2 * time.Minute)
		b.endsAs("second", saga.Completed, "")
		b.nothingLeft()
	})
}

func TestWhoWritesWithoutASagaMeetsTheLock(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		b.holdsUp.Store("")
		b.start(b.eastFirst, transfer{Name: "first", From: "1", To: "2"})
		b.pass(time.Second)
		free := func(resource skald.Resource, key string) error {
			return service.Transact(b.t.Context(), b.services["east"], func(ctx context.Context, tx *skaldtest.Tx) error {
				return b.services["east"].Locks().Free(ctx, tx, resource, key)
			})
		}
		var conflict *lock.Conflict
		if err := free(east, "1"); !errors.As(err, &conflict) || conflict.Name != "east.first" || conflict.Holder != b.came(b.eastFirst, "first").ID {
			b.t.Errorf("a locked account: %v", err)
		}
		if err := free(east, "2"); err != nil {
			b.t.Errorf("another account: %v", err)
		}
		if free("no such thing", "1") == nil || free(east, "") == nil {
			b.t.Error("what is no lock is free")
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		if err := free(east, "1"); err != nil {
			b.t.Errorf("after the end: %v", err)
		}
	})
}

func TestALockWithoutAnOwnerIsParked(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		for _, command := range []skald.Command[mark, ok]{inEast.hold, inEast.settle} {
			m, err := command.Message(mark{command.Name, "nobody"})
			if err != nil {
				b.t.Fatal(err)
			}
			b.send(m)
		}
		reserve := skald.Message{Kind: skald.KindCommand, Channel: "bank.east", Key: "k", Type: lock.ReserveType, Version: lock.Version, Payload: []byte(`{"resource":"bank.north.account","key":"1"}`)}
		reserve.Headers.Set(skald.HeaderSaga, skald.NewID().String())
		b.send(reserve)
		b.pass(time.Second)
		held, err := b.services["east"].Held(b.t.Context(), 0, 10)
		if err != nil || len(held) != 3 {
			b.t.Fatalf("held %v, %v", held, err)
		}
		var reasons []string
		for _, h := range held {
			if h.State != inbox.HeldParked {
				b.t.Errorf("%s: %s", h.State, h.Reason)
			}
			reasons = append(reasons, h.Reason)
		}
		slices.Sort(reasons)
		for i, want := range []string{"send it as a step of a saga", "send it as a step of a saga", `resource "bank.north.account": no command on channel "bank.east" locks it here; there are ["bank.east.account"]`} {
			if !strings.Contains(reasons[i], want) {
				b.t.Errorf("%s", reasons[i])
			}
		}
	})
}

func (b *bank) send(m skald.Message) {
	b.t.Helper()
	err := service.Transact(b.t.Context(), b.services["desk"], func(ctx context.Context, tx *skaldtest.Tx) error {
		return b.services["desk"].Outbox().Add(ctx, tx, m)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// A pivot that waits for a lock is barred, and waits no longer.
func TestAPivotThatWaitsForALockIsBarred(t *testing.T) {
	register := func(b *bank) {
		d := moves("east.first", inEast, inWest, lock.Wait)
		d.Pivot = saga.Step[transfer]{Name: "hold second", Do: saga.Call(inWest.hold, transfer.to), Bar: 20 * time.Second}
		d.Compensatable[1] = saga.Compensatable[transfer]{Name: "clear", Do: saga.Call(clearing, transfer.from)}
		b.eastFirst = saga.Register(b.services["desk"], d)
		b.westFirst = saga.Register(b.services["desk"], moves("west.first", inWest, inEast, lock.Wait))
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.shut.Store("slow")
		b.start(b.eastFirst, transfer{Name: "older", From: "slow", To: "2"})
		b.pass(time.Second)
		b.holdsUp.Store("younger")
		b.start(b.westFirst, transfer{Name: "younger", From: "2", To: "9"})
		b.pass(time.Second)
		b.shut.Store("")
		b.pass(5 * time.Second)
		if got := b.locks(); !slices.Contains(got, `bank.west.account "2" east.first 2`) {
			b.t.Fatalf("locks: %q", got)
		}
		b.pass(time.Minute)
		b.endsAs("older", saga.Compensated, "skald.barred")
		if got := b.locks(); slices.Contains(got, `bank.west.account "2" east.first 2`) {
			b.t.Errorf("locks: %q", got)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.nothingLeft()
	})
}

// An operator may take a saga out of a queue, wherever it waits: what waits is told.
func TestWhoIsTakenOutOfAQueueDoesNotHang(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		older, _ := b.olderWaits()
		b.start(b.eastFirst, transfer{Name: "youngest", From: "3", To: "2"}) // reserves
		b.pass(time.Second)
		for _, id := range []skald.ID{older, b.came(b.eastFirst, "youngest").ID} {
			if released, err := b.services["west"].ReleaseLock(b.t.Context(), lock.Key{Resource: west, Key: "2"}, id, "enough"); !released || err != nil {
				b.t.Fatalf("%t, %v", released, err)
			}
		}
		b.pass(10 * time.Second)
		b.endsAs("youngest", saga.Compensated, "skald.locked: bank.west.account \"2\": the saga was taken out of the queue")
		if o := b.came(b.eastFirst, "older"); o.Status != saga.Running { // asks again, and may wait
			b.t.Errorf("older: %+v", o)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("older", saga.Completed, "")
		b.endsAs("younger", saga.Completed, "")
		b.nothingLeft()
	})
}
