package skaldtest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
)

func (w *world) step(name string) *saga.DescribedStep {
	for i := range w.description.Steps {
		if w.description.Steps[i].Name == name {
			return &w.description.Steps[i]
		}
	}
	return &saga.DescribedStep{Name: name}
}

// check holds a moment to what is promised of every one.
func (w *world) check(before, m *moment) error {
	for i := len(before.effects); i < len(m.effects); i++ {
		if err := w.checkEffect(m.effects[:i], m.effects[i]); err != nil {
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
	return checkStatus(before.saga, m.saga)
}

// checkEffect holds an effect to those before it.
func (w *world) checkEffect(before []effect, e effect) error {
	happened := func(action, step string) bool {
		return slices.ContainsFunc(before, func(b effect) bool { return b.action == action && b.step == step })
	}
	if happened(e.action, e.step) {
		return fmt.Errorf("%s had its effect twice", e)
	}
	pivoted := slices.ContainsFunc(before, func(b effect) bool { return b.action == skald.ActionDo && w.step(b.step).Class == saga.ClassPivot })
	switch undo := e.action == skald.ActionUndo; {
	case undo && pivoted:
		return fmt.Errorf("%s had its effect after the pivot had landed", e)
	case undo && !happened(skald.ActionDo, e.step):
		return fmt.Errorf("%s had an effect although %q had not landed", e, e.step)
	case !undo && w.step(e.step).Class == saga.ClassPivot && slices.ContainsFunc(before, isUndo):
		return fmt.Errorf("the pivot %q landed after a step was undone", e.step)
	case undo:
		if later := w.undoneTooLate(before, e); later != "" {
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
		case after && w.step(b.step).Undo != nil && !undone:
			return b.step
		}
	}
	return ""
}

// checkStatus refuses what no saga may do.
func checkStatus(before, now *saga.Record) error {
	if before == nil || now == nil || before.Status == now.Status {
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
	switch {
	case m.saga == nil:
		return fmt.Errorf("the saga does not start")
	case m.saga.Status == saga.Parked && m.saga.Reason == "":
		return fmt.Errorf("the saga is parked without a reason, at %q", m.saga.Step)
	case m.saga.Status == saga.Parked:
		return nil
	case !m.saga.Status.Ended():
		return fmt.Errorf("the saga never ends: it is %s, and waits for %q", m.saga.Status, m.saga.Step)
	}
	for i := range w.description.Steps {
		if err := w.checkStep(m, &w.description.Steps[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkStep holds a step's effects to how the saga ended.
func (w *world) checkStep(m *moment, s *saga.DescribedStep) error {
	landed := slices.ContainsFunc(m.effects, func(e effect) bool { return e.action == skald.ActionDo && e.step == s.Name })
	undone := slices.ContainsFunc(m.effects, func(e effect) bool { return isUndo(e) && e.step == s.Name })
	leaves := s.Undo != nil || s.Class != saga.ClassCompensatable || slices.Contains(w.config.leaves, s.Name)
	switch completed := m.saga.Status == saga.Completed; {
	case completed && !landed:
		return fmt.Errorf("the saga is completed, and %q has not landed", s.Name)
	case completed && undone:
		return fmt.Errorf("the saga is completed, and %q was undone", s.Name)
	case !completed && leaves && landed && !undone && s.Undo == nil:
		return fmt.Errorf("the saga is compensated, and what %q did stays: it has no undo", s.Name)
	case !completed && leaves && landed && !undone:
		return fmt.Errorf("the saga is compensated, and %q landed and was not undone", s.Name)
	}
	return nil
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
		if r.Kind != skald.KindReply || s.Undo == nil || s.Undo.Local || r.Headers.Get(skald.HeaderAction) != skald.ActionDo || r.Headers.Get(skald.HeaderOutcome) != skald.OutcomeSuccess {
			continue
		}
		without, with, err := w.description.UndoBeside(s.Name, m.saga.State, r)
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
