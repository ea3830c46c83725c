package check

import (
	"slices"

	"github.com/skald-go/skald/examples/ftgo/api/choreographies"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/saga"
)

// effect is what a participant recorded in the transaction of what it did for a saga, whose business
// key is the operation.
type effect struct{ service, operation, step, action string }

// The actions of effects.
const (
	did      = "do"
	undid    = "undo"
	declined = "decline"
)

// step is a step of a saga that leaves effects at a service.
type step struct {
	name, service string
	class         class
}

// class says what a compensated saga leaves of a step's effects.
type class int

const (
	undoable class = iota // it was undone as often as it was done
	covered               // the undo of another step is its too
	final                 // the pivot, or behind it: it was not done
)

// sagaSteps are, by saga, the steps that leave effects, as they are stored.
var sagaSteps = map[string][]step{
	"order.create": {
		{"create order", "order", undoable},
		{"create ticket", "kitchen", undoable},
		{"authorize card", "accounting", final},
		{"confirm ticket", "kitchen", final},
		{"approve order", "order", final},
	},
	"order.create-large": {
		{"create order", "order", undoable},
		{"create ticket", "kitchen", undoable},
		{"authorize card", "accounting", final},
		{"confirm ticket", "kitchen", final},
		{"approve order", "order", final},
	},
	// Its branches change nothing, so that one order of undoing holds for all of it.
	"order.create-parallel": {
		{"create order", "order", undoable},
		{"validate order", "order", covered},
		{"create ticket", "kitchen", undoable},
		{"authorize card", "accounting", final},
		{"confirm ticket", "kitchen", final},
		{"approve order", "order", final},
	},
	"order.cancel": {
		{"begin cancel", "order", undoable},
		{"cancel ticket", "kitchen", undoable},
		{"reverse authorization", "accounting", final},
		{"confirm ticket cancel", "kitchen", final},
		{"confirm cancel", "order", final},
	},
	"order.revise": {
		{"begin revision", "order", undoable},
		{"revise ticket", "kitchen", undoable},
		{"revise authorization", "accounting", final},
		{"confirm ticket revision", "kitchen", final},
		{"confirm revision", "order", final},
	},
}

// reactionSteps are, by choreography, the reactions that leave effects. Its instances know of events only:
// what has to be there follows from how they ended.
var reactionSteps = map[string][]step{
	choreographies.CreateOrder.Name: {
		{"create order", "order", undoable},
		{"verify consumer", "consumer", covered},
		{"create ticket", "kitchen", undoable},
		{"open authorization", "accounting", undoable},
		{"authorize card", "accounting", final},
		{"confirm ticket", "kitchen", final},
		{"approve order", "order", final},
	},
}

// effectsHappenedOnce is invariant 8.
func effectsHappenedOnce(s *snapshot, report report) {
	for e, times := range s.effects {
		if times > 1 {
			report("%s: %s recorded the effect %q (%s) %d times", e.operation, e.service, e.step, e.action, times)
		}
		if e.action == declined && s.effects[effect{e.service, e.operation, e.step, did}] > 0 {
			report("%s: %s both did and declined %q", e.operation, e.service, e.step)
		}
	}
	keys := map[string]bool{}
	for _, i := range s.sagas {
		keys[i.key] = true
		for _, step := range sagaSteps[i.name] {
			if i.done[step.name] && s.effects[effect{step.service, i.key, step.name, did}] == 0 {
				report("%s: saga %s says that %q is done, and %s recorded no effect of it", i.key, i.id, step.name, step.service)
			}
		}
		reactedOnce(s, i, report)
	}
	for e := range s.effects {
		if e.operation != orderapi.OrderOf(e.operation) && !keys[e.operation] {
			report("%s: %s recorded the effect %q (%s), and there is no such cancel or revision", e.operation, e.service, e.step, e.action)
		}
	}
}

// reactedOnce compares how an instance of a choreography ended with what its participants did.
func reactedOnce(s *snapshot, i *instance, report report) {
	if !i.status.Ended() {
		return // on its way: invariant 4 says what it waits for
	}
	refusals, steps := 0, reactionSteps[i.name]
	for _, step := range steps {
		count := func(action string) int { return s.effects[effect{step.service, i.key, step.name, action}] }
		done, undone := count(did), count(undid)
		refusals += count(declined)
		switch {
		case i.status == saga.Completed && (done != 1 || undone != 0):
			report("choreography %s of %s is %s: %s did %q %d times and undid it %d times", i.id, i.key, i.status, step.service, step.name, done, undone)
		case i.status == saga.Compensated && step.class == undoable && done != undone:
			report("choreography %s of %s was compensated: %s did %q %d times and undid it %d times", i.id, i.key, step.service, step.name, done, undone)
		case i.status == saga.Compensated && step.class == final && done > 0:
			report("choreography %s of %s was compensated, and %s did %q, which cannot be undone", i.id, i.key, step.service, step.name)
		}
	}
	if len(steps) > 0 && (i.status == saga.Completed) != (refusals == 0) {
		report("choreography %s of %s is %s, and its participants declined %d times", i.id, i.key, i.status, refusals)
	}
}

// undoneInReverse is invariant 9, of the orchestrated sagas. It compares the saga's history and what the participants
// recorded: a saga may say that it undid what nobody did.
func undoneInReverse(s *snapshot, report report) {
	for _, i := range s.sagas {
		if i.status == saga.Compensated {
			compensatedInReverse(s, i, report)
			continue
		}
		if i.status == saga.Parked || i.status == saga.Compensating {
			continue // on its way: invariant 4 says what it waits for
		}
		if len(i.undone) > 0 {
			report("saga %s of %s is %s, and its history undoes %q", i.id, i.key, i.status, i.undone)
		}
		for _, step := range sagaSteps[i.name] {
			if s.effects[effect{step.service, i.key, step.name, undid}] > 0 {
				report("saga %s of %s is %s, and %s undid %q", i.id, i.key, i.status, step.service, step.name)
			}
		}
	}
}

func compensatedInReverse(s *snapshot, i *instance, report report) {
	for _, step := range sagaSteps[i.name] {
		if step.class == undoable && i.done[step.name] && !slices.Contains(i.undone, step.name) {
			report("saga %s of %s: %q landed and was undone 0 times in the history", i.id, i.key, step.name)
		}
		done, undone := s.effects[effect{step.service, i.key, step.name, did}], s.effects[effect{step.service, i.key, step.name, undid}]
		switch {
		case step.class == undoable && done != undone:
			report("saga %s of %s was compensated: %s did %q %d times and undid it %d times", i.id, i.key, step.service, step.name, done, undone)
		case step.class == final && done > 0:
			report("saga %s of %s was compensated, and %s did %q, which cannot be undone", i.id, i.key, step.service, step.name)
		case step.class != undoable && undone > 0:
			report("saga %s of %s was compensated, and %s undid %q, which has no undo", i.id, i.key, step.service, step.name)
		}
	}
	historyUndone(i, report)
}

// historyUndone looks at what the history says was undone, which may be a step that leaves no effects.
func historyUndone(i *instance, report report) {
	for name, times := range counted(i.undone) {
		if !slices.ContainsFunc(sagaSteps[i.name], func(s step) bool { return s.name == name && s.class == undoable }) {
			report("saga %s of %s: the history undoes %q, which has no undo", i.id, i.key, name)
		}
		if times > 1 {
			report("saga %s of %s: %q was undone %d times in the history", i.id, i.key, name, times)
		}
	}
	if want := i.reversed(); !slices.Equal(i.undone, want) {
		report("saga %s of %s was undone in the order %q, not in the reverse order %q", i.id, i.key, i.undone, want)
	}
}

// reversed is the order in which what was undone had to be: the reverse of how it began.
func (i *instance) reversed() []string {
	var steps []string
	for _, name := range slices.Backward(i.begun) {
		if slices.Contains(i.undone, name) {
			steps = append(steps, name)
		}
	}
	return steps
}

func counted(names []string) map[string]int {
	times := map[string]int{}
	for _, name := range names {
		times[name]++
	}
	return times
}
