// Package machine is the saga state machine: pure. Step gets a definition, an instance and
// an event, and returns the new instance and the effects to carry out. It does no I/O and
// knows no clock and no randomness; the moment comes with the event.
package machine

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Class of a step: where it stands relative to the pivot.
type Class uint8

// The classes, in the order in which they run.
const (
	Compensatable Class = iota
	Pivot
	Retriable
)

// Definition is what the machine needs to know of a saga.
type Definition struct{ Steps []Step }

// Step is one step of a definition.
type Step struct {
	Name  string
	Class Class
	// Local steps run in the orchestrator's own transaction, others are commands.
	Local bool
	// Undo says whether there is a compensation, and UndoLocal where it runs.
	Undo, UndoLocal bool
	// Deadline for Do's answer: of a compensatable step until it is undone, of a pivot until it
	// is barred. Zero means none.
	Deadline time.Duration
}

// Barrier reports whether the participant must record the step's attempts, because an undo
// or a bar may come after, before or together with the do.
func (s *Step) Barrier() bool {
	return !s.Local && (s.Undo && !s.UndoLocal || s.Class == Pivot && s.Deadline > 0)
}

// Status of an instance.
type Status string

// The statuses.
const (
	Running      Status = "running"
	Compensating Status = "compensating"
	Parked       Status = "parked"
	Completed    Status = "completed"
	Compensated  Status = "compensated"
)

// Action says what is done with a step.
type Action string

// The actions.
const (
	Do   Action = "do"
	Undo Action = "undo"
	Bar  Action = "bar"
)

// StepState is how far a started step has come.
type StepState string

// The states of a step.
const (
	Sent    StepState = "sent"    // no answer yet
	Done    StepState = "done"    // landed
	Refused StepState = "refused" // did not land
	Unknown StepState = "unknown" // no answer within the deadline: may have landed
	Undoing StepState = "undoing" // its undo has no answer yet
	Undone  StepState = "undone"
	Stuck   StepState = "stuck" // its undo was refused
)

// Progress is one started step of an instance. Steps are known by name, never by index.
type Progress struct {
	Step  string    `json:"step"`
	State StepState `json:"state"`
	// Attempts counts what was sent for each action.
	Do   int `json:"do,omitempty"`
	Undo int `json:"undo,omitempty"`
	Bar  int `json:"bar,omitempty"`
}

// Wait is the one message whose answer moves the instance on.
type Wait struct {
	Step    string `json:"step"`
	Action  Action `json:"action"`
	Attempt int    `json:"attempt"`
}

// Instance is a saga under way. The zero Instance has not started.
type Instance struct {
	Status Status     `json:"-"`
	Steps  []Progress `json:"steps,omitempty"`
	// Wait is nil when nothing is awaited: the instance has ended or is parked.
	Wait *Wait `json:"wait,omitempty"`
	// Backward says that a parked instance was compensating.
	Backward bool `json:"backward,omitempty"`
	// Stuck is what a parked instance stands at, to be tried again on Resume.
	Stuck *Wait `json:"stuck,omitempty"`
	// Reason says why it was refused or parked.
	Reason string `json:"-"`
	// Refusal is why the instance compensates; it outlives the reason of being parked.
	Refusal string `json:"refusal,omitempty"`
	// DueAt is when the awaited answer's deadline passes; zero means none.
	DueAt time.Time `json:"-"`
	// Entries counts the history written so far.
	Entries int `json:"entries"`
}

// Event is what happens to an instance.
type Event interface{ event() }

// Start begins an instance.
type Start struct{}

// Answer is a participant's reply, or the result of a local step.
type Answer struct {
	Step    string
	Action  Action
	Attempt int
	// Refused with Detail; otherwise the step landed.
	Refused bool
	Detail  string
}

// Timeout says that DueAt has passed.
type Timeout struct{}

// Resume is an operator's word to try again what the instance is parked at.
type Resume struct{ Detail string }

func (Start) event()   {}
func (Answer) event()  {}
func (Timeout) event() {}
func (Resume) event()  {}

// Effect is what the engine has to carry out, in order.
type Effect interface{ effect() }

// Perform runs a step's action: a command is sent, or a local function is run and its
// result fed back as an Answer before anything else.
type Perform struct {
	Step    string
	Action  Action
	Attempt int
	// DoAttempt is the attempt at Do that an undo or a bar is about.
	DoAttempt int
	Local     bool
	// Barrier says that the participant must record the attempt.
	Barrier bool
}

// Record appends a line to the history.
type Record struct {
	Number             int
	Step, What, Detail string
}

func (Perform) effect() {}
func (Record) effect()  {}

// What a history line says.
const (
	WhatStarted   = "started"
	WhatSent      = "sent"
	WhatDone      = "done"
	WhatRefused   = "refused"
	WhatTimedOut  = "timed out"
	WhatBarSent   = "bar sent"
	WhatUndoSent  = "undo sent"
	WhatUndone    = "undone"
	WhatUndoFail  = "undo refused"
	WhatParked    = "parked"
	WhatResumed   = "resumed"
	WhatCompleted = "completed"
	WhatReversed  = "compensated"
	WhatIgnored   = "reply ignored"
)

// ErrUnknownAnswer says that an answer names a step or attempt that the instance never
// sent: it belongs to no saga of ours, or to another definition.
var ErrUnknownAnswer = errors.New("the saga never asked for this")

// ErrNotParked is the answer to a Resume of an instance that is not parked.
var ErrNotParked = errors.New("the saga is not parked")

// Counts reports whether an answer is the one that the instance waits for. While a pivot is
// being barred, its own late answer counts too: the participant's barrier lets only one of the
// two be true.
func (in *Instance) Counts(a Answer) bool {
	w := in.Wait
	if w == nil || w.Step != a.Step {
		return false
	}
	if w.Action == Bar && a.Action == Do {
		p := in.progress(a.Step)
		return p != nil && p.Do == a.Attempt
	}
	return w.Action == a.Action && w.Attempt == a.Attempt
}

// Apply steps an instance. The instance given is not changed. An error means that the event
// does not fit, and nothing happened.
func Apply(d *Definition, in Instance, event Event, now time.Time) (Instance, []Effect, error) {
	r := run{definition: d, in: in, now: now}
	r.in.Steps = slices.Clone(in.Steps)
	err := r.apply(event)
	if err != nil {
		return in, nil, err
	}
	return r.in, r.effects, nil
}

type run struct {
	definition *Definition
	in         Instance
	now        time.Time
	effects    []Effect
}

func (r *run) apply(event Event) error {
	switch e := event.(type) {
	case Start:
		if r.in.Status != "" {
			return fmt.Errorf("started already: %s", r.in.Status)
		}
		r.in.Status = Running
		r.record("", WhatStarted, "")
		r.forward()
		return nil
	case Answer:
		return r.answer(e)
	case Timeout:
		r.timeout()
		return nil
	case Resume:
		return r.resume(e)
	default:
		return fmt.Errorf("unknown event %T", event)
	}
}

func (r *run) answer(a Answer) error {
	if !r.in.Counts(a) {
		return r.ignore(a)
	}
	r.in.Wait, r.in.DueAt = nil, time.Time{}
	p := r.in.progress(a.Step)
	switch {
	case a.Action == Undo && a.Refused:
		p.State = Stuck
		r.record(a.Step, WhatUndoFail, a.Detail)
		r.park(Wait{a.Step, Undo, a.Attempt}, "compensation stuck: "+a.Detail)
	case a.Action == Undo:
		p.State = Undone
		r.record(a.Step, WhatUndone, "")
		r.backward()
	case a.Refused:
		p.State = Refused
		r.record(a.Step, WhatRefused, a.Detail)
		r.refuse(a)
	default:
		p.State = Done
		r.record(a.Step, WhatDone, "")
		r.forward()
	}
	return nil
}

// refuse handles the refusal of a do, or of a pivot by its bar.
func (r *run) refuse(a Answer) {
	if r.step(a.Step).Class == Retriable {
		r.park(Wait{a.Step, Do, a.Attempt}, "refused after the pivot: "+a.Detail)
		return
	}
	r.compensate(a.Detail)
}

func (r *run) compensate(reason string) {
	r.in.Status, r.in.Reason, r.in.Refusal = Compensating, reason, reason
	r.backward()
}

// ignore notes an answer that comes late or twice, and refuses one that was never asked for.
func (r *run) ignore(a Answer) error {
	p := r.in.progress(a.Step)
	if p == nil || a.Attempt < 1 || a.Attempt > p.attempts(a.Action) {
		return fmt.Errorf("%w: %s of step %q, attempt %d", ErrUnknownAnswer, a.Action, a.Step, a.Attempt)
	}
	verdict := "done"
	if a.Refused {
		verdict = "refused: " + a.Detail
	}
	r.record(a.Step, WhatIgnored, fmt.Sprintf("%s, attempt %d: %s", a.Action, a.Attempt, verdict))
	return nil
}

func (r *run) timeout() {
	w := r.in.Wait
	if w == nil || r.in.DueAt.IsZero() || r.now.Before(r.in.DueAt) {
		return
	}
	r.in.DueAt = time.Time{}
	p := r.in.progress(w.Step)
	if r.step(w.Step).Class == Pivot {
		p.Bar++
		r.record(w.Step, WhatBarSent, "no answer within the deadline")
		r.perform(Perform{Step: w.Step, Action: Bar, Attempt: p.Bar, DoAttempt: p.Do, Barrier: true})
		return
	}
	p.State = Unknown
	r.in.Wait = nil
	r.record(w.Step, WhatTimedOut, "")
	r.compensate(fmt.Sprintf("no answer from step %q within its deadline", w.Step))
}

func (r *run) resume(e Resume) error {
	if r.in.Status != Parked || r.in.Stuck == nil {
		return ErrNotParked
	}
	stuck := *r.in.Stuck
	r.in.Stuck = nil
	r.in.Status, r.in.Reason = Running, r.in.Refusal
	if r.in.Backward {
		r.in.Status, r.in.Backward = Compensating, false
	}
	r.record(stuck.Step, WhatResumed, e.Detail)
	if stuck.Action == Undo {
		r.undo(r.in.progress(stuck.Step))
	} else {
		r.do(r.step(stuck.Step))
	}
	return nil
}

// forward starts the first step that has not started, or completes.
func (r *run) forward() {
	for i := range r.definition.Steps {
		if r.in.progress(r.definition.Steps[i].Name) == nil {
			r.do(&r.definition.Steps[i])
			return
		}
	}
	r.in.Status, r.in.Reason = Completed, ""
	r.record("", WhatCompleted, "")
}

func (r *run) do(s *Step) {
	p := r.in.progress(s.Name)
	if p == nil {
		r.in.Steps = append(r.in.Steps, Progress{Step: s.Name})
		p = &r.in.Steps[len(r.in.Steps)-1]
	}
	p.State = Sent
	p.Do++
	if !s.Local {
		r.record(s.Name, WhatSent, "")
	}
	if s.Deadline > 0 && !s.Local {
		r.in.DueAt = r.now.Add(s.Deadline)
	}
	r.perform(Perform{Step: s.Name, Action: Do, Attempt: p.Do, DoAttempt: p.Do, Local: s.Local, Barrier: s.Barrier()})
}

// backward undoes the last step that landed or may have, or ends when there is none.
func (r *run) backward() {
	for i := len(r.in.Steps) - 1; i >= 0; i-- {
		p := &r.in.Steps[i]
		if p.State != Done && p.State != Unknown {
			continue
		}
		if r.step(p.Step).Undo {
			r.undo(p)
			return
		}
	}
	r.in.Status = Compensated
	r.record("", WhatReversed, r.in.Reason)
}

func (r *run) undo(p *Progress) {
	s := r.step(p.Step)
	p.State = Undoing
	p.Undo++
	if !s.UndoLocal {
		r.record(s.Name, WhatUndoSent, "")
	}
	r.perform(Perform{Step: s.Name, Action: Undo, Attempt: p.Undo, DoAttempt: p.Do, Local: s.UndoLocal, Barrier: s.Barrier()})
}

func (r *run) park(stuck Wait, reason string) {
	r.in.Backward = r.in.Status == Compensating
	r.in.Status, r.in.Reason, r.in.Stuck = Parked, reason, &stuck
	r.record(stuck.Step, WhatParked, reason)
}

func (r *run) perform(p Perform) {
	r.in.Wait = &Wait{p.Step, p.Action, p.Attempt}
	r.effects = append(r.effects, p)
}

func (r *run) record(step, what, detail string) {
	r.in.Entries++
	r.effects = append(r.effects, Record{r.in.Entries, step, what, detail})
}

// step finds a step of the definition; an instance only ever names steps of its own version.
func (r *run) step(name string) *Step {
	for i := range r.definition.Steps {
		if r.definition.Steps[i].Name == name {
			return &r.definition.Steps[i]
		}
	}
	panic(fmt.Sprintf("machine: the definition has no step %q: it was changed under its version number", name))
}

func (in *Instance) progress(step string) *Progress {
	for i := range in.Steps {
		if in.Steps[i].Step == step {
			return &in.Steps[i]
		}
	}
	return nil
}

func (p *Progress) attempts(a Action) int {
	switch a {
	case Do:
		return p.Do
	case Undo:
		return p.Undo
	case Bar:
		return p.Bar
	default:
		return 0
	}
}
