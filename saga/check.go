package saga

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/lock"
)

// script is a definition with its state's type erased: what the engine runs.
type script struct {
	name    string
	version int
	implied bool // it was registered as another's child
	machine machine.Definition
	// groups has the names of the parallel groups, by number from 1.
	groups []string
	// actions and conditions by step name.
	do, undo map[string]*erased
	when     map[string]func(state []byte) (bool, error)
	// restarts says that an instance may start again, and locksHere that a local step takes a lock or releases
	// one.
	restarts, locksHere bool
	// effects are what steps declare, by step name.
	effects map[string]effects
}

// erased is an action on a state whose type only its closures know.
type erased struct {
	kind             machine.Kind
	channel, command string
	version          int
	txType           reflect.Type
	run              func(env environment) ([]byte, error)
	content          reflect.Type
	signal           func(state, content []byte) ([]byte, error)
	child            *script
	begin            func(state []byte) (key string, child []byte, err error)
	request          func(state []byte) (skald.Message, error)
	reply            func(state []byte, m *skald.Message) ([]byte, error)
	refused          func(state []byte, refusal skald.Refusal) ([]byte, error)
	again            []string
	declared         func(code string) bool
	refusals         []string
	sample           func() any

	locks, unlocks     skald.Resource
	lockKey, unlockKey func(state any) (string, error) // see keyed
	locked             lock.Policy                     // of a do
}

// compile checks a definition and erases its state's type; it returns every fault at once.
func compile[S any](d *Definition[S]) (*script, error) {
	c := assemble(d)
	c.faults = append(c.faults, c.script.raisedEarly()...)
	return c.result()
}

// assemble compiles a definition, without a look at the order of its steps.
func assemble[S any](d *Definition[S]) *compiler[S] {
	c := &compiler[S]{script: &script{
		name: d.Name, version: max(d.Version, 1), do: map[string]*erased{}, undo: map[string]*erased{},
		when: map[string]func([]byte) (bool, error){}, effects: map[string]effects{},
	}}
	if err := skald.CheckName(d.Name); err != nil {
		c.fault("name %w", err)
	}
	if d.Version < 0 {
		c.fault("version %d: at least 1", d.Version)
	}
	for i := range d.Compensatable {
		if s := &d.Compensatable[i]; s.Parallel == nil {
			c.compensatable(s, machine.Step{})
		} else {
			c.group(s)
		}
	}
	if d.Pivot.Name != "" || d.Pivot.Do != nil {
		c.step(&d.Pivot, machine.Pivot)
	}
	for i := range d.Retriable {
		c.step(&d.Retriable[i], machine.Retriable)
	}
	c.deadline(d.Deadline)
	c.unlockedOnce()
	if len(c.script.machine.Steps) == 0 {
		c.fault("no steps: give at least one")
	}
	return c
}

func (c *compiler[S]) result() (*script, error) {
	if err := errors.Join(c.faults...); err != nil {
		return nil, fmt.Errorf("saga %q version %d is refused:\n%w", c.script.name, c.script.version, err)
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

// deadline checks the saga's own deadline.
func (c *compiler[S]) deadline(deadline time.Duration) {
	if deadline < 0 {
		c.fault("deadline %s: not negative", deadline)
	}
	c.script.machine.Deadline = deadline
	for i := range c.script.machine.Steps {
		if s := &c.script.machine.Steps[i]; deadline > 0 && s.Class == machine.Pivot && s.Kind == machine.Call && s.Deadline == 0 {
			c.fault("deadline %s: it may pass while the pivot %q has no answer, which nothing ends: give the pivot a Bar", deadline, s.Name)
		}
	}
}

// group compiles the branches of a parallel group.
func (c *compiler[S]) group(g *Compensatable[S]) {
	c.checkName(g.Name)
	if slices.Contains(c.script.groups, g.Name) {
		c.fault("group %q: two groups have this name", g.Name)
	}
	if g.Do != nil || g.Undo != nil || g.When != nil || g.Deadline != 0 || g.Locked != "" {
		c.fault("group %q: a group has a name and branches only: give Do, Undo, When, Deadline and Locked to its steps", g.Name)
	}
	if len(g.Reads)+len(g.Raises)+len(g.Lowers) > 0 {
		c.fault("group %q: it reads, raises or lowers: say it of the steps of its branches", g.Name)
	}
	if len(g.Parallel) < 2 {
		c.fault("group %q: %d branches: give at least two, or put the steps into the sequence", g.Name, len(g.Parallel))
	}
	c.script.groups = append(c.script.groups, g.Name)
	for i, branch := range g.Parallel {
		if len(branch) == 0 {
			c.fault("group %q: branch %d has no steps: give it one, or remove it", g.Name, i+1)
		}
		for j := range branch {
			if branch[j].Parallel != nil {
				c.fault("group %q: branch %d has a group of its own: make it a Child", g.Name, i+1)
				continue
			}
			c.compensatable(&branch[j], machine.Step{Group: len(c.script.groups), Branch: i + 1})
		}
	}
}

func (c *compiler[S]) compensatable(s *Compensatable[S], at machine.Step) {
	if s.Deadline < 0 {
		c.fault("step %q: deadline %s: not negative", s.Name, s.Deadline)
	}
	at.Name, at.Class, at.Deadline = s.Name, machine.Compensatable, s.Deadline
	do := c.add(at, s.Do, s.When)
	c.locked(s.Name, do, s.Locked)
	if do != nil && do.locks != "" {
		c.checkUnlocked(s.Name, do, s.Undo)
	}
	if do != nil {
		c.unlocksNothing(s.Name, do)
	}
	c.declare(s.Name, effects{s.Reads, s.Raises, s.Lowers})
	if do != nil && do.kind == machine.Local && s.Deadline > 0 {
		c.fault("step %q: Do is local and has a Deadline: its outcome is never unknown; remove it", s.Name)
	}
	if do != nil && do.kind == machine.Wait && s.Deadline <= 0 {
		c.fault("step %q: it waits without a Deadline: until the signal comes, nothing is undone and everybody waits; give one", s.Name)
	}
	if s.Undo == nil || do == nil {
		return
	}
	undo := s.Undo.action()
	c.locksNothing(s.Name+" (undo)", undo, "what goes back must not meet anybody's lock")
	last := &c.script.machine.Steps[len(c.script.machine.Steps)-1]
	last.Undo, last.UndoKind = true, undo.kind
	c.script.undo[s.Name] = c.erase(s.Name+" (undo)", undo)
	c.checkUndo(s.Name, do, undo)
	if s.Deadline > 0 && do.kind == machine.Call && undo.kind == machine.Local {
		c.fault("step %q: Do is a call with a deadline and Undo is local: when the deadline passes, nothing tells whether Do has landed, and a local Undo cannot keep it from landing later; make Undo a call to channel %q", s.Name, do.channel)
	}
}

// checkUndo holds an undo to what makes it safe: it goes where the barrier is, and it is
// built from what was known before Do.
func (c *compiler[S]) checkUndo(step string, do, undo *action[S]) {
	switch {
	case do.kind == machine.Wait:
		c.fault("step %q: a wait has an Undo: it leaves nothing to undo; remove it", step)
	case undo.kind == machine.Wait:
		c.fault("step %q: Undo waits for a signal: a compensation waits for nobody", step)
	case undo.kind == machine.Local:
		return
	case do.kind == machine.Child: // how it ended is always known
	case undo.kind == machine.Child:
		c.fault("step %q: only a child is undone by a child: make Undo what undoes this step alone", step)
	case do.kind == machine.Local:
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
	if s.Bar != 0 && class != machine.Pivot {
		c.fault("step %q: only a pivot has a bar: after the pivot a saga goes forward, however long it takes", s.Name)
	}
	do := c.add(machine.Step{Name: s.Name, Class: class, Deadline: s.Bar}, s.Do, s.When)
	c.locked(s.Name, do, s.Locked)
	if do != nil && class == machine.Retriable {
		c.locksNothing(s.Name, do, "after the pivot a saga goes forward and must not meet anybody's lock")
		if len(do.again) > 0 {
			c.fault("step %q: Again after the pivot: a saga that is decided does not start again; remove it", s.Name)
		}
	}
	c.declare(s.Name, effects{s.Reads, s.Raises, s.Lowers})
	if do != nil && s.Bar > 0 && do.kind == machine.Local {
		c.fault("step %q: a local pivot needs no bar: its outcome is never unknown", s.Name)
	}
	if do != nil && s.Bar <= 0 && do.kind == machine.Wait && class == machine.Pivot {
		c.fault("step %q: the pivot waits without a Bar: until the signal comes, nothing is undone and everybody waits; give one", s.Name)
	}
	if do != nil && class == machine.Retriable && do.refused != nil {
		c.fault("step %q: Refused after the pivot: a refusal there parks the saga and changes no state", s.Name)
	}
}

// add checks what all steps have in common; nil when the step has no usable Do.
func (c *compiler[S]) add(s machine.Step, do Action[S], when func(S) bool) *action[S] {
	c.checkName(s.Name)
	if slices.ContainsFunc(c.script.machine.Steps, func(other machine.Step) bool { return other.Name == s.Name }) {
		c.fault("step %q: two steps have this name", s.Name)
	}
	if do == nil {
		c.fault("step %q: no Do", s.Name)
		return nil
	}
	a := do.action()
	s.Kind, s.When = a.kind, when != nil
	c.script.machine.Steps = append(c.script.machine.Steps, s)
	c.script.do[s.Name] = c.erase(s.Name, a)
	if when != nil {
		c.script.when[s.Name] = func(encoded []byte) (bool, error) {
			state, err := decode[S](encoded)
			return err == nil && when(state), err
		}
	}
	return a
}

func (c *compiler[S]) checkName(name string) {
	if name == "" || len(name) > skald.MaxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		c.fault("step %q: a name of 1 to %d printable ASCII characters", name, skald.MaxName)
	}
}

func (c *compiler[S]) erase(name string, a *action[S]) *erased {
	if a.contract != nil {
		c.fault("step %q: %w", name, a.contract)
	}
	if a.run == nil && a.request == nil && a.signal == nil && a.begin == nil && a.contract == nil {
		c.fault("step %q: an action that does nothing: make it with Local, Call, Wait or Child", name)
	}
	if a.child != nil {
		c.checkChild(name, a.child)
	}
	e := &erased{
		again: slices.Clone(a.again), locks: a.locks, unlocks: a.unlocks, lockKey: keyed(a.lockKey), unlockKey: keyed(a.unlockKey),
		kind: a.kind, channel: a.channel, command: a.command, version: a.version, txType: a.txType,
		content: a.content, child: a.child, declared: a.declared, refusals: a.refusals, sample: a.sample,
	}
	if a.run != nil {
		e.run = func(env environment) ([]byte, error) {
			return changed(env.state, func(state *S) error { return a.run(env.ctx, env.tx, state) })
		}
	}
	if a.request != nil {
		e.request = func(encoded []byte) (skald.Message, error) {
			state, err := decode[S](encoded)
			if err != nil {
				return skald.Message{}, err
			}
			return a.request(state)
		}
	}
	if a.signal != nil {
		e.signal = func(encoded, content []byte) ([]byte, error) { return signalled(a, encoded, content) }
	}
	if a.begin != nil {
		e.begin = func(encoded []byte) (string, []byte, error) {
			state, err := decode[S](encoded)
			if err != nil {
				return "", nil, err
			}
			return a.begin(state)
		}
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

// signalled takes a signal into the state. What it recorded before it refused stays.
func signalled[S any](a *action[S], encoded, content []byte) ([]byte, error) {
	var refusal *skald.Refusal
	next, err := changed(encoded, func(state *S) error {
		err := a.signal(state, content)
		if said, refused := skald.AsRefusal(err); refused {
			refusal, err = said, nil
		}
		return err
	})
	if err == nil && refusal != nil {
		err = refusal
	}
	return next, err
}

// checkChild refuses a saga among its own descendants.
func (c *compiler[S]) checkChild(step string, child *script) {
	for _, s := range child.family() {
		if s.name == c.script.name {
			c.fault("step %q: saga %q would start itself, as a child of %q, without an end: give one of them another name, or make one saga of them", step, s.name, child.name)
			return
		}
	}
}

// family lists a script and those of all its children.
func (s *script) family() []*script {
	all := []*script{s}
	for i := range s.machine.Steps {
		for _, actions := range []map[string]*erased{s.do, s.undo} {
			if a := actions[s.machine.Steps[i].Name]; a != nil && a.child != nil {
				all = append(all, a.child.family()...)
			}
		}
	}
	return all
}

// fingerprint changes whenever the definition changes in a way that a running instance
// would notice.
func (s *script) fingerprint() string {
	var b strings.Builder
	if s.machine.Deadline > 0 {
		fmt.Fprintf(&b, "deadline %s\n", s.machine.Deadline)
	}
	for i := range s.machine.Steps {
		step := &s.machine.Steps[i]
		fmt.Fprintf(&b, "%q %d %s %s", step.Name, step.Class, step.Deadline, s.do[step.Name].identity())
		if step.Undo {
			fmt.Fprintf(&b, " undo %s", s.undo[step.Name].identity())
		}
		if step.Group > 0 {
			fmt.Fprintf(&b, " branch %d of %d", step.Branch, step.Group)
		}
		if step.When {
			b.WriteString(" when")
		}
		if do := s.do[step.Name]; do.locked != "" || len(do.again) > 0 {
			fmt.Fprintf(&b, " locked %s again %q", do.locked, do.again)
		}
		b.WriteByte('\n')
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

func (e *erased) identity() string {
	identity := e.action()
	if e.locks != "" {
		identity += fmt.Sprintf(" locks %s", e.locks)
	}
	if e.unlocks != "" {
		identity += fmt.Sprintf(" unlocks %s", e.unlocks)
	}
	return identity
}

func (e *erased) action() string {
	switch e.kind {
	case machine.Local:
		return "local"
	case machine.Wait:
		return "wait"
	case machine.Child:
		return fmt.Sprintf("child %s v%d", e.child.name, e.child.version)
	default:
		return fmt.Sprintf("%s v%d to %s", e.command, e.version, e.channel)
	}
}
