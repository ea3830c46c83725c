package check

import (
	"fmt"
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
	byKey := s.byKey()
	for e, times := range s.effects {
		if times > byKey[e.operation].mayHave(e) {
			report("%s: %s recorded the effect %q (%s) %d times", e.operation, e.service, e.step, e.action, times)
		}
		if e.action == declined && s.effects[effect{e.service, e.operation, e.step, did}] > 0 {
			report("%s: %s both did and declined %q", e.operation, e.service, e.step)
		}
	}
	for _, i := range s.sagas {
		for _, step := range sagaSteps[i.name] {
			said := i.times(func(r round) bool { return r.done[step.name] })
			switch times := s.effects[effect{step.service, i.key, step.name, did}]; {
			case said > 0 && times == 0:
				report("%s: saga %s says that %q is done, and %s recorded no effect of it", i.key, i.id, step.name, step.service)
			case said > times:
				report("%s: saga %s says that %q was done in %d rounds, and %s recorded %d effects of it", i.key, i.id, step.name, said, step.service, times)
			}
		}
		reactedOnce(s, i, report)
	}
	for e := range s.effects {
		if e.operation != orderapi.OrderOf(e.operation) && byKey[e.operation] == nil {
			report("%s: %s recorded the effect %q (%s), and there is no such cancel or revision", e.operation, e.service, e.step, e.action)
		}
	}
}

// byKey finds a saga by its business key, under which its effects are recorded.
func (s *snapshot) byKey() map[string]*instance {
	byKey := make(map[string]*instance, len(s.sagas))
	for _, i := range s.sagas {
		byKey[i.key] = i
	}
	return byKey
}

// mayHave is how often something may have happened for a saga, of which nothing may be known: once, or in each of the rounds in
// which it began what can be undone.
func (i *instance) mayHave(e effect) int {
	if i == nil {
		return 1
	}
	undoable := slices.ContainsFunc(sagaSteps[i.name], func(s step) bool { return s.name == e.step && s.service == e.service && s.class == undoable })
	if !undoable || e.action == declined {
		return 1
	}
	return max(1, i.times(func(r round) bool { return slices.Contains(r.begun, e.step) }))
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
// recorded: a saga may say that it undid what nobody did. A round after which a saga started again is undone as a saga is that
// ends compensated.
func undoneInReverse(s *snapshot, report report) {
	for _, i := range s.sagas {
		about := fmt.Sprintf("saga %s of %s", i.id, i.key)
		for n, earlier := range i.rounds[:len(i.rounds)-1] {
			earlier.undoneInReverse(sagaSteps[i.name], fmt.Sprintf("%s (round %d, after which it started again)", about, n+1), report)
		}
		last := i.last()
		switch i.status {
		case saga.Parked, saga.Compensating: // on its way: invariant 4 says what it waits for
			continue
		case saga.Compensated:
			last.undoneInReverse(sagaSteps[i.name], about, report)
		default:
			if len(last.undone) > 0 {
				report("%s is %s, and its history undoes %q", about, i.status, last.undone)
			}
		}
		for _, step := range sagaSteps[i.name] {
			effectsUndone(s, i, step, report)
		}
	}
}

// effectsUndone looks at what the participants recorded of a saga that is not on its way back, in all of its rounds.
func effectsUndone(s *snapshot, i *instance, step step, report report) {
	done, undone := s.effects[effect{step.service, i.key, step.name, did}], s.effects[effect{step.service, i.key, step.name, undid}]
	compensated, about := i.status == saga.Compensated, fmt.Sprintf("saga %s of %s is %s", i.id, i.key, i.status)
	switch {
	case step.class == final && compensated && done > 0:
		report("%s, and %s did %q, which cannot be undone", about, step.service, step.name)
	case step.class != undoable && undone > 0:
		report("%s, and %s undid %q, which has no undo", about, step.service, step.name)
	case step.class != undoable:
	case compensated && done != undone:
		report("%s: %s did %q %d times and undid it %d times", about, step.service, step.name, done, undone)
	case !compensated && undone > len(i.rounds)-1:
		report("%s, and %s undid %q; it started again %d times", about, step.service, step.name, len(i.rounds)-1)
	case !compensated && i.last().done[step.name] && done != undone+1:
		report("%s, having started again %d times: %s did %q %d times and undid it %d times", about, len(i.rounds)-1, step.service, step.name, done, undone)
	}
}

// undoneInReverse looks at a round of which everything had to be undone. What it says was undone may be a step that leaves no
// effects.
func (r *round) undoneInReverse(steps []step, about string, report report) {
	for _, step := range steps {
		switch {
		case step.class == undoable && r.done[step.name] && !slices.Contains(r.undone, step.name):
			report("%s: %q landed and was undone 0 times in the history", about, step.name)
		case step.class == final && r.done[step.name]:
			report("%s: the history says that %q is done, which cannot be undone", about, step.name)
		}
	}
	for name, times := range counted(r.undone) {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.name == name && s.class == undoable }) {
			report("%s: the history undoes %q, which has no undo", about, name)
		}
		if times > 1 {
			report("%s: %q was undone %d times in the history", about, name, times)
		}
	}
	if want := r.reversed(); !slices.Equal(r.undone, want) {
		report("%s was undone in the order %q, not in the reverse order %q", about, r.undone, want)
	}
}

// reversed is the order in which what was undone had to be: the reverse of how it began.
func (r *round) reversed() []string {
	var steps []string
	for _, name := range slices.Backward(r.begun) {
		if slices.Contains(r.undone, name) {
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
