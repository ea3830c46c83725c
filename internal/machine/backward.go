package machine

import "time"

func (r *run) compensate(reason string) {
	r.in.Again, r.in.Deadline = nil, time.Time{}
	r.back(reason)
}

func (r *run) back(reason string) {
	r.in.Status, r.in.Reason, r.in.Refusal, r.in.Cancel = Compensating, reason, reason, ""
	r.backward()
}

// backward undoes the last step of each branch that landed or may have, part by part, or ends when
// there is none.
func (r *run) backward() {
	d := r.definition
	for i := len(d.Steps) - 1; i >= 0; {
		begin, _ := d.part(i)
		over := true
		for i >= begin {
			from, _ := d.branch(i)
			for i >= from && r.retreat(&d.Steps[i]) {
				i--
			}
			over = over && i < from
			i = from - 1
		}
		if !over {
			return
		}
	}
	if r.in.Again != nil {
		r.undone()
		return
	}
	r.in.Status = Compensated
	r.record("", WhatReversed, r.in.Reason)
}

// retreat does what there is to undo at a step, and reports whether it is over.
func (r *run) retreat(s *Step) bool {
	p := r.in.progress(s.Name)
	switch {
	case p == nil:
		return true
	case p.State == Sent || p.State == Queued:
		return r.abandon(s, p)
	case p.State == Done || p.State == Unknown:
		if s.Undo {
			r.undo(s, p)
		}
		return !s.Undo
	default: // also of a step whose turn has not come again
		return !p.State.awaited() && p.State != Stuck
	}
}

// abandon goes back from a step that has no answer yet, and reports whether it is over. What is undone
// by the participant is undone at once, because its barrier keeps a late do from landing. What
// only the answer can tell is waited for.
func (r *run) abandon(s *Step, p *Progress) bool {
	p.DueAt = time.Time{}
	switch {
	case s.Kind == Wait && r.in.Again != nil: // its turn comes again, and what it waits for may come before
		p.State = ""
		return true
	case s.Kind == Wait: // it leaves nothing
		p.State = Refused
		return true
	case p.State == Queued: // it has not run
		p.State = Refused
		r.record(s.Name, WhatWithdrawn, "")
		r.perform(s, p, Bar, Local)
		return true
	case s.Kind == Child:
		r.bar(s, p, r.in.Reason)
		return false
	case s.Undo && s.UndoKind == Call:
		r.undo(s, p)
		return false
	case s.Undo:
		return false
	default:
		p.State = Unknown
		return true
	}
}

func (r *run) undo(s *Step, p *Progress) {
	p.Landed = p.Landed || p.State == Done
	p.State = Undoing
	p.Undo++
	if s.UndoKind != Local {
		r.record(s.Name, WhatUndoSent, "")
	}
	r.perform(s, p, Undo, s.UndoKind)
}

func (r *run) bar(s *Step, p *Progress, why string) {
	p.State, p.DueAt = Barring, time.Time{}
	p.Bar++
	r.record(s.Name, WhatBarSent, why)
	r.perform(s, p, Bar, s.Kind)
}
