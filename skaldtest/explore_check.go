package skaldtest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/saga"
)

// check holds a moment to what is promised of every one.
func (w *world) check(before, m *moment) error {
	for i := len(before.effects); i < len(m.effects); i++ {
		earlier := m.effects[:i]
		if round := rounds(m); round > 0 {
			earlier = w.open(earlier)
			if times := count(m.effects[:i], m.effects[i]); times > round {
				return fmt.Errorf("%s had its effect %d times, in %d rounds", m.effects[i], times+1, round+1)
			}
		}
		if err := w.checkEffect(earlier, m.effects[i]); err != nil {
			return err
		}
	}
	for i, held := range m.held {
		for _, h := range held {
			if h.State == inbox.HeldParked {
				return fmt.Errorf("%s parked %s: %s", w.nodes[i].name, fly(h.Message).name, h.Reason)
			}
		}
	}
	for i := range before.sagas {
		if err := checkStatus(before.sagas[i], m.sagas[i], rounds(m) > rounds(before)); err != nil {
			return err
		}
	}
	return nil
}

// count is how often the same has had its effect.
func count(effects []effect, e effect) int {
	same := slices.DeleteFunc(slices.Clone(effects), func(b effect) bool { return b.action != e.action || b.step != e.step })
	return len(same)
}

// open leaves out what a saga that starts again does once more: what was undone, and what leaves nothing behind.
func (w *world) open(effects []effect) []effect {
	var left []effect
	for _, e := range effects {
		if s := w.step(e.step); s.Undo == nil && s.Class == saga.ClassCompensatable && !slices.Contains(w.config.leaves, e.step) {
			continue
		}
		if i := slices.IndexFunc(left, func(b effect) bool { return isUndo(e) && !isUndo(b) && b.step == e.step }); i >= 0 {
			left = slices.Delete(left, i, i+1)
			continue
		}
		left = append(left, e)
	}
	return left
}

// checkEffect holds an effect to those before it.
func (w *world) checkEffect(before []effect, e effect) error {
	happened := func(action, step string) bool {
		return slices.ContainsFunc(before, func(b effect) bool { return b.action == action && b.step == step })
	}
	if happened(e.action, e.step) {
		return fmt.Errorf("%s had its effect twice", e)
	}
	own := slices.DeleteFunc(slices.Clone(before), func(b effect) bool { return w.step(b.step).of != w.step(e.step).of })
	pivoted := slices.ContainsFunc(own, func(b effect) bool { return b.action == skald.ActionDo && w.step(b.step).Class == saga.ClassPivot })
	switch undo := e.action == skald.ActionUndo; {
	case undo && pivoted:
		return fmt.Errorf("%s had its effect after the pivot had landed", e)
	case undo && w.step(e.step).Do.Child == "" && !happened(skald.ActionDo, e.step):
		return fmt.Errorf("%s had an effect although %q had not landed", e, e.step)
	case !undo && w.step(e.step).Class == saga.ClassPivot && slices.ContainsFunc(own, isUndo):
		return fmt.Errorf("the pivot %q landed after a step was undone", e.step)
	case undo:
		if later := w.undoneTooLate(own, e); later != "" {
			return fmt.Errorf("%s had its effect before %q was undone, which landed after it", e, later)
		}
	}
	for _, b := range before {
		if e.channel != "" && b.channel == e.channel && b.key == e.key && bytes.Compare(b.message[:], e.message[:]) > 0 {
			return fmt.Errorf("%s had its effect after %s, which was sent later on the same channel with the same key", e, b)
		}
	}
	return nil
}

func isUndo(e effect) bool { return e.action == skald.ActionUndo }

// undoneTooLate finds a step that landed after the one that is being undone, and should have
// been undone first.
func (w *world) undoneTooLate(before []effect, e effect) string {
	after := false
	for _, b := range before {
		undone := slices.ContainsFunc(before, func(u effect) bool { return isUndo(u) && u.step == b.step })
		switch {
		case isUndo(b):
		case b.step == e.step:
			after = true
		case after && w.step(b.step).Undo != nil && !undone && !w.beside(b.step, e.step):
			return b.step
		}
	}
	return ""
}

// beside reports whether two steps are of different branches of a group.
func (w *world) beside(one, other string) bool {
	a, b := w.step(one), w.step(other)
	return a.Group != "" && a.Group == b.Group && a.Branch != b.Branch
}

// checkStatus refuses what no saga may do.
func checkStatus(before, now *saga.Record, again bool) error {
	if before.Status == now.Status || again && before.Status == saga.Compensating && now.Status == saga.Running {
		return nil
	}
	legal := map[saga.Status][]saga.Status{
		saga.Running:      {saga.Compensating, saga.Parked, saga.Completed, saga.Compensated},
		saga.Compensating: {saga.Parked, saga.Compensated},
	}
	if !slices.Contains(legal[before.Status], now.Status) {
		return fmt.Errorf("the saga went from %s to %s", before.Status, now.Status)
	}
	return nil
}

// checkEnd holds a moment after which nothing more happens to what is promised of an end.
func (w *world) checkEnd(m *moment) error {
	for i, held := range m.held {
		if len(held) > 0 {
			return fmt.Errorf("%s holds %s for ever: %s", w.nodes[i].name, fly(held[0].Message).name, held[0].Reason)
		}
	}
	if len(m.sagas) == 0 {
		return fmt.Errorf("the saga does not start")
	}
	if m.sagas[0].Status.Ended() {
		for i := range m.databases {
			for key := range m.databases[i].tables.locks.rows {
				return fmt.Errorf("%s keeps the lock on %s, and the saga has ended", w.nodes[i].name, key)
			}
		}
	}
	for _, d := range w.sagas() {
		exists := false
		for _, r := range m.sagas {
			if r.Name != d.Name {
				continue
			}
			exists = true
			if err := w.checkSaga(m, d, r); err != nil {
				return err
			}
		}
		if !exists {
			if err := checkNothing(m, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkNothing holds a saga that was not started to having done nothing.
func checkNothing(m *moment, d *saga.Description) error {
	for i := range d.Steps {
		for _, e := range m.effects {
			if e.step == d.Steps[i].Name {
				return fmt.Errorf("%s had its effect, and there is no saga %q to undo it", e, d.Name)
			}
		}
	}
	return nil
}

// checkSaga holds a saga that nothing happens to any more to what is promised of its end.
func (w *world) checkSaga(m *moment, d *saga.Description, r *saga.Record) error {
	switch {
	case r.Status == saga.Parked && r.Reason == "":
		return fmt.Errorf("%s is parked without a reason, at %q", w.nameOf(r), r.Step)
	case r.Status == saga.Parked:
		return nil
	case !r.Status.Ended() && slices.ContainsFunc(m.sagas, func(child *saga.Record) bool { return child != r && child.Status == saga.Parked }):
		return nil
	case !r.Status.Ended():
		return fmt.Errorf("%s never ends: it is %s, and waits for %q", w.nameOf(r), r.Status, r.Step)
	}
	in := decodeInstance(r)
	for i := range d.Steps {
		if err := w.checkStep(m, r, &in, &d.Steps[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkStep holds a step's effects to how its saga ended.
func (w *world) checkStep(m *moment, r *saga.Record, in *machine.Instance, s *saga.DescribedStep) error {
	did, undid := count(m.effects, effect{call: call{step: s.Name, action: skald.ActionDo}}), count(m.effects, effect{call: call{step: s.Name, action: skald.ActionUndo}})
	landed, undone := did > 0, undid > 0 && undid >= did
	skipped := slices.ContainsFunc(in.Steps, func(p machine.Progress) bool { return p.Step == s.Name && p.State == machine.Skipped })
	if s.Do.Child != "" {
		landed, undone = childEnded(m, s)
	}
	leaves := s.Undo != nil || s.Class != saga.ClassCompensatable || slices.Contains(w.config.leaves, s.Name)
	switch completed := r.Status == saga.Completed; {
	case s.Do.Wait:
		return nil
	case skipped && landed:
		return fmt.Errorf("%q was skipped, and has landed", s.Name)
	case completed && !landed && !skipped:
		return fmt.Errorf("%s is completed, and %q has not landed", w.nameOf(r), s.Name)
	case completed && undone:
		return fmt.Errorf("%s is completed, and %q was undone", w.nameOf(r), s.Name)
	case !completed && leaves && landed && !undone && s.Undo == nil:
		return fmt.Errorf("%s is compensated, and what %q did stays: it has no undo", w.nameOf(r), s.Name)
	case !completed && leaves && landed && !undone:
		return fmt.Errorf("%s is compensated, and %q landed and was not undone", w.nameOf(r), s.Name)
	}
	return nil
}

// nameOf is what messages call a saga.
func (w *world) nameOf(r *saga.Record) string {
	if r.Name == w.description.Name {
		return "the saga"
	}
	return fmt.Sprintf("the child %q", r.Name)
}

// childEnded tells whether the child of a step was completed, and whether that was undone.
func childEnded(m *moment, s *saga.DescribedStep) (landed, undone bool) {
	for _, r := range m.sagas {
		landed = landed || r.Name == s.Do.Child && r.Status == saga.Completed
		undone = undone || s.Undo != nil && s.Undo.Child == r.Name && r.Status == saga.Completed
	}
	return landed, undone || slices.ContainsFunc(m.effects, func(e effect) bool { return isUndo(e) && e.step == s.Name })
}

// checkUndos builds the undo of every step whose reply is about to be recorded with and without
// that reply.
func (w *world) checkUndos(m *moment, taken []flying) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a function of the definition panicked: %v", p)
		}
	}()
	for _, f := range taken {
		r := &f.message
		s := w.step(r.Headers.Get(skald.HeaderStep))
		if r.Kind != skald.KindReply || s.Undo == nil || s.Undo.Command == "" || s.Do.Child != "" || r.Headers.Get(skald.HeaderAction) != skald.ActionDo || r.Headers.Get(skald.HeaderOutcome) != skald.OutcomeSuccess {
			continue
		}
		i := slices.IndexFunc(m.sagas, func(record *saga.Record) bool { return record.ID.String() == r.Headers.Get(skald.HeaderSaga) })
		if i < 0 {
			continue
		}
		without, with, err := s.of.UndoBeside(s.Name, m.sagas[i].State, r)
		if err != nil {
			return fmt.Errorf("undo %q cannot be built: %w", s.Name, err)
		}
		if without.Key != with.Key || !bytes.Equal(without.Payload, with.Payload) {
			return fmt.Errorf("undo %q is built from the reply, which may be lost: without it it is %s with key %q, with it %s with key %q",
				s.Name, without.Payload, without.Key, with.Payload, with.Key)
		}
	}
	return nil
}
