package machine

import (
	"fmt"
	"time"
)

// run is one application of an event.
type run struct {
	definition *Definition
	in         Instance
	now        time.Time
	when       func(step string) bool
	effects    []Effect
}

func (r *run) apply(event Event) error {
	switch e := event.(type) {
	case Start:
		return r.start()
	case Answer:
		return r.answer(e)
	case Signal:
		return r.signal(e)
	case Timeout:
		r.timeout()
		return nil
	case Cancel:
		return r.cancel(e)
	case Resume:
		return r.resume(e)
	case Rewound:
		r.forward()
		return nil
	case Queue:
		r.in.progress(e.Step).State = Queued
		r.record(e.Step, WhatReserve, "")
		return nil
	default:
		return fmt.Errorf("unknown event %T", event)
	}
}

func (r *run) start() error {
	if r.in.Status != "" {
		return fmt.Errorf("started already: %s", r.in.Status)
	}
	r.in.Status = Running
	if r.definition.Deadline > 0 {
		r.in.Deadline = r.now.Add(r.definition.Deadline)
	}
	r.record("", WhatStarted, "")
	r.forward()
	return nil
}

func (r *run) answer(a Answer) error {
	if !r.in.Counts(a) {
		return r.ignore(a)
	}
	p := r.in.progress(a.Step)
	p.DueAt = time.Time{}
	switch {
	case a.Action == Reserve:
		r.reserved(a)
	case a.Action == Undo && a.Refused:
		p.State = Stuck
		r.record(a.Step, WhatUndoFail, a.Detail)
		r.park(a.Step, "compensation stuck: "+a.Detail)
	case a.Action == Undo:
		p.State = Undone
		r.record(a.Step, WhatUndone, "")
		r.proceed()
	case a.Refused && a.Again && r.definition.MayStartAgain(&r.in, a):
		p.State = Refused
		what := WhatRefused
		if a.Lock != "" {
			what = WhatLocked
		}
		r.record(a.Step, what, a.Detail)
		r.again(a)
	case a.Refused:
		p.State = Refused
		r.record(a.Step, WhatRefused, a.Detail)
		r.refuse(a.Step, a.Detail)
	default:
		p.State = Done
		r.record(a.Step, WhatDone, "")
		r.landed(r.step(a.Step))
		r.proceed()
	}
	return nil
}

// landed settles what the pivot decides: the saga cannot be cancelled any more, and has no deadline.
func (r *run) landed(s *Step) {
	if s.Class != Pivot {
		return
	}
	r.in.Deadline = time.Time{}
	if r.in.Cancel != "" {
		r.record(s.Name, WhatCancel, "refused, the pivot has landed: "+r.in.Cancel)
		r.in.Cancel = ""
	}
}

// refuse handles the refusal of a do, or of a pivot by its bar.
func (r *run) refuse(step, detail string) {
	switch {
	case r.step(step).Class == Retriable:
		r.park(step, "refused after the pivot: "+detail)
	case r.in.Status == Running && r.in.Cancel != "":
		r.compensate(r.in.Cancel)
	case r.in.Status == Running:
		r.compensate(detail)
	default:
		r.proceed()
	}
}

func (r *run) signal(s Signal) error {
	i := r.index(s.Step)
	if i < 0 || r.definition.Steps[i].Kind != Wait {
		return fmt.Errorf("%w: a signal for step %q, which is no wait", ErrUnknownAnswer, s.Step)
	}
	if !r.in.Takes(s.Step) {
		return ErrNotAwaited
	}
	p := r.in.progress(s.Step)
	if p != nil && p.State == Sent {
		return r.answer(Answer{Step: s.Step, Action: Do, Attempt: p.Do, Refused: s.Refused, Detail: s.Detail})
	}
	if p == nil {
		p = r.begin(s.Step)
	}
	p.State, p.Detail = Given, s.Detail
	if s.Refused {
		p.State = Declined
	}
	r.record(s.Step, WhatSignalled, s.Detail)
	return nil
}

// ignore notes an answer that comes late or twice, and refuses one that was never asked for.
func (r *run) ignore(a Answer) error {
	p := r.in.progress(a.Step)
	if p == nil || a.Attempt < 1 || a.Attempt > r.in.attempts(p, a.Action) {
		return fmt.Errorf("%w: %s of step %q, attempt %d", ErrUnknownAnswer, a.Action, a.Step, a.Attempt)
	}
	verdict := "done"
	if a.Refused {
		verdict = "refused: " + a.Detail
	}
	r.record(a.Step, WhatIgnored, fmt.Sprintf("%s, attempt %d: %s", a.Action, a.Attempt, verdict))
	return nil
}

func (r *run) resume(e Resume) error {
	if r.in.Status != Parked {
		return ErrNotParked
	}
	r.in.Status, r.in.Reason = Running, r.in.Refusal
	if r.in.Backward {
		r.in.Status, r.in.Backward = Compensating, false
	}
	for i := range r.definition.Steps {
		s := &r.definition.Steps[i]
		p := r.in.progress(s.Name)
		switch {
		case p == nil:
		case p.State == Stuck:
			r.record(s.Name, WhatResumed, e.Detail)
			r.undo(s, p)
		case p.State == Refused && s.Class == Retriable:
			r.record(s.Name, WhatResumed, e.Detail)
			r.do(s)
		}
	}
	r.proceed()
	return nil
}

func (r *run) park(step, reason string) {
	r.record(step, WhatParked, reason)
	if r.in.Status == Parked {
		return
	}
	r.in.Backward = r.in.Status == Compensating
	r.in.Status, r.in.Reason = Parked, reason
}

// proceed goes on in the direction in which the saga runs. One that is parked stands still: what is
// answered meanwhile is noted, and counts once it is resumed.
func (r *run) proceed() {
	switch r.in.Status {
	case Running:
		r.forward()
	case Compensating:
		r.backward()
	case Parked, Completed, Compensated:
	}
}

func (r *run) perform(s *Step, p *Progress, action Action, kind Kind) {
	r.effects = append(r.effects, Perform{
		Step: s.Name, Action: action, Attempt: r.in.attempts(p, action), DoAttempt: p.Do, Kind: kind, Barrier: s.Barrier(), Landed: action == Undo && p.Landed,
	})
}

func (r *run) record(step, what, detail string) {
	r.in.Entries++
	r.effects = append(r.effects, Record{r.in.Entries, step, what, detail})
}

// begin makes the progress of a step.
func (r *run) begin(step string) *Progress {
	r.in.Steps = append(r.in.Steps, Progress{Step: step})
	return &r.in.Steps[len(r.in.Steps)-1]
}

func (r *run) index(step string) int {
	for i := range r.definition.Steps {
		if r.definition.Steps[i].Name == step {
			return i
		}
	}
	return -1
}

// step finds a step of the definition; an instance only ever names steps of its own version.
func (r *run) step(name string) *Step {
	if i := r.index(name); i >= 0 {
		return &r.definition.Steps[i]
	}
	panic(fmt.Sprintf("machine: the definition has no step %q: it was changed under its version number", name))
}
