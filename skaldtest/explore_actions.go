package skaldtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// action is something that can happen at a moment: one batch of one service.
type action struct {
	label   string
	node    *node
	now     time.Time
	run     func(ctx context.Context) error
	take    []flying // what it takes from what is under way
	fails   bool     // a handler may fail, to be tried again
	late    bool
	extra   bool // nothing waits for it
	cancels bool
}

// step is an action and the moment that it leads to.
type step struct {
	label string
	next  *moment
	print print
	extra bool
}

// actions lists what can happen.
func (w *world) actions(m *moment) []action {
	if len(m.sagas) == 0 {
		return []action{{label: "the saga starts", node: w.home, now: m.now, fails: true, run: func(ctx context.Context) error {
			return w.home.stepper.Transact(ctx, m.now, w.start)
		}}}
	}
	var all []action
	for _, l := range m.flight {
		if n := w.reader(l.channel); n != nil {
			all = append(all, w.deliver(m, n, l.messages[:1]))
		}
	}
	for _, n := range w.nodes {
		if waiting := w.waiting(m, n); len(waiting) > 1 {
			all = append(all, w.deliver(m, n, waiting))
		} else if len(waiting) == 1 && len(m.delivered[n.index]) > 0 {
			all = append(all, w.behindAgain(m, n, waiting))
		}
		if slices.ContainsFunc(m.held[n.index], func(h inbox.Held) bool { return h.State == inbox.HeldRetrying }) {
			all = append(all, w.retry(m, n))
		}
		if len(m.delivered[n.index]) > 0 {
			all = append(all, w.again(m, n)...)
		}
	}
	return append(all, w.outside(m)...)
}

// waiting lists all that is under way to a service, in an order in which it may arrive.
func (w *world) waiting(m *moment, n *node) []flying {
	var waiting []flying
	for _, l := range m.flight {
		if w.reader(l.channel) == n {
			waiting = append(waiting, l.messages...)
		}
	}
	return waiting
}

func (w *world) deliver(m *moment, n *node, messages []flying) action {
	names := make([]string, len(messages))
	for i, f := range messages {
		names[i] = f.name
	}
	label := n.name + " gets " + strings.Join(names, " and ")
	if len(messages) > 1 {
		label += " in one batch"
	}
	return action{label: label, node: n, now: m.now, take: messages, fails: true, run: func(ctx context.Context) error {
		return n.stepper.Deliver(ctx, m.now, deliveries(messages)...)
	}}
}

func deliveries(messages []flying) []inbox.Delivery {
	list := make([]inbox.Delivery, len(messages))
	for i, f := range messages {
		f.message.Headers = f.message.Headers.Clone()
		list[i] = inbox.Delivery{Message: f.message, Position: inbox.Position{Incarnation: homeName, Sequence: 1, Last: f.message.ID}}
	}
	return list
}

// exploredFailures is how often one message fails at most, before it is handled.
const exploredFailures = 2

func (w *world) retry(m *moment, n *node) action {
	now := m.now.Add(time.Hour) // whatever the backoff was
	fails := !slices.ContainsFunc(m.held[n.index], func(h inbox.Held) bool { return h.Attempts >= exploredFailures })
	return action{label: n.name + " tries again what it holds", node: n, now: now, fails: fails, run: func(ctx context.Context) error {
		return n.stepper.RetryHeld(ctx, now)
	}}
}

// again delivers what a service has handled already: at once, and so late that recorded replies
// are sent again.
func (w *world) again(m *moment, n *node) []action {
	repeat := func(label string, now time.Time, late bool) action {
		return action{label: n.name + label, node: n, now: m.now, fails: true, extra: true, late: late, run: func(ctx context.Context) error {
			return n.stepper.Deliver(ctx, now, deliveries(m.delivered[n.index])...)
		}}
	}
	all := []action{repeat(" gets again all that it had", began, m.late)}
	if !m.late && n != w.home {
		all = append(all, repeat(" gets again, late, all that it had", m.now.Add(time.Hour), true))
	}
	return all
}

// behindAgain delivers what waits in one batch with all that the service has handled already, as a
// successor of a process that died gets it.
func (w *world) behindAgain(m *moment, n *node, waiting []flying) action {
	a := w.deliver(m, n, waiting)
	a.label += ", in one batch behind all that it had"
	a.run = func(ctx context.Context) error {
		return n.stepper.Deliver(ctx, began, deliveries(slices.Concat(m.delivered[n.index], waiting))...)
	}
	return a
}

// expand runs everything that can happen at a moment: with every outcome, with a process that dies
// before the commit, and with one that dies behind it. Only what changes anything is returned.
func (w *world) expand(m *moment) ([]step, error) {
	var steps []step
	for _, a := range w.actions(m) {
		if err := w.checkUndos(m, a.take); err != nil {
			return nil, &Counterexample{Fault: err.Error(), Script: a.label}
		}
		next, called, err := w.perform(m, a, choice{})
		if err != nil {
			return nil, &Counterexample{Fault: err.Error(), Script: a.label}
		}
		outcome := a.label + outcomes(called, choice{})
		steps = append(steps, step{label: outcome, next: next, extra: a.extra})
		for _, c := range []crash{{a.label + diesBefore, choice{}, false}, {outcome + diesBehind, choice{}, true}} {
			crashed, err := w.crash(m, a, c)
			if err != nil {
				return nil, err
			}
			steps = append(steps, step{label: c.label, next: crashed, extra: true})
		}
		more, err := w.alternatives(m, a, called)
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	here := w.fingerprint(m)
	for i := range steps {
		steps[i].print = w.fingerprint(steps[i].next)
	}
	return slices.DeleteFunc(steps, func(s step) bool { return s.print == here }), nil
}

// alternatives runs an action with every outcome but the first.
func (w *world) alternatives(m *moment, a action, called []call) ([]step, error) {
	var steps []step
	for _, chosen := range w.choices(m, called, a) {
		next, called, err := w.perform(m, a, chosen)
		if err != nil { // of the start, or of a deadline: what it wrote is undone
			next, err = w.leave(m, a)
		}
		if err != nil {
			return nil, err
		}
		next.fail(chosen)
		label := a.label + outcomes(called, chosen)
		steps = append(steps, step{label: label, next: next, extra: a.extra})
		crashed, err := w.crash(m, a, crash{label + diesBehind, chosen, true})
		if err != nil {
			return nil, err
		}
		crashed.fail(chosen)
		steps = append(steps, step{label: label + diesBehind, next: crashed, extra: true})
	}
	return steps, nil
}

// perform runs an action with a choice. An error is a batch that did not commit.
func (w *world) perform(m *moment, a action, chosen choice) (*moment, []call, error) {
	w.prepare(m, a, chosen)
	if err := a.run(w.ctx); err != nil {
		return nil, w.called, err
	}
	next, err := w.leave(m, a)
	if err == nil {
		next.take(a.node, a.take)
	}
	return next, w.called, err
}

func (w *world) prepare(m *moment, a action, chosen choice) {
	w.enter(m)
	w.choice = chosen
	w.batches++
	a.node.at = nil
}

// crash is a process that dies at its commit: before it, or behind it and before the broker is
// told. What it handled then is delivered again: that is [world.again], at every later moment.
type crash struct {
	label  string
	chosen choice
	landed bool
}

const (
	diesBefore = "; its process dies before the commit"
	diesBehind = "; its process dies after the commit, before the acknowledgement"
)

func (w *world) crash(m *moment, a action, c crash) (*moment, error) {
	w.prepare(m, a, c.chosen)
	a.node.store.FailCommits(1, c.landed)
	if a.run(w.ctx) == nil {
		return nil, fmt.Errorf("skaldtest: %s: its commit was to fail, and there was none", a.label)
	}
	next, err := w.leave(m, a)
	if err == nil && (c.landed || w.config.ackFirst) {
		next.take(a.node, a.take)
	}
	return next, err
}

// choices lists the other outcomes of the calls that an action has made.
func (w *world) choices(m *moment, called []call, a action) []choice {
	var all []choice
	for _, c := range called {
		for _, code := range w.refusals(c) {
			if !c.local && rounds(m) >= exploredRounds && slices.Contains(w.step(c.step).Do.Again, code) {
				continue
			}
			all = append(all, choice{c, refuses + code})
		}
		if a.fails && (w.config.failures == 0 || m.failures < w.config.failures) {
			all = append(all, choice{c, fails})
		}
	}
	return all
}

// refusals lists the codes with which a call may be refused.
func (w *world) refusals(c call) []string {
	if c.local {
		return []string{"refused"}
	}
	s := w.step(c.step)
	if c.action == skald.ActionUndo {
		return s.Undo.Refusals
	}
	return s.Do.Refusals
}

// exploredRounds is how often a saga starts again in one course.
const exploredRounds = 1

// rounds is how often the saga has started again.
func rounds(m *moment) int {
	if len(m.sagas) == 0 {
		return 0
	}
	in := decodeInstance(m.sagas[0])
	return in.Round
}

// outcomes tells how the calls of an action ended.
func outcomes(called []call, chosen choice) string {
	var told []string
	for _, c := range called {
		outcome := lands
		if c == chosen.call {
			outcome = chosen.outcome
		}
		line := c.action + " " + strconv.Quote(c.step) + " " + outcome
		if !slices.Contains(told, line) {
			told = append(told, line)
		}
	}
	if len(told) == 0 {
		return ""
	}
	return ": " + strings.Join(told, ", ")
}
