package saga

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
)

// script is a definition with its state's type erased: what the engine runs.
type script struct {
	name    string
	version int
	machine machine.Definition
	// actions by step name.
	do, undo map[string]*erased
}

// erased is an action on a state whose type only its closures know.
type erased struct {
	channel, command string
	version          int
	txType           reflect.Type
	run              func(env environment) ([]byte, error)
	request          func(state []byte) (skald.Message, error)
	reply            func(state []byte, m *skald.Message) ([]byte, error)
	refused          func(state []byte, refusal skald.Refusal) ([]byte, error)
	declared         func(code string) bool
	refusals         []string
	sample           func() any
}

// compile checks a definition and erases its state's type; it returns every fault at once.
func compile[S any](d *Definition[S]) (*script, error) {
	c := compiler[S]{script: &script{
		name: d.Name, version: max(d.Version, 1), do: map[string]*erased{}, undo: map[string]*erased{},
	}}
	if err := skald.CheckName(d.Name); err != nil {
		c.fault("name %w", err)
	}
	if d.Version < 0 {
		c.fault("version %d: at least 1", d.Version)
	}
	for i := range d.Compensatable {
		c.compensatable(&d.Compensatable[i])
	}
	if d.Pivot.Name != "" || d.Pivot.Do != nil {
		c.step(&d.Pivot, machine.Pivot)
	}
	for i := range d.Retriable {
		c.step(&d.Retriable[i], machine.Retriable)
	}
	if len(c.script.machine.Steps) == 0 {
		c.fault("no steps: give at least one")
	}
	if err := errors.Join(c.faults...); err != nil {
		return nil, fmt.Errorf("saga %q version %d is refused:\n%w", d.Name, max(d.Version, 1), err)
	}
	return c.script, nil
}

type compiler[S any] struct {
	script *script
	faults []error
}

func (c *compiler[S]) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(format, args...))
}

func (c *compiler[S]) compensatable(s *Compensatable[S]) {
	if s.Deadline < 0 {
		c.fault("step %q: deadline %s: not negative", s.Name, s.Deadline)
	}
	do := c.add(s.Name, s.Do, machine.Step{Name: s.Name, Class: machine.Compensatable, Deadline: s.Deadline})
	if s.Undo == nil || do == nil {
		return
	}
	undo := s.Undo.action()
	last := &c.script.machine.Steps[len(c.script.machine.Steps)-1]
	last.Undo, last.UndoLocal = true, undo.local()
	c.script.undo[s.Name] = c.erase(s.Name+" (undo)", undo)
	c.checkUndo(s.Name, do, undo)
	if s.Deadline > 0 && !do.local() && undo.local() {
		c.fault("step %q: Do is a call with a deadline and Undo is local: when the deadline passes, nothing tells whether Do has landed, and a local Undo cannot keep it from landing later; make Undo a call to channel %q", s.Name, do.channel)
	}
}

// checkUndo holds an undo to what makes it safe: it goes where the barrier is, and it is
// built from what was known before Do.
func (c *compiler[S]) checkUndo(step string, do, undo *action[S]) {
	if undo.local() {
		return
	}
	switch {
	case do.local():
		c.fault("step %q: Do is local and Undo calls channel %q: make it two steps, so that each participant undoes its own part", step, undo.channel)
	case do.channel != undo.channel:
		c.fault("step %q: Do goes to channel %q and Undo to %q: the barrier that keeps a late Do from landing after Undo is the participant's, so both must go to one", step, do.channel, undo.channel)
	}
	if undo.reply != nil || undo.refused != nil {
		c.fault("step %q: Undo records its reply: nothing may depend on a compensation's answer; remove Then and Refused", step)
	}
	if do.probe == nil {
		return
	}
	if err := undoIgnoresReply(do, undo); err != nil {
		c.fault("step %q: %w", step, err)
	}
}

// undoIgnoresReply builds the undo's command from an empty state, and again after the reply
// of Do was recorded, and compares.
func undoIgnoresReply[S any](do, undo *action[S]) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = nil // state functions may insist on a state that a running saga has; exploration reaches those
		}
	}()
	var state S
	before, err := undo.request(state)
	if err != nil {
		return fmt.Errorf("build Undo: %w", err)
	}
	do.probe(&state)
	after, err := undo.request(state)
	if err != nil {
		return fmt.Errorf("build Undo: %w", err)
	}
	if string(before.Payload) != string(after.Payload) || before.Key != after.Key {
		return fmt.Errorf("the command of Undo is built from Do's reply (%s before it, %s after): the reply may be lost although Do landed; draw what Undo needs before Do", before.Payload, after.Payload)
	}
	return nil
}

func (c *compiler[S]) step(s *Step[S], class machine.Class) {
	if s.Bar < 0 {
		c.fault("step %q: bar %s: not negative", s.Name, s.Bar)
	}
	if s.Bar > 0 && class != machine.Pivot {
		c.fault("step %q: only a pivot has a bar: after the pivot a saga goes forward, however long it takes", s.Name)
	}
	do := c.add(s.Name, s.Do, machine.Step{Name: s.Name, Class: class, Deadline: s.Bar})
	if do != nil && s.Bar > 0 && do.local() {
		c.fault("step %q: a local pivot needs no bar: its outcome is never unknown", s.Name)
	}
	if do != nil && class == machine.Retriable && do.refused != nil {
		c.fault("step %q: Refused after the pivot: a refusal there parks the saga and changes no state", s.Name)
	}
}

// add checks what all steps have in common; nil when the step has no usable Do.
func (c *compiler[S]) add(name string, do Action[S], s machine.Step) *action[S] {
	if name == "" || len(name) > skald.MaxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		c.fault("step %q: a name of 1 to %d printable ASCII characters", name, skald.MaxName)
	}
	if slices.ContainsFunc(c.script.machine.Steps, func(other machine.Step) bool { return other.Name == name }) {
		c.fault("step %q: two steps have this name", name)
	}
	if do == nil {
		c.fault("step %q: no Do", name)
		return nil
	}
	a := do.action()
	s.Local = a.local()
	c.script.machine.Steps = append(c.script.machine.Steps, s)
	c.script.do[name] = c.erase(name, a)
	return a
}

func (c *compiler[S]) erase(name string, a *action[S]) *erased {
	if a.contract != nil {
		c.fault("step %q: %w", name, a.contract)
	}
	if a.run == nil && a.request == nil {
		c.fault("step %q: an action that does nothing: make it with Local or Call", name)
	}
	e := &erased{channel: a.channel, command: a.command, version: a.version, txType: a.txType, declared: a.declared, refusals: a.refusals, sample: a.sample}
	if a.local() {
		e.run = func(env environment) ([]byte, error) {
			return changed(env.state, func(state *S) error { return a.run(env.ctx, env.tx, state) })
		}
		return e
	}
	e.request = func(encoded []byte) (skald.Message, error) {
		state, err := decode[S](encoded)
		if err != nil {
			return skald.Message{}, err
		}
		return a.request(state)
	}
	if a.reply != nil {
		e.reply = func(encoded []byte, m *skald.Message) ([]byte, error) {
			return changed(encoded, func(state *S) error { return a.reply(state, m) })
		}
	}
	if a.refused != nil {
		e.refused = func(encoded []byte, refusal skald.Refusal) ([]byte, error) {
			return changed(encoded, func(state *S) error { a.refused(state, refusal); return nil })
		}
	}
	return e
}

// fingerprint changes whenever the definition changes in a way that a running instance
// would notice.
func (s *script) fingerprint() string {
	var b strings.Builder
	for i := range s.machine.Steps {
		step := &s.machine.Steps[i]
		fmt.Fprintf(&b, "%q %d %s %s", step.Name, step.Class, step.Deadline, s.do[step.Name].identity())
		if step.Undo {
			fmt.Fprintf(&b, " undo %s", s.undo[step.Name].identity())
		}
		b.WriteByte('\n')
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

func (e *erased) identity() string {
	if e.run != nil {
		return "local"
	}
	return fmt.Sprintf("%s v%d to %s", e.command, e.version, e.channel)
}
