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

func TestASagasLocksEndWithItInEveryCourse(t *testing.T) {
	for name, released := range map[string]bool{"released by its steps": true, "swept up": false} {
		t.Run(name, func(t *testing.T) { skaldtest.Explore(t, locking(released)) })
	}
}
