package skaldtest_test

import (
	"context"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/skaldtest"
)

type locked struct {
	Item string `json:"item"`
}

const (
	thing skald.Resource = "explored.thing"
	note  skald.Resource = "explored.note"
)

func lockable(name string, locks, unlocks skald.Resource) skald.Command[locked, locked] {
	return skald.Command[locked, locked]{
		Name: name, Channel: "things", Key: func(l locked) string { return l.Item + "x" }, Refusals: []string{"no"}, Locks: locks, Unlocks: unlocks,
	}
}

func itself(l locked) locked { return l }

// locking takes locks in both places; what no step of it releases, its end sweeps up.
func locking(released bool) saga.Definition[locked] {
	nothing := saga.Local(func(context.Context, *skaldtest.Tx, *locked) error { return nil })
	key := func(l locked) string { return l.Item + "x" }
	d := saga.Definition[locked]{
		Name: "locking",
		Compensatable: []saga.Compensatable[locked]{
			{Name: "note", Do: nothing.Locks(note, key), Undo: nothing.Unlocks(note, key)},
			{Name: "take", Do: saga.Call(lockable("take", thing, ""), itself), Undo: saga.Call(lockable("give.back", "", thing), itself)},
		},
		Pivot:     saga.Step[locked]{Name: "decide", Do: saga.Call(lockable("decide", "", ""), itself)},
		Retriable: []saga.Step[locked]{{Name: "keep", Do: saga.Call(lockable("keep", "", ""), itself)}},
	}
	if released {
		d.Retriable[0].Do = saga.Call(lockable("keep.it", "", thing), itself)
		d.Retriable = append(d.Retriable, saga.Step[locked]{Name: "noted", Do: nothing.Unlocks(note, key)})
	}
	return d
}

// A lock that a local step takes is released by a command to the saga's own service.
func byItsOwnCommand() saga.Definition[locked] {
	d := locking(true)
	noted := lockable("noted", "", note)
	noted.Channel = "explored.own"
	d.Retriable[1].Do = saga.Call(noted, itself)
	return d
}

func TestASagasLocksEndWithItInEveryCourse(t *testing.T) {
	t.Run("released by a command to its own service", func(t *testing.T) { skaldtest.Explore(t, byItsOwnCommand()) })
	for name, released := range map[string]bool{"released by its steps": true, "swept up": false} {
		t.Run(name, func(t *testing.T) { skaldtest.Explore(t, locking(released)) })
	}
}

// startsAgain does so at a refusal of the one call, and of the other.
func startsAgain() saga.Definition[locked] {
	again := func(name string, locks skald.Resource) saga.CallAction[locked, locked] {
		command := lockable(name, locks, "")
		command.Refusals = append(command.Refusals, "changed")
		return saga.Call(command, itself).Again("changed")
	}
	d := locking(true)
	d.Compensatable[1].Do = again("take", thing)
	d.Compensatable = append([]saga.Compensatable[locked]{{Name: "look", Do: saga.Call(lockable("look", "", ""), itself)}}, d.Compensatable...)
	d.Pivot.Do = again("decide", "")
	return d
}

func TestASagaThatStartsAgainKeepsItsPromisesInEveryCourse(t *testing.T) {
	explored, plain := skaldtest.Explore(t, startsAgain()), skaldtest.Explore(t, locking(true))
	if explored.Endings[saga.Completed] <= 2*plain.Endings[saga.Completed] {
		t.Errorf("completed in %d ways; where it never starts again in %d", explored.Endings[saga.Completed], plain.Endings[saga.Completed])
	}
}
