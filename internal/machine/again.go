package machine

import (
	"fmt"
	"slices"
	"time"
)

// maxRounds is how often an instance starts again at most because of a value that has changed. Because of locks it starts
// again as often as it has to: by wait-die that is bounded by how many older sagas there are (docs/model/locks.pml), and
// it is the oldest some day.
const maxRounds = 10

// MayStartAgain reports whether a refusal at a step may have the instance start again: only while it goes forward,
// before the pivot is decided, and nobody has cancelled it.
func (d *Definition) MayStartAgain(in *Instance, a Answer) bool {
	behind := slices.ContainsFunc(d.Steps, func(s Step) bool { return s.Name == a.Step && s.Class == Retriable })
	return in.Status == Running && in.Cancel == "" && (a.Lock != "" || in.Round < maxRounds) && !behind
}

// pause is how long an instance waits before it starts again because of a value: the first time not at all, and then ever
// longer, because whoever keeps a copy of the value may be behind.
func pause(round int) time.Duration {
	if round <= 1 {
		return 0
	}
	return min(100*time.Millisecond<<min(round-2, 10), 10*time.Second)
}

// again undoes what was done, to start again. The saga's deadline stays.
func (r *run) again(a Answer) {
	r.in.Again = &Again{Step: a.Step, Lock: a.Lock}
	r.back(a.Detail)
}

// undone goes on when all is undone of an instance that is to start again: it holds nothing, so that it may wait for
// the lock however old it is.
func (r *run) undone() {
	r.in.Round++
	r.in.Status, r.in.Refusal = Running, ""
	if wait := pause(r.in.Round); r.in.Again.Lock == "" && wait > 0 {
		r.in.Again = &Again{Step: r.in.Again.Step, Until: r.now.Add(wait)}
		return
	}
	if r.in.Again.Lock == "" {
		r.rewind()
		return
	}
	r.in.Again = &Again{Step: r.in.Again.Step, Lock: r.in.Again.Lock, Reserving: true}
	r.record(r.in.Again.Step, WhatReserve, r.in.Reason)
	r.effects = append(r.effects, Perform{Step: r.in.Again.Step, Action: Reserve, Attempt: r.in.Round, Lock: r.in.Again.Lock})
}

// reserved goes on with the answer to a reservation.
func (r *run) reserved(a Answer) {
	if a.Refused {
		r.record(a.Step, WhatRefused, a.Detail)
		r.compensate(a.Detail)
		return
	}
	r.rewind()
}

// rewind makes the steps what they were before the start, but for the count of their attempts: what an
// earlier round left under way does not count. Signals that were given stay given.
func (r *run) rewind() {
	r.in.Again, r.in.Reason = nil, ""
	for i := range r.in.Steps {
		p := &r.in.Steps[i]
		switch {
		case p.State == Given || p.State == Declined:
		case p.State == Done && r.step(p.Step).Kind == Wait:
			p.State = Given
		default:
			p.State, p.DueAt, p.Landed, p.Detail = "", time.Time{}, false, ""
		}
	}
	r.record("", WhatAgain, fmt.Sprintf("round %d", r.in.Round))
	r.effects = append(r.effects, Rewind{})
}
