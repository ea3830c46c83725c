package check

import (
	"slices"

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
	undoable      bool
}

// sagaSteps are, by saga, the steps that leave effects, as they are stored.
var sagaSteps = map[string][]step{
	"order.create": {
		{"create order", "order", true},
		{"create ticket", "kitchen", true},
		{"authorize card", "accounting", false},
		{"confirm ticket", "kitchen", false},
		{"approve order", "order", false},
	},
	"order.cancel": {
		{"begin cancel", "order", true},
		{"cancel ticket", "kitchen", true},
		{"reverse authorization", "accounting", false},
		{"confirm ticket cancel", "kitchen", false},
		{"confirm cancel", "order", false},
	},
	"order.revise": {
		{"begin revision", "order", true},
		{"revise ticket", "kitchen", true},
		{"revise authorization", "accounting", false},
		{"confirm ticket revision", "kitchen", false},
		{"confirm revision", "order", false},
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
	}
	for e := range s.effects {
		if e.operation != orderapi.OrderOf(e.operation) && !keys[e.operation] {
			report("%s: %s recorded the effect %q (%s), and there is no such cancel or revision", e.operation, e.service, e.step, e.action)
		}
	}
}

// undoneInReverse is invariant 9. It compares the saga's history and what the participants
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
		times := count(i.undone, step.name)
		switch {
		case !step.undoable && times > 0:
			report("saga %s of %s: the history undoes %q, which has no undo", i.id, i.key, step.name)
		case step.undoable && i.done[step.name] && times != 1:
			report("saga %s of %s: %q landed and was undone %d times in the history", i.id, i.key, step.name, times)
		case times > 1:
			report("saga %s of %s: %q was undone %d times in the history", i.id, i.key, step.name, times)
		}
		done, undone := s.effects[effect{step.service, i.key, step.name, did}], s.effects[effect{step.service, i.key, step.name, undid}]
		if step.undoable && done != undone {
			report("saga %s of %s was compensated: %s did %q %d times and undid it %d times", i.id, i.key, step.service, step.name, done, undone)
		}
		if !step.undoable && done > 0 {
			report("saga %s of %s was compensated, and %s did %q, which cannot be undone", i.id, i.key, step.service, step.name)
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

func count(names []string, name string) int {
	n := 0
	for _, other := range names {
		if other == name {
			n++
		}
	}
	return n
}
