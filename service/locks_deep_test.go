package service_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

func fromAccount(t transfer) string { return t.From }

// marks is a local step that writes who is at the account.
func (b *bank) marks(by func(transfer) string) func(context.Context, *skaldtest.Tx, *transfer) error {
	return func(_ context.Context, tx *skaldtest.Tx, t *transfer) error {
		at, _ := tx.Get("pending", t.From)
		if now := by(*t); now != "" && at != "" || now == "" && at != t.Name {
			b.wrong("desk: %s is at account %s, and %s comes", at, t.From, t.Name)
		}
		tx.Put("pending", t.From, by(*t))
		return nil
	}
}

// local is a transfer whose first lock is in the desk's own database.
func (b *bank) local(policy lock.Policy) saga.Definition[transfer] {
	begins := saga.Local(b.marks(func(t transfer) string { return t.Name }))
	leaves := saga.Local(b.marks(func(transfer) string { return "" }))
	d := moves("desk.first", inEast, inWest, lock.Wait)
	d.Compensatable = append([]saga.Compensatable[transfer]{{
		Name: "begin", Do: begins.Locks(atTheDesk, fromAccount), Undo: leaves.Unlocks(atTheDesk, fromAccount), Locked: policy,
	}}, d.Compensatable...)
	d.Retriable = append(d.Retriable, saga.Step[transfer]{Name: "end", Do: leaves.Unlocks(atTheDesk, fromAccount)})
	return d
}

func TestALockInTheOrchestratorsDatabaseIsWaitedForFromTheStart(t *testing.T) {
	register := func(b *bank) { b.eastFirst = saga.Register(b.services["desk"], b.local("")) }
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("")
		for _, name := range []string{"one", "bad two", "three"} {
			b.start(b.eastFirst, transfer{Name: name, From: "1", To: "2"})
		}
		b.pass(time.Second)
		if got := b.locks(); count(got, `bank.desk.account "1" desk.first 3`) != 1 {
			b.t.Errorf("locks: %q", got)
		}
		if err := b.services["desk"].Cancel(b.t.Context(), b.came(b.eastFirst, "three").ID, "enough"); err != nil {
			b.t.Fatal(err)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("one", saga.Completed, "")
		b.endsAs("bad two", saga.Compensated, "no_cover")
		b.endsAs("three", saga.Compensated, "cancelled: enough")
		b.nothingLeft()
	})
}

func TestTheCallerIsToldThatALockIsTaken(t *testing.T) {
	register := func(b *bank) { b.eastFirst = saga.Register(b.services["desk"], b.local(lock.Refuse)) }
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("")
		b.start(b.eastFirst, transfer{Name: "one", From: "1", To: "2"})
		err := service.Transact(b.t.Context(), b.services["desk"], func(ctx context.Context, tx *skaldtest.Tx) error {
			return b.eastFirst.Start(ctx, tx, "two", transfer{Name: "two", From: "1", To: "3"})
		})
		if refusal, refused := skald.AsRefusal(err); !refused || refusal.Code != skald.RefusedLocked {
			b.t.Errorf("the start said %v", err)
		}
		if _, found, err := b.eastFirst.Find(b.t.Context(), "two"); found || err != nil {
			b.t.Errorf("it was started: %t, %v", found, err)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("one", saga.Completed, "")
		b.nothingLeft()
	})
}

// In the caller's own transaction as well as in a batch.
func TestALockIsTakenInTheCallersTransaction(t *testing.T) {
	register := func(b *bank) { b.eastFirst = saga.Register(b.services["desk"], b.local("")) }
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("")
		for _, name := range []string{"one", "two"} {
			tx, err := b.stores["desk"].BeginTx(b.t.Context())
			if err != nil {
				b.t.Fatal(err)
			}
			if err := b.eastFirst.Start(b.t.Context(), tx, name, transfer{Name: name, From: "1", To: "2"}); err != nil {
				b.t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				b.t.Fatal(err)
			}
			b.pass(time.Second)
		}
		want := []string{`bank.desk.account "1" desk.first 1`, `bank.desk.account "1" desk.first 2`}
		if got := b.locks(); len(got) != 4 || !slices.Equal(got[2:], want) {
			b.t.Errorf("locks: %q", got)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("one", saga.Completed, "")
		b.endsAs("two", saga.Completed, "")
		b.nothingLeft()
	})
}

// parent has a child that locks in the west, after a lock of its own in the east.
func parent() saga.Definition[transfer] {
	child := saga.Definition[transfer]{Name: "child", Compensatable: moves("", inWest, inWest, lock.Wait).Compensatable[:1]}
	child.Compensatable[0].Do = saga.Call(inWest.hold, transfer.to)
	child.Compensatable[0].Undo = saga.Call(inWest.free, transfer.to)
	d := moves("parent", inEast, inWest, lock.Wait)
	d.Compensatable[1] = saga.Compensatable[transfer]{
		Name: "child", Do: saga.Child(child, func(t transfer) (string, transfer) { return t.Name, t }), Undo: saga.Call(inWest.free, transfer.to),
	}
	return d
}

func TestAChildsLockIsItsRoots(t *testing.T) {
	register := func(b *bank) {
		b.eastFirst = saga.Register(b.services["desk"], parent())
		b.westFirst = saga.Register(b.services["desk"], moves("west.first", inWest, inEast, lock.Wait))
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("west first")
		b.start(b.westFirst, transfer{Name: "west first", From: "1", To: "9"})
		b.pass(time.Second)
		for i := range 20 {
			b.start(b.eastFirst, transfer{Name: []string{"bad ", ""}[i%2] + string(rune('a'+i)), From: "1", To: "1"})
			b.start(b.westFirst, transfer{Name: "west " + string(rune('a'+i)), From: "1", To: "1"})
		}
		b.pass(time.Second)
		b.holdsUp.Store("nobody")
		b.pass(2 * time.Minute)
		again := 0
		for i := range 20 {
			status := []saga.Status{saga.Compensated, saga.Completed}[i%2]
			name := []string{"bad ", ""}[i%2] + string(rune('a'+i))
			b.endsAs(name, status, "")
			again += count(b.history(b.came(b.eastFirst, name).ID), "child met a lock")
			if o := b.came(b.westFirst, "west "+string(rune('a'+i))); o.Status != saga.Completed {
				b.t.Errorf("%+v", o)
			}
		}
		if again == 0 {
			b.t.Error("no child met a lock")
		}
		b.nothingLeft()
	})
}

func TestASagaThatReadWhatHasChangedStartsAgain(t *testing.T) {
	check := skald.Command[mark, ok]{Name: "bank.desk.check", Channel: "bank.desk", Refusals: []string{"changed", "no_cover"}}
	tries := map[string]int{}
	register := func(b *bank) {
		service.HandleCommand(b.services["desk"], check, func(_ context.Context, tx *skaldtest.Tx, m mark) (ok, error) {
			tries[m.By]++
			if tries[m.By] < 3 || m.By == "never" {
				return ok{}, skald.Refuse("changed", "it is another one now")
			}
			return ok{}, nil
		})
		d := moves("east.first", inEast, inWest, lock.Wait)
		d.Pivot = saga.Step[transfer]{Name: "check", Do: saga.Call(check, transfer.from).Again("changed").Refused((*transfer).because)}
		b.eastFirst = saga.Register(b.services["desk"], d)
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.start(b.eastFirst, transfer{Name: "one", From: "1", To: "2"})
		b.start(b.eastFirst, transfer{Name: "never", From: "3", To: "4"})
		b.pass(2 * time.Minute)
		b.endsAs("one", saga.Completed, "")
		if o := b.came(b.eastFirst, "one"); o.State.Rounds != 1 || count(b.history(o.ID), "started again") != 2 {
			b.t.Errorf("%+v\n%q", o, b.history(o.ID))
		}
		b.endsAs("never", saga.Compensated, "changed")
		if o := b.came(b.eastFirst, "never"); o.State.Reason != "changed" {
			b.t.Errorf("its state says %q", o.State.Reason)
		}
		if n := tries["never"]; n != 11 {
			b.t.Errorf("it was tried %d times", n)
		}
		b.nothingLeft()
	})
}

func TestSignalsAreKeptWhenASagaStartsAgain(t *testing.T) {
	register := func(b *bank) {
		d := moves("east.first", inEast, inWest, lock.Wait)
		d.Compensatable = slices.Insert(d.Compensatable, 1, saga.Compensatable[transfer]{
			Name: "approve", Deadline: time.Hour,
			Do: saga.Wait(func(t *transfer, by string) error { t.Reason = by; return nil }),
		})
		b.eastFirst = saga.Register(b.services["desk"], d)
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("")
		for _, name := range []string{"one", "two"} {
			b.start(b.eastFirst, transfer{Name: name, From: name, To: "2"})
			err := service.Transact(b.t.Context(), b.services["desk"], func(ctx context.Context, tx *skaldtest.Tx) error {
				return b.eastFirst.Signal(ctx, tx, name, "approve", "Ada")
			})
			if err != nil {
				b.t.Fatal(err)
			}
			b.pass(time.Second)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("one", saga.Completed, "")
		b.endsAs("two", saga.Completed, "")
		if o := b.came(b.eastFirst, "two"); o.State.Reason != "Ada" || count(b.history(o.ID), "started again") != 1 {
			b.t.Errorf("%+v\n%q", o, b.history(o.ID))
		}
		b.nothingLeft()
	})
}

func TestWhatCannotBeLockedIsRefusedAtRegistration(t *testing.T) {
	noUndo := moves("no.undo", inEast, inWest, "")
	noUndo.Compensatable[0].Undo = nil
	noUnlock := moves("no.unlock", inEast, inWest, "")
	noUnlock.Compensatable[0].Undo = saga.Call(skald.Command[mark, ok]{Name: "bank.east.look", Channel: "bank.east", Key: inEast.free.Key}, transfer.from)
	after := moves("after", inEast, inWest, "")
	after.Retriable = append(after.Retriable, saga.Step[transfer]{Name: "hold third", Do: saga.Call(inEast.hold, transfer.from)})
	back := moves("back", inEast, inWest, "")
	back.Compensatable[0].Undo = saga.Call(inEast.hold, transfer.from)
	odd := moves("odd", inEast, inWest, "")
	odd.Compensatable[0].Locked, odd.Pivot.Locked = "sometimes", lock.Wait
	again := moves("again", inEast, inWest, "")
	again.Pivot.Do = saga.Call(clearing, transfer.from).Again("changed")
	again.Retriable[0].Do = saga.Call(inEast.settle, transfer.from).Again()
	nowhere := moves("nowhere", inEast, inWest, "")
	nowhere.Compensatable[0] = saga.Compensatable[transfer]{
		Name: "local", Do: saga.Local(func(context.Context, *skaldtest.Tx, *transfer) error { return nil }).Locks("No Such", nil),
		Undo: saga.Local(func(context.Context, *skaldtest.Tx, *transfer) error { return nil }),
	}
	retriableChild := moves("retriable.child", inEast, inWest, "")
	retriableChild.Retriable[0].Do = saga.Child(moves("inner", inEast, inWest, ""), func(t transfer) (string, transfer) { return t.Name, t })
	early := moves("early", inEast, inWest, "")
	early.Compensatable = append(early.Compensatable, saga.Compensatable[transfer]{Name: "settle", Do: saga.Call(inEast.settle, transfer.from)})
	earlyChild := moves("early.child", inEast, inWest, "")
	earlyChild.Compensatable = append(earlyChild.Compensatable, saga.Compensatable[transfer]{
		Name: "inner", Do: saga.Child(moves("inner", inEast, inWest, ""), func(t transfer) (string, transfer) { return t.Name, t }),
	})
	thrice := twice()
	thrice.Name = "thrice"
	thrice.Retriable = append(thrice.Retriable, saga.Step[transfer]{Name: "settle again", Do: saga.Call(inEast.settle, transfer.from)})
	keyless := moves("keyless", inEast, inWest, "")
	bad := inEast.hold
	bad.Key, bad.Unlocks = nil, east
	keyless.Compensatable[0].Do = saga.Call(bad, transfer.from)
	for _, c := range []struct {
		definition saga.Definition[transfer]
		want       []string
	}{
		{noUndo, []string{`step "hold first": it locks bank.east.account and has no Undo`, "give it the Undo that releases it"}},
		{noUnlock, []string{`its Undo does not release that: give the Undo Unlocks`}},
		{after, []string{`step "hold third": it locks bank.east.account: after the pivot a saga goes forward`, "take it in a step before the pivot"}},
		{back, []string{`step "hold first (undo)": it locks bank.east.account`}},
		{odd, []string{`Locked is "sometimes": choose lock.Wait or lock.Refuse`, `step "clear": Locked says what becomes of it at another's lock, and it takes none`}},
		{again, []string{`Again names the code "changed", which is none of its refusals ["no_cover"]`}},
		{nowhere, []string{`Locks: resource: `, `Locks: the function is nil`}},
		{retriableChild, []string{`step "settle first": step "hold first" of its child "inner" locks bank.east.account`}},
		{early, []string{`step "settle": it unlocks bank.east.account, and may be undone: others would build on it`}},
		{earlyChild, []string{`step "inner": step "settle first" of its child "inner" unlocks bank.east.account, and may be undone by the parent`}},
		{thrice, []string{`step "settle again": it unlocks bank.east.account, which is unlocked more often than it is locked before`}},
		{keyless, []string{"needs a key to be on", "it locks and unlocks bank.east.account"}},
	} {
		_, err := saga.Describe(c.definition)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: want %q in %v", c.definition.Name, want, err)
			}
		}
	}
}

// A start that fails leaves no lock, whatever its caller makes of the error.
func TestAStartThatFailsLocksNothing(t *testing.T) {
	register := func(b *bank) {
		d := b.local("")
		d.Compensatable = slices.Delete(d.Compensatable, 1, 2) // the second account is the first to be called
		d.Retriable = d.Retriable[1:]
		b.eastFirst = saga.Register(b.services["desk"], d)
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		long := strings.Repeat("x", skald.MaxKey+1)
		err := service.Transact(b.t.Context(), b.services["desk"], func(ctx context.Context, tx *skaldtest.Tx) error {
			if err := b.eastFirst.Start(ctx, tx, "one", transfer{Name: "one", From: "1", To: long}); err == nil {
				b.t.Error("it started")
			}
			return nil
		})
		if err != nil {
			b.t.Fatal(err)
		}
		b.nothingLeft()
	})
}

// twoHere locks two accounts in the orchestrator's own database.
func (b *bank) twoHere(name string, first, second func(transfer) string) saga.Definition[transfer] {
	step := func(name string, of func(transfer) string) saga.Compensatable[transfer] {
		at := func(by func(transfer) string) func(context.Context, *skaldtest.Tx, *transfer) error {
			return func(ctx context.Context, tx *skaldtest.Tx, t *transfer) error {
				there := *t
				there.From = of(*t)
				return b.marks(by)(ctx, tx, &there)
			}
		}
		arrives := saga.Local(at(func(t transfer) string { return t.Name }))
		leaves := saga.Local(at(func(transfer) string { return "" }))
		return saga.Compensatable[transfer]{Name: name, Do: arrives.Locks(atTheDesk, of), Undo: leaves.Unlocks(atTheDesk, of)}
	}
	d := saga.Definition[transfer]{
		Name: name, Compensatable: []saga.Compensatable[transfer]{
			step("first", first),
			{Name: "look", Do: saga.Call(clearing, transfer.from)},
			step("second", second),
		},
		Pivot: saga.Step[transfer]{Name: "clear", Do: saga.Call(clearing, transfer.from)},
	}
	for _, c := range []saga.Compensatable[transfer]{d.Compensatable[0], d.Compensatable[2]} {
		d.Retriable = append(d.Retriable, saga.Step[transfer]{Name: "leave " + c.Name, Do: c.Undo})
	}
	return d
}

func toAccount(t transfer) string { return t.To }

// A local step waits as a command does: otherwise the older of two sagas could start again for ever.
func TestLocksInTheOrchestratorsDatabaseAreWaitedFor(t *testing.T) {
	register := func(b *bank) {
		b.eastFirst = saga.Register(b.services["desk"], b.twoHere("to.and.fro", fromAccount, toAccount))
		b.westFirst = saga.Register(b.services["desk"], b.twoHere("fro.and.to", toAccount, fromAccount))
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		const pairs = 100
		for i := range pairs {
			b.start(b.eastFirst, transfer{Name: fmt.Sprintf("e%d", i), From: fmt.Sprint(i % 3), To: "x"})
			b.start(b.westFirst, transfer{Name: fmt.Sprintf("w%d", i), From: fmt.Sprint(i % 3), To: "x"})
		}
		b.pass(4 * time.Minute)
		waited, most := 0, 0
		for i := range pairs {
			for _, o := range []saga.Outcome[transfer]{b.came(b.eastFirst, fmt.Sprintf("e%d", i)), b.came(b.westFirst, fmt.Sprintf("w%d", i))} {
				if o.Status != saga.Completed {
					b.t.Errorf("%+v\n%q", o, b.history(o.ID))
				}
				most = max(most, count(b.history(o.ID), "started again"))
				waited += count(b.history(o.ID), "second lock awaited") - count(b.history(o.ID), "second met a lock")
			}
		}
		if most > 20 || waited == 0 {
			b.t.Errorf("one started again %d times; %d steps waited", most, waited)
		}
		b.nothingLeft()
	})
}

func TestALocalStepThatWaitsIsCancelled(t *testing.T) {
	register := func(b *bank) {
		b.eastFirst = saga.Register(b.services["desk"], b.twoHere("to.and.fro", fromAccount, toAccount))
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.holdsUp.Store("older")
		b.start(b.eastFirst, transfer{Name: "older", From: "1", To: "x"}) // stands before its second lock
		b.pass(time.Second)
		b.holdsUp.Store("")
		b.start(b.eastFirst, transfer{Name: "younger", From: "x", To: "3"})
		b.pass(time.Second)
		b.holdsUp.Store("younger")
		b.pass(time.Minute)
		older := b.came(b.eastFirst, "older")
		if h := b.history(older.ID); h[len(h)-1] != "second lock awaited" || older.Status != saga.Running {
			b.t.Fatalf("%+v\n%q", older, h)
		}
		if err := b.services["desk"].Cancel(b.t.Context(), older.ID, "enough"); err != nil {
			b.t.Fatal(err)
		}
		b.pass(time.Second)
		b.endsAs("older", saga.Compensated, "cancelled: enough")
		if got := b.locks(); !slices.Equal(got, []string{`bank.desk.account "x" to.and.fro 1`}) {
			b.t.Errorf("locks: %q", got)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		b.endsAs("younger", saga.Completed, "")
		b.nothingLeft()
	})
}

// The branches of a saga may lock the same thing, and are undone in any order.
func TestBranchesUnderOneLockAreUndoneUnderIt(t *testing.T) {
	register := func(b *bank) {
		d := moves("east.first", inEast, inEast, lock.Wait)
		hold := d.Compensatable
		d.Compensatable = []saga.Compensatable[transfer]{{Name: "both", Parallel: [][]saga.Compensatable[transfer]{{hold[0]}, {hold[1]}}}}
		b.eastFirst = saga.Register(b.services["desk"], d)
	}
	inBank(t, service.Config{}, register, func(b *bank) {
		b.forced.Store(true) // the account is left twice
		for i := range 20 {
			b.start(b.eastFirst, transfer{Name: fmt.Sprintf("%s%d", []string{"bad ", ""}[i%2], i), From: "1", To: "1"})
		}
		b.pass(time.Minute)
		for i := range 20 {
			b.endsAs(fmt.Sprintf("%s%d", []string{"bad ", ""}[i%2], i), []saga.Status{saga.Compensated, saga.Completed}[i%2], "")
		}
		b.nothingLeft()
	})
}

// A handler that is no saga's meets a lock: what releases that may be behind its message.
func TestWhatMeetsALockOutsideOfASagaBlocksNobody(t *testing.T) {
	rename := skald.Command[mark, ok]{Name: "bank.east.rename", Channel: "bank.east", Key: inEast.hold.Key}
	inBank(t, service.Config{}, transfers, func(b *bank) {
		b.holdsUp.Store("")
		b.start(b.eastFirst, transfer{Name: "one", From: "1", To: "2"})
		b.pass(time.Second)
		m, err := rename.Message(mark{"1", "clerk"})
		if err != nil {
			b.t.Fatal(err)
		}
		b.send(m)
		b.pass(time.Second)
		held, err := b.services["east"].Held(b.t.Context(), 0, 10)
		if err != nil || len(held) != 1 || !held[0].Apart || !strings.Contains(held[0].Reason, "is locked by saga east.first") {
			b.t.Errorf("held: %v, %v", held, err)
		}
		b.holdsUp.Store("nobody")
		b.pass(2 * time.Minute)
		b.endsAs("one", saga.Completed, "")
		b.nothingLeft()
	}, func(b *bank) {
		b.also = map[string]func(*service.Service){"east": func(s *service.Service) {
			service.HandleCommand(s, rename, func(ctx context.Context, tx *skaldtest.Tx, m mark) (ok, error) {
				return ok{}, s.Locks().Free(ctx, tx, east, m.Account)
			})
		}}
	})
}
