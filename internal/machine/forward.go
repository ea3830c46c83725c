package machine

import (
	"fmt"
	"time"
)

// part is the range of the steps that run beside step i: its group, or itself.
func (d *Definition) part(i int) (from, to int) {
	return d.alike(i, func(s *Step) bool { return s.Group != 0 && s.Group == d.Steps[i].Group })
}

// branch is the range of the steps that run one after the other with step i.
func (d *Definition) branch(i int) (from, to int) {
	return d.alike(i, func(s *Step) bool {
		return s.Group != 0 && s.Group == d.Steps[i].Group && s.Branch == d.Steps[i].Branch
	})
}

func (d *Definition) alike(i int, same func(*Step) bool) (from, to int) {
	for from = i; from > 0 && same(&d.Steps[from-1]); {
		from--
	}
	for to = i + 1; to < len(d.Steps) && same(&d.Steps[to]); {
		to++
	}
	return from, to
}

// forward starts the first step of each branch whose turn has come, or completes.
func (r *run) forward() {
	d := r.definition
	for i := 0; i < len(d.Steps); {
		_, end := d.part(i)
		over := true
		for i < end && r.in.Status == Running { // or a wait was declined before its turn
			_, to := d.branch(i)
			for i < to && r.advance(&d.Steps[i]) {
				i++
			}
			over = over && i == to
			i = to
		}
		if !over || r.in.Status != Running {
			return
		}
	}
	r.in.Status, r.in.Reason = Completed, ""
	r.record("", WhatCompleted, "")
}

// advance does what there is to do at a step, and reports whether it is over.
func (r *run) advance(s *Step) bool {
	p := r.in.progress(s.Name)
	waiting := p == nil || p.State == "" || p.State == Given || p.State == Declined
	if waiting && s.When && !r.when(s.Name) {
		if p == nil {
			p = r.begin(s.Name)
		}
		p.State = Skipped
		r.record(s.Name, WhatSkipped, "")
		r.landed(s)
		return true
	}
	switch {
	case p == nil || p.State == "":
		r.do(s)
		return false
	case p.State == Given:
		p.State = Done
		r.record(s.Name, WhatDone, "")
		r.landed(s)
		return true
	case p.State == Declined:
		p.State = Refused
		r.record(s.Name, WhatRefused, p.Detail)
		r.refuse(s.Name, p.Detail)
		return false
	default:
		return p.State == Done || p.State == Skipped
	}
}

func (r *run) do(s *Step) {
	p := r.in.progress(s.Name)
	if p == nil {
		p = r.begin(s.Name)
	}
	p.State = Sent
	p.Do++
	if s.Class == Retriable {
		r.in.Deadline = time.Time{} // decided, if there is no pivot
	}
	if s.Kind != Local && s.Deadline > 0 {
		p.DueAt = r.now.Add(s.Deadline)
	}
	switch s.Kind {
	case Wait:
		r.record(s.Name, WhatAwaited, "")
		return
	case Call, Child:
		r.record(s.Name, WhatSent, "")
	case Local:
	default:
		panic(fmt.Sprintf("machine: step %q of kind %d", s.Name, s.Kind))
	}
	r.perform(s, p, Do, s.Kind)
}
