package machine

import (
	"fmt"
	"time"
)

// due is the earliest of the deadlines. Only a saga that goes forward has any.
func (r *run) due() time.Time {
	var due time.Time
	if r.in.Status != Running {
		return due
	}
	earlier := func(at time.Time) {
		if !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	earlier(r.in.Deadline)
	if r.in.Again != nil {
		earlier(r.in.Again.Until)
	}
	for i := range r.in.Steps {
		earlier(r.in.Steps[i].DueAt)
	}
	return due
}

func (r *run) timeout() {
	passed := func(at time.Time) bool { return !at.IsZero() && !r.now.Before(at) }
	for i := range r.in.Steps {
		p := &r.in.Steps[i]
		if r.in.Status != Running || !passed(p.DueAt) {
			continue
		}
		p.DueAt = time.Time{}
		r.late(r.step(p.Step), p)
	}
	if r.in.Status == Running && r.in.Again != nil && passed(r.in.Again.Until) && !passed(r.in.Deadline) {
		r.rewind()
	}
	if r.in.Status == Running && passed(r.in.Deadline) {
		r.record("", WhatTimedOut, "")
		r.stop("the saga's deadline has passed")
	}
}

// late goes on after the deadline of a step.
func (r *run) late(s *Step, p *Progress) {
	if s.Class == Pivot && s.Kind != Wait {
		r.bar(s, p, "no answer within the deadline")
		return
	}
	switch s.Kind {
	case Call:
		p.State = Unknown
	case Wait:
		p.State = Refused
	case Local, Child: // a child is cancelled, and says how it ends
	}
	r.record(s.Name, WhatTimedOut, "")
	r.compensate(fmt.Sprintf("no answer from step %q within its deadline", s.Name))
}

// cancel undoes what was done, unless the pivot has landed. While its outcome is unknown, the bar
// decides, or its answer.
func (r *run) cancel(c Cancel) error {
	switch {
	case r.in.Status.Ended():
		return ErrEnded
	case r.in.Status == Compensating || r.in.Backward:
		r.record("", WhatCancel, "undone already: "+c.Detail)
		if r.in.Again != nil {
			r.in.Again, r.in.Deadline, r.in.Refusal = nil, time.Time{}, "cancelled: "+c.Detail
			if r.in.Status == Compensating {
				r.in.Reason = r.in.Refusal
			}
		}
		return nil
	case r.decided():
		return ErrDecided
	}
	r.record("", WhatCancel, c.Detail)
	r.stop("cancelled: " + c.Detail)
	return nil
}

// decided reports whether the saga can only go forward.
func (r *run) decided() bool {
	for i := range r.in.Steps {
		p := &r.in.Steps[i]
		switch s := r.step(p.Step); {
		case s.Class == Pivot && (p.State == Done || p.State == Skipped):
			return true
		case s.Class == Retriable && p.Do > 0:
			return true
		}
	}
	return false
}

// stop compensates, or has the pivot decide if that was sent. One that waits for a lock has not run.
func (r *run) stop(reason string) {
	for i := range r.in.Steps {
		p := &r.in.Steps[i]
		s := r.step(p.Step)
		if s.Class != Pivot || s.Kind == Wait || p.State == Queued || !p.State.awaited() {
			continue
		}
		r.in.Deadline = time.Time{}
		if r.in.Cancel == "" {
			r.in.Cancel = reason
		}
		if p.State == Sent && (s.Deadline > 0 || s.Kind == Child) {
			r.bar(s, p, reason)
		}
		return
	}
	r.compensate(reason)
}
