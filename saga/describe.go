package saga

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/lock"
)

// Description is a definition without its state's type: what draws, compares or explores one
// works on.
type Description struct {
	Name    string
	Version int
	// Steps in the order in which they run; those of a branch stand together.
	Steps []DescribedStep
	// Deadline of the whole saga. Zero means none.
	Deadline time.Duration
	// Children are the sagas that steps of this one start, and theirs, each once.
	Children []*Description

	script *script
}

// DescribedStep is one step of a description.
type DescribedStep struct {
	Name string
	// Class is compensatable, pivot or retriable.
	Class string
	Do    DescribedAction
	// Undo is nil when the step has none.
	Undo *DescribedAction
	// Deadline for the answer of Do; a pivot's is its bar. Zero means none.
	Deadline time.Duration
	// Locked is what becomes of the step at a lock that is another's; empty when it takes none.
	Locked lock.Policy
	// Conditional says that the step has a condition.
	Conditional bool
	// Group is the name of the parallel group that the step belongs to, and Branch the number of its
	// branch there, from 1. Empty and zero mean none.
	Group  string
	Branch int
	// Reads, Raises and Lowers are what the step, and its child, declare.
	Reads, Raises, Lowers []skald.Resource
}

// The classes of a step.
const (
	ClassCompensatable = "compensatable"
	ClassPivot         = "pivot"
	ClassRetriable     = "retriable"
)

// DescribedAction is what a step does: something local, a wait, a child, or a command.
type DescribedAction struct {
	Local bool
	// Wait says that the step waits for a signal, and Content is an empty one.
	Wait    bool
	Content any
	// Child is the name of the saga that the step starts; empty when there is none.
	Child string
	// Of a command: its name, version and channel, the codes with which it may be refused, and a
	// sample of the reply's content, with no field at its zero value.
	Command  string
	Version  int
	Channel  string
	Refusals []string
	Reply    json.RawMessage
	// Again are those of the codes after which the saga starts again.
	Again []string
	// Locks and Unlocks are the resources of which it takes and releases the semantic lock; empty for none.
	Locks, Unlocks skald.Resource
}

// Describe checks a definition as [Register] does, and describes it.
func Describe[S any](definition Definition[S]) (*Description, error) {
	s, err := compile(&definition)
	if err != nil {
		return nil, err
	}
	return s.describe()
}

func (s *script) describe() (*Description, error) {
	d := &Description{Name: s.name, Version: s.version, Deadline: s.machine.Deadline, script: s}
	for i := range s.machine.Steps {
		step := &s.machine.Steps[i]
		described := DescribedStep{
			Name: step.Name, Class: className(step.Class), Deadline: step.Deadline, Conditional: step.When, Branch: step.Branch,
			Locked: s.do[step.Name].locked,
		}
		if step.Group > 0 {
			described.Group = s.groups[step.Group-1]
		}
		declared := s.effects[step.Name]
		described.Reads, described.Raises, described.Lowers = slices.Clone(declared.reads), slices.Clone(declared.raises), slices.Clone(declared.lowers)
		var err error
		if described.Do, err = s.do[step.Name].describe(); err != nil {
			return nil, fmt.Errorf("saga %q: step %q: %w", s.name, step.Name, err)
		}
		if step.Undo {
			undo, err := s.undo[step.Name].describe()
			if err != nil {
				return nil, fmt.Errorf("saga %q: undo of step %q: %w", s.name, step.Name, err)
			}
			described.Undo = &undo
		}
		d.Steps = append(d.Steps, described)
	}
	return d, s.describeChildren(d)
}

func (s *script) describeChildren(d *Description) error {
	for _, child := range s.family()[1:] {
		if slices.ContainsFunc(d.Children, func(c *Description) bool { return c.Name == child.name && c.Version == child.version }) {
			continue
		}
		described, err := child.describe()
		if err != nil {
			return err
		}
		d.Children = append(d.Children, described)
	}
	return nil
}

func className(c machine.Class) string {
	switch c {
	case machine.Compensatable:
		return ClassCompensatable
	case machine.Pivot:
		return ClassPivot
	default:
		return ClassRetriable
	}
}

func (e *erased) describe() (DescribedAction, error) {
	switch e.kind {
	case machine.Local:
		return DescribedAction{Local: true, Locks: e.locks, Unlocks: e.unlocks}, nil
	case machine.Wait:
		return DescribedAction{Wait: true, Content: reflect.Zero(e.content).Interface()}, nil
	case machine.Child:
		return DescribedAction{Child: e.child.name, Version: e.child.version}, nil
	case machine.Call:
	}
	reply, err := json.Marshal(e.sample())
	if err != nil {
		return DescribedAction{}, fmt.Errorf("sample of its reply: %w", err)
	}
	return DescribedAction{
		Command: e.command, Version: e.version, Channel: e.channel, Refusals: slices.Clone(e.refusals), Reply: reply,
		Again: slices.Clone(e.again), Locks: e.locks, Unlocks: e.unlocks,
	}, nil
}

// UndoBeside builds the undo of a step from a state, and again from the same state after the
// step's reply was recorded in it. The two must be the same: the reply may be lost although the
// step landed. It must be called only for a step whose Undo is a command.
func (d *Description) UndoBeside(step string, state []byte, reply *skald.Message) (without, with skald.Message, err error) {
	undo, do := d.script.undo[step], d.script.do[step]
	if without, err = undo.request(state); err != nil {
		return without, with, err
	}
	if do.reply != nil {
		if state, err = do.reply(state, reply); err != nil {
			return without, with, err
		}
	}
	with, err = undo.request(state)
	return without, with, err
}

// Descriptions describe what is registered, children included, by name and version.
func (e *Engine) Descriptions() ([]*Description, error) {
	var all []*Description
	for _, v := range e.Versions() {
		if s := e.scripts[v.Name][v.Number]; s != nil {
			d, err := s.describe()
			if err != nil {
				return nil, err
			}
			all = append(all, d)
		}
	}
	return all, nil
}

// LocalCall is a local action that the engine is about to run.
type LocalCall struct {
	Saga, Step string
	Undo       bool
	// ID of the instance, and how often it has started again.
	ID    skald.ID
	Round int
	// Run runs it; nil when it takes another type of transaction than the engine's store has.
	Run func() error
}

// RegisterAround registers a definition as [Register] does, but calls around in place of each
// local action: a test runs a definition without its database, and counts, refuses or fails
// what is local.
func RegisterAround[S any](host Host, definition Definition[S], around func(ctx context.Context, tx skald.Tx, call LocalCall) error) *Saga[S] {
	e := host.SagaEngine()
	s, err := compile(&definition)
	if err != nil {
		e.faults = append(e.faults, err)
		return newHandle[S](e, definition.Name, nil)
	}
	s = s.surrounded(e, around)
	e.register(s)
	return newHandle[S](e, s.name, map[int]*script{s.version: s})
}

// Watch makes an engine one for tests that put its database back and forth: it keeps no instance in
// memory, and calls around in place of each local action of what is registered from now on, as
// [RegisterAround] does.
func (e *Engine) Watch(around func(ctx context.Context, tx skald.Tx, call LocalCall) error) {
	e.around = around
	e.cache.limit, e.courses.limit = 0, 0
}

// surrounded is a copy of a script whose local actions are called by around.
func (s *script) surrounded(e *Engine, around func(context.Context, skald.Tx, LocalCall) error) *script {
	s = s.own()
	for _, member := range s.family() {
		for step, action := range member.do {
			action.surround(e, LocalCall{Saga: member.name, Step: step}, around)
		}
		for step, action := range member.undo {
			action.surround(e, LocalCall{Saga: member.name, Step: step, Undo: true}, around)
		}
	}
	return s
}

// own copies a script and its children's, which the definition's other registrations have too.
func (s *script) own() *script {
	c := *s
	c.do, c.undo = own(s.do), own(s.undo)
	return &c
}

func own(actions map[string]*erased) map[string]*erased {
	copies := make(map[string]*erased, len(actions))
	for step, action := range actions {
		c := *action
		if c.child != nil {
			c.child = c.child.own()
		}
		copies[step] = &c
	}
	return copies
}

func (e *erased) surround(engine *Engine, call LocalCall, around func(context.Context, skald.Tx, LocalCall) error) {
	if e.kind != machine.Local {
		return
	}
	run, typed := e.run, engine.TxType.AssignableTo(e.txType)
	e.txType = engine.TxType
	e.run = func(env environment) ([]byte, error) {
		state, call := env.state, call
		call.ID, call.Round = env.id, env.round
		if typed {
			call.Run = func() (err error) {
				next, err := run(env)
				if err == nil {
					state = next
				}
				return err
			}
		}
		err := around(env.ctx, env.tx, call)
		return state, err
	}
}
