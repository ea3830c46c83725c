package skaldtest

import (
	"context"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// Locks together with what else a definition can say: deadlines, bars, branches, children, locks of the orchestrator's own.

// lockSteps are steps that lock the thing at a service each, and the order service's own.
type lockSteps struct {
	a, b, own      saga.Compensatable[crossing]
	takeA, takeB   saga.Action[crossing]
	leaveA, leaveB saga.Action[crossing]
	freeOwn        saga.Action[crossing]
	other          saga.Compensatable[crossing] // a second lock of the order service's own
	look           saga.Compensatable[crossing] // locks nothing
}

func newLockSteps(s *Scene) lockSteps {
	command := func(at, name string, locks, unlocks skald.Resource, refusals ...string) saga.Action[crossing] {
		c := skald.Command[crossing, struct{}]{
			Name: at + "." + name, Channel: at, Key: func(crossing) string { return "it" }, Locks: locks, Unlocks: unlocks, Refusals: refusals,
		}
		service.HandleCommand(s.stage.player(at).service, c, func(_ context.Context, tx *Tx, c crossing) (struct{}, error) {
			before, _ := tx.Get("things", "it")
			tx.Put("things", "it", before+name[:1]+c.Number)
			return struct{}{}, nil
		})
		return saga.Call(c, crossing.itself)
	}
	ownThing := func(thing, what string) saga.LocalAction[crossing] {
		return saga.Local(func(_ context.Context, tx *Tx, c *crossing) error {
			before, _ := tx.Get("things", thing)
			tx.Put("things", thing, before+what+c.Number)
			return nil
		})
	}
	own := func(what string) saga.LocalAction[crossing] { return ownThing("it", what) }
	it := func(crossing) string { return "it" }
	that := func(crossing) string { return "that" }
	steps := lockSteps{
		takeA: command("a", "take", "a", "", "no"), leaveA: command("a", "leave", "", "a"),
		takeB: command("b", "take", "b", "", "no"), leaveB: command("b", "leave", "", "b"), freeOwn: own("f").Unlocks("order", it),
	}
	steps.a = saga.Compensatable[crossing]{Name: "take a", Do: steps.takeA, Undo: steps.leaveA}
	steps.b = saga.Compensatable[crossing]{Name: "take b", Do: steps.takeB, Undo: steps.leaveB}
	steps.own = saga.Compensatable[crossing]{Name: "take own", Do: own("t").Locks("order", it), Undo: own("l").Unlocks("order", it)}
	steps.look = saga.Compensatable[crossing]{Name: "look", Do: command("a", "look", "", "", "no")}
	steps.other = saga.Compensatable[crossing]{
		Name: "take other", Do: ownThing("that", "t").Locks("order", that), Undo: ownThing("that", "l").Unlocks("order", that),
	}
	return steps
}

func inRow(steps ...saga.Compensatable[crossing]) saga.Definition[crossing] {
	return saga.Definition[crossing]{Compensatable: steps}
}

// deepLocks are pairs of definitions that lock in opposite orders.
var deepLocks = map[string]func(s lockSteps) (one, other saga.Definition[crossing]){
	"deadlines": func(s lockSteps) (one, other saga.Definition[crossing]) {
		s.a.Deadline, s.b.Deadline = time.Second, time.Second
		return inRow(s.a, s.b), inRow(s.b, s.a)
	},
	"a deadline of the whole": func(s lockSteps) (one, other saga.Definition[crossing]) {
		one, other = inRow(s.a, s.b), inRow(s.b, s.a)
		one.Deadline, other.Deadline = time.Minute, time.Minute
		return one, other
	},
	"pivots that lock, and are barred": func(s lockSteps) (one, other saga.Definition[crossing]) {
		one, other = inRow(s.a), inRow(s.b)
		one.Pivot = saga.Step[crossing]{Name: "pivot", Do: s.takeB, Bar: time.Second}
		other.Pivot = saga.Step[crossing]{Name: "pivot", Do: s.takeA, Bar: time.Second}
		other.Retriable = []saga.Step[crossing]{{Name: "leave b", Do: s.leaveB}}
		return one, other
	},
	"a lock of the orchestrator's own": func(s lockSteps) (one, other saga.Definition[crossing]) {
		one, other = inRow(s.own, s.a), inRow(s.a, s.own)
		other.Retriable = []saga.Step[crossing]{{Name: "free", Do: s.freeOwn}}
		return one, other
	},
	"two locks of the orchestrator's own": func(s lockSteps) (one, other saga.Definition[crossing]) {
		return inRow(s.own, s.look, s.other), inRow(s.other, s.look, s.own)
	},
	"two branches under one lock": func(s lockSteps) (one, other saga.Definition[crossing]) {
		again := s.a
		again.Name = "take a again"
		both := saga.Compensatable[crossing]{Name: "both", Parallel: [][]saga.Compensatable[crossing]{{s.a}, {again}}}
		return inRow(both), inRow(s.b, s.a)
	},
	"a child under its parent's lock": func(s lockSteps) (one, other saga.Definition[crossing]) {
		child := inRow(s.a)
		child.Name = "child"
		start := saga.Child(child, func(c crossing) (string, crossing) { return c.Number, c })
		return inRow(s.a, saga.Compensatable[crossing]{Name: "child", Do: start}), inRow(s.b, s.a)
	},
	"refusals": func(s lockSteps) (one, other saga.Definition[crossing]) {
		s.a.Locked, s.b.Locked = lock.Refuse, lock.Refuse
		return inRow(s.a, s.b), inRow(s.b, s.a)
	},
	"branches": func(s lockSteps) (one, other saga.Definition[crossing]) {
		both := saga.Compensatable[crossing]{Name: "both", Parallel: [][]saga.Compensatable[crossing]{{s.a}, {s.b}}}
		return inRow(both), inRow(s.b, s.a)
	},
	"a child": func(s lockSteps) (one, other saga.Definition[crossing]) {
		child := inRow(s.b)
		child.Name = "child"
		start := saga.Child(child, func(c crossing) (string, crossing) { return c.Number, c })
		return inRow(s.a, saga.Compensatable[crossing]{Name: "child", Do: start}), inRow(s.b, s.a)
	},
}

// playLocks sets a scene of n sagas, of the one definition and the other in turn.
func playLocks(n int, define func(s lockSteps) (one, other saga.Definition[crossing])) func(s *Scene) {
	return func(s *Scene) {
		order := s.Service("order")
		s.Service("a")
		s.Service("b")
		one, other := define(newLockSteps(s))
		one.Name, other.Name = "one", "other"
		sagas := []*saga.Saga[crossing]{saga.Register(order, one), saga.Register(order, other)}
		for i := range n {
			number := string('1' + rune(i))
			s.Do("saga "+number+" starts", "order", func(ctx context.Context, tx *Tx) error {
				return sagas[i%2].Start(ctx, tx, number, crossing{Number: number})
			})
		}
	}
}

// Faults: 65.
func TestLocksInDepthLeaveNobodyWaitingInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	for name, define := range deepLocks {
		t.Run(name, func(t *testing.T) { Interleave(t, Interleaving{}, playLocks(2, define)) })
	}
}

// Faults: 65.
func TestLocksInDepthLeaveNobodyOfThreeWaiting(t *testing.T) {
	config := Interleaving{MaxStates: -1, Samples: 60, Aborts: 2}
	if raceDetector {
		config.Samples = 5
	}
	for name, define := range deepLocks {
		t.Run(name, func(t *testing.T) { Interleave(t, config, playLocks(3, define)) })
	}
}
