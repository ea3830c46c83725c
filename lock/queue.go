package lock

import "slices"

// Policy says what becomes of a saga that meets another's lock.
type Policy string

// The policies.
const (
	// Wait has it wait if it may, by wait-die, and start again once the lock is free if not.
	Wait Policy = "wait"
	// Refuse refuses its step, as a rule does.
	Refuse Policy = "refuse"
	// Reserve has it wait in any case: it holds no other lock. It is no step's to choose.
	Reserve Policy = "reserve"
)

// Verdict is what becomes of a request.
type Verdict uint8

// The verdicts.
const (
	Granted Verdict = iota // the lock is free, or the saga's own
	Waiting                // in the queue
	Died                   // the saga is to give up what it holds, and to start again
	Refused
)

// queue is the rows of a key, in order: the first one holds the lock.
type queue []Row

// index is the place of a root in the queue, from 0; -1 when it has none.
func (q queue) index(o Owner) int {
	return slices.IndexFunc(q, func(r Row) bool { return r.Root == o.Root })
}

// decide is the rule of wait-die. Whoever holds locks waits only if it is older than all that are before it:
// then every saga that waits, and could be waited for, waits for younger ones, and no circle
// closes. One that reserves holds nothing, and so is in no circle.
func (q queue) decide(o Owner, policy Policy) Verdict {
	if len(q) == 0 || q.index(o) == 0 {
		return Granted
	}
	switch policy {
	case Reserve:
		return Waiting
	case Refuse:
		return Refused
	case Wait:
	}
	before := q
	if i := q.index(o); i > 0 {
		before = q[:i]
	}
	if slices.ContainsFunc(before, func(r Row) bool { return !o.older(r.Owner) }) {
		return Died
	}
	return Waiting
}
