package service_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// inDesk are the commands of the desk, which it handles together; its own sagas lock the same accounts in local steps.
var inDesk = counterOf(atTheDesk)

// A local step may take a lock in a batch in which a command was granted it that is to be handled together with
// others.
func TestALocalStepTakesNoLockThatACommandOfItsBatchHas(t *testing.T) {
	register := func(b *bank) {
		here := b.local("")
		here.Compensatable = []saga.Compensatable[transfer]{
			{Name: "look", Do: saga.Call(clearing, transfer.from)}, here.Compensatable[0],
		}
		here.Retriable = here.Retriable[len(here.Retriable)-1:]
		b.eastFirst = saga.Register(b.services["desk"], here)
		by := moves("by.command", inDesk, inWest, lock.Wait)
		by.Compensatable[1] = saga.Compensatable[transfer]{Name: "wait", Deadline: time.Hour, Do: saga.Wait(func(*transfer, bool) error { return nil })}
		by.Retriable = by.Retriable[:1]
		b.westFirst = saga.Register(b.services["desk"], by)
		b.branch("desk", inDesk)
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		for i := range 100 {
			account := fmt.Sprint(i)
			err := service.Transact(b.t.Context(), b.services["desk"], func(ctx context.Context, tx *skaldtest.Tx) error {
				one, two := transfer{Name: "command " + account, From: account}, transfer{Name: "local " + account, From: account}
				if i%2 == 0 {
					if err := b.westFirst.Start(ctx, tx, one.Name, one); err != nil {
						return err
					}
					return b.eastFirst.Start(ctx, tx, two.Name, two)
				}
				if err := b.eastFirst.Start(ctx, tx, two.Name, two); err != nil {
					return err
				}
				return b.westFirst.Start(ctx, tx, one.Name, one)
			})
			if err != nil {
				b.t.Fatal(err)
			}
		}
		b.pass(time.Minute)
		rows, err := b.services["desk"].Locks().List(b.t.Context(), "", lock.Key{}, 1000)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, r := range rows {
			if r.Place > 1 && r.Uses > 0 && slices.ContainsFunc(rows, func(o lock.Row) bool { return o.Key == r.Key && o.Place < r.Place }) {
				b.t.Errorf("%s has written under another's lock: %+v", r.Name, r)
			}
		}
		for i := range 100 {
			name := fmt.Sprintf("command %d", i)
			err := service.Transact(b.t.Context(), b.services["desk"], func(ctx context.Context, tx *skaldtest.Tx) error {
				return b.westFirst.Signal(ctx, tx, name, "wait", true)
			})
			if err != nil {
				b.t.Error(err)
			}
		}
		b.pass(2 * time.Minute)
		for i := range 100 {
			b.endsAs(fmt.Sprintf("local %d", i), saga.Completed, "")
		}
		b.nothingLeft()
	}, func(b *bank) { b.batched = true })
}

// What a child is told too late is not why it compensates.
func TestALateDenialIsNotWhyAChildCompensates(t *testing.T) {
	register := func(b *bank) {
		child := saga.Definition[transfer]{Name: "child", Compensatable: moves("", inWest, inWest, lock.Wait).Compensatable[:1]}
		child.Compensatable[0].Do, child.Compensatable[0].Undo = saga.Call(inWest.hold, transfer.to), saga.Call(inWest.free, transfer.to)
		child.Compensatable[0].Deadline = 10 * time.Second
		d := parent()
		d.Compensatable[1].Do = saga.Child(child, func(t transfer) (string, transfer) { return t.Name, t })
		b.eastFirst = saga.Register(b.services["desk"], d)
		b.westFirst = saga.Register(b.services["desk"], moves("west.first", inWest, inEast, lock.Wait))
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("first")
		b.start(b.westFirst, transfer{Name: "first", From: "2", To: "9"})
		b.pass(time.Second)
		b.stops["west"]()
		b.start(b.eastFirst, transfer{Name: "one", From: "1", To: "2"})
		b.pass(20 * time.Second) // the child's command has no answer in time
		b.open("west")
		b.pass(10 * time.Second)
		b.endsAs("one", saga.Compensated, "no answer from step")
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.nothingLeft()
	})
}

// A command that waited may be discarded when nobody handles it any more.
func TestAWaitingCommandWithoutAHandlerIsDiscarded(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		b.olderWaits()
		b.stops["west"]()
		b.services["west"] = nil
		b.openWest(skald.Command[mark, ok]{Name: inWest.hold.Name, Version: 2, Channel: inWest.hold.Channel, Key: inWest.hold.Key, Locks: west})
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("younger", saga.Completed, "")
		held, err := b.services["west"].Held(b.t.Context(), 0, 10)
		if err != nil || len(held) != 1 {
			b.t.Fatalf("held: %v, %v", held, err)
		}
		if n, err := b.services["west"].Discard(b.t.Context(), "hopeless", held[0].Message.ID); n != 1 || err != nil {
			b.t.Fatalf("discarded %d, %v", n, err)
		}
		b.pass(time.Minute)
		b.endsAs("older", saga.Compensated, "skald.discarded")
		b.nothingLeft()
	})
}

// openWest starts the west with another version of a command.
func (b *bank) openWest(hold skald.Command[mark, ok]) {
	b.t.Helper()
	s, err := service.New("west", b.stores["west"], b.broker, b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.services["west"] = s
	c := inWest
	c.hold = hold
	b.branch("west", c)
	ctx, stop := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.stops["west"] = func() {
		stop()
		if err := <-ended; err != nil {
			b.t.Log(err)
		}
	}
}

// A command and its undo may come in one batch.
func TestWhoWaitsAndIsUndoneInOneBatchIsNotHeld(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		b.holdsUp.Store("")
		b.shut.Store("slow")
		b.start(b.eastFirst, transfer{Name: "older", From: "slow", To: "2"})
		b.pass(time.Second)
		b.start(b.eastFirst, transfer{Name: "younger", From: "1", To: "2"})
		b.pass(time.Second)
		b.stops["west"]()
		b.shut.Store("")
		b.pass(5 * time.Second)
		if err := b.services["desk"].Cancel(b.t.Context(), b.came(b.eastFirst, "older").ID, "enough"); err != nil {
			b.t.Fatal(err)
		}
		b.pass(5 * time.Second)
		b.open("west")
		b.pass(10 * time.Second)
		b.endsAs("older", saga.Compensated, "cancelled: enough")
		held, err := b.services["west"].Held(b.t.Context(), 0, 10)
		if err != nil || len(held) > 0 {
			b.t.Errorf("held: %v, %v", held, err)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.nothingLeft()
	})
}

// A lock that is taken under a condition, and released without one, would be another's at times.
func TestWhatMayNotBeLockedIsNotUnlocked(t *testing.T) {
	d := moves("sometimes", inEast, inWest, "")
	d.Compensatable[1].When = func(t transfer) bool { return t.Fail }
	if _, err := saga.Describe(d); err == nil {
		t.Error("west is unlocked whether it was locked or not")
	}
	other := d.Compensatable[1]
	other.Name, other.When = "hold the other one", func(t transfer) bool { return !t.Fail }
	d.Compensatable = append(d.Compensatable, other)
	if _, err := saga.Describe(d); err != nil {
		t.Errorf("one of two steps locks it: %v", err)
	}
}

// Whoever approves need not know that the saga is about to start again.
func TestASignalIsTakenFromASagaThatIsToStartAgain(t *testing.T) {
	register := func(b *bank) {
		d := moves("east.first", inEast, inWest, lock.Wait)
		approve := saga.Compensatable[transfer]{
			Name: "approve", Deadline: time.Hour, Do: saga.Wait(func(t *transfer, by string) error { t.Reason = by; return nil }),
		}
		d.Compensatable = []saga.Compensatable[transfer]{d.Compensatable[0], {
			Name: "both", Parallel: [][]saga.Compensatable[transfer]{{approve}, {d.Compensatable[1]}},
		}}
		b.eastFirst = saga.Register(b.services["desk"], d)
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("")
		approve := func(name string) {
			err := service.Transact(b.t.Context(), b.services["desk"], func(ctx context.Context, tx *skaldtest.Tx) error {
				return b.eastFirst.Signal(ctx, tx, name, "approve", "Ada")
			})
			if err != nil {
				b.t.Error(err)
			}
		}
		b.start(b.eastFirst, transfer{Name: "one", From: "1", To: "2"})
		approve("one")
		b.pass(time.Second)
		b.start(b.eastFirst, transfer{Name: "two", From: "3", To: "2"})
		b.pass(time.Second)
		approve("two") // while it waits for the lock with which it starts again
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("one", saga.Completed, "")
		b.endsAs("two", saga.Completed, "")
		b.nothingLeft()
	})
}

// Every service runs twice, and sagas are started, and go on, in both.
func TestLocksAreTheDatabases(t *testing.T) {
	inBank(t, service.Config{LeaseTTL: time.Second}, transfers, func(b *bank) {
		first := map[string]*service.Service{}
		for _, name := range bankers {
			first[name] = b.services[name]
			stop := b.stops[name]
			store := b.stores[name]
			b.stores[name] = store.Connect()
			b.open(name)
			second := b.stops[name]
			b.stops[name] = func() { stop(); second() }
		}
		b.pass(5 * time.Second)
		const pairs = 150
		for i := range pairs {
			desk := b.services["desk"]
			if i%2 == 0 {
				b.services["desk"] = first["desk"]
			}
			b.start(b.eastFirst, transfer{Name: fmt.Sprintf("e%d", i), From: fmt.Sprint(i % 4), To: fmt.Sprint(i % 3)})
			b.start(b.westFirst, transfer{Name: fmt.Sprintf("w%d", i), From: fmt.Sprint(i % 3), To: fmt.Sprint(i % 4)})
			b.services["desk"] = desk
			if i%50 == 49 {
				b.pass(time.Second)
			}
		}
		b.pass(4 * time.Minute)
		for i := range pairs {
			for _, o := range []saga.Outcome[transfer]{b.came(b.eastFirst, fmt.Sprintf("e%d", i)), b.came(b.westFirst, fmt.Sprintf("w%d", i))} {
				if o.Status != saga.Completed {
					b.t.Errorf("%d: %+v\n%q", i, o, b.history(o.ID))
				}
			}
		}
		b.nothingLeft()
	})
}

// A local pivot that waits for a lock has not run: nobody need wait for its answer.
func TestALocalPivotThatWaitsIsCancelled(t *testing.T) {
	register := func(b *bank) {
		d := b.twoHere("pivot", fromAccount, toAccount)
		pivot := d.Compensatable[2]
		d.Compensatable = d.Compensatable[:2]
		d.Pivot = saga.Step[transfer]{Name: pivot.Name, Do: pivot.Do}
		d.Deadline = time.Minute
		b.eastFirst = saga.Register(b.services["desk"], d)
		b.westFirst = saga.Register(b.services["desk"], b.twoHere("to.and.fro", fromAccount, toAccount))
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("older")
		b.start(b.eastFirst, transfer{Name: "older 1", From: "1", To: "x"}) // stands before its pivot
		b.start(b.eastFirst, transfer{Name: "older 2", From: "2", To: "x"})
		b.pass(time.Second)
		b.holdsUp.Store("")
		b.start(b.westFirst, transfer{Name: "younger", From: "x", To: "3"})
		b.pass(time.Second)
		b.holdsUp.Store("younger")
		b.pass(20 * time.Second)
		one := b.came(b.eastFirst, "older 1")
		if h := b.history(one.ID); h[len(h)-1] != "second lock awaited" {
			b.t.Fatalf("%+v\n%q", one, h)
		}
		if err := b.services["desk"].Cancel(b.t.Context(), one.ID, "enough"); err != nil {
			b.t.Fatal(err)
		}
		b.pass(time.Second)
		b.endsAs("older 1", saga.Compensated, "cancelled: enough")
		b.pass(time.Minute)
		b.endsAs("older 2", saga.Compensated, "")
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.nothingLeft()
	})
}

// A command that waited for its lock, and was parked after that, is done with when its undo comes.
func TestAParkedCommandThatWaitedGoesWithItsUndo(t *testing.T) {
	inBank(t, service.Config{MaxAttempts: 8}, transfers, func(b *bank) {
		older, _ := b.olderWaits()
		b.shut.Store("2")
		b.holdsUp.Store("nobody")
		b.pass(5 * time.Minute)
		b.endsAs("younger", saga.Completed, "")
		held, err := b.services["west"].Held(b.t.Context(), 0, 10)
		if err != nil || len(held) != 1 || held[0].State != inbox.HeldParked || !held[0].Apart {
			b.t.Fatalf("held: %v, %v", held, err)
		}
		if err := b.services["desk"].Cancel(b.t.Context(), older, "enough"); err != nil {
			b.t.Fatal(err)
		}
		b.pass(10 * time.Second)
		b.endsAs("older", saga.Compensated, "cancelled: enough")
		b.nothingLeft()
	})
}
