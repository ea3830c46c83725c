// Package machine is the saga state machine: pure. [Apply] gets a definition, an instance and
// an event, and returns the new instance and the effects to carry out. It does no I/O and
// knows no clock and no randomness; the moment comes with the event.
package machine

import (
	"slices"
	"strings"
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

// Kind of a step's action: who carries it out.
type Kind uint8

// The kinds.
const (
	Call  Kind = iota // a command to a participant
	Local             // the orchestrator's own transaction
	Wait              // nobody here: a signal comes from outside
	Child             // another saga
)

// Definition is what the machine needs to know of a saga.
type Definition struct {
	Steps []Step
	// Deadline from the start until the pivot is decided. Zero means none.
	Deadline time.Duration
}

// Step is one step of a definition.
type Step struct {
	Name  string
	Class Class
	Kind  Kind
	// Group is the number of the parallel group that the step belongs to, from 1, and Branch that of its
	// branch. The steps of a group stand together, and so do those of a branch. Zero means none.
	Group, Branch int
	// When says that the step has a condition: it is asked when the step's turn comes.
	When bool
	// Undo says whether there is a compensation, and UndoKind who carries it out.
	Undo     bool
	UndoKind Kind
	// Deadline for Do's answer: of a compensatable step until it is undone, of a pivot until it
	// is barred. Zero means none.
	Deadline time.Duration
}

// Barrier reports whether the participant must record the step's attempts, because an undo
// or a bar may come after, before or together with the do.
func (s *Step) Barrier() bool {
	return s.Kind == Call && (s.Undo && s.UndoKind == Call || s.Class == Pivot && s.Deadline > 0)
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

// Ended reports whether nothing more can happen.
func (s Status) Ended() bool { return s == Completed || s == Compensated }

// Action says what is done with a step.
type Action string

// The actions. The bar of a child is the word to cancel it.
const (
	Do   Action = "do"
	Undo Action = "undo"
	Bar  Action = "bar"
	// Reserve takes a lock before the saga starts again.
	Reserve Action = "reserve"
)

// StepState is how far a step has come that was started, or that was told something before.
type StepState string

// The states of a step.
const (
	Sent    StepState = "sent"    // no answer yet
	Queued  StepState = "queued"  // a local step that waits for a lock, before it runs
	Done    StepState = "done"    // landed
	Refused StepState = "refused" // did not land
	Skipped StepState = "skipped" // its condition did not hold
	Barring StepState = "barring" // no answer yet, and its bar has none either
	Unknown StepState = "unknown" // no answer, and none is waited for any more: may have landed
	Undoing StepState = "undoing" // its undo has no answer yet
	Undone  StepState = "undone"
	Stuck   StepState = "stuck" // its undo was refused

	// Of a wait whose signal came before its turn.
	Given    StepState = "given"
	Declined StepState = "declined"
)

// awaited reports whether an answer moves the step on.
func (s StepState) awaited() bool { return s == Sent || s == Queued || s == Barring || s == Undoing }

// Progress is one step of an instance. Steps are known by name, never by index.
type Progress struct {
	Step  string    `json:"step"`
	State StepState `json:"state"`
	// Attempts counts what was sent for each action.
	Do   int `json:"do,omitempty"`
	Undo int `json:"undo,omitempty"`
	Bar  int `json:"bar,omitempty"`
	// Landed says of a step that is undone that its do was answered.
	Landed bool `json:"landed,omitempty"`
	// DueAt is when the deadline of a sent step passes; zero means none.
	DueAt time.Time `json:"dueAt,omitzero"`
	// Detail is why a wait was declined before its turn.
	Detail string `json:"detail,omitempty"`
}

// Instance is a saga under way. The zero Instance has not started.
type Instance struct {
	Status Status     `json:"-"`
	Steps  []Progress `json:"steps,omitempty"`
	// Backward says that a parked instance was compensating.
	Backward bool `json:"backward,omitempty"`
	// Reason says why it was refused or parked.
	Reason string `json:"-"`
	// Refusal is why the instance compensates; it outlives the reason of being parked.
	Refusal string `json:"refusal,omitempty"`
	// Cancel is why the instance is to be cancelled, while its pivot has no answer.
	Cancel string `json:"cancel,omitempty"`
	// Deadline is when the whole saga is to be decided; zero means at no time.
	Deadline time.Time `json:"deadline,omitzero"`
	// Again is why the instance is to start again, until it does.
	Again *Again `json:"again,omitempty"`
	// Round counts how often it has started again.
	Round int `json:"round,omitempty"`
	// DueAt is the earliest of the deadlines; zero means none.
	DueAt time.Time `json:"-"`
	// Entries counts the history written so far.
	Entries int `json:"entries"`
}

// Again says that an instance is to start again, once what it has done is undone.
type Again struct {
	// Step at which it has to.
	Step string `json:"step"`
	// Lock that it is to have before, if any.
	Lock string `json:"lock,omitempty"`
	// Reserving says that all is undone, and the lock is awaited.
	Reserving bool `json:"reserving,omitempty"`
	// Until is when it starts, once all is undone and no lock is awaited.
	Until time.Time `json:"until,omitzero"`
}

// At names the steps at which the instance stands: those it is parked at, or else those whose
// answer it waits for. It is empty when there are none.
func (in *Instance) At() string {
	if in.Again != nil && in.Status == Running {
		return in.Again.Step
	}
	stands := StepState.awaited
	if in.Status == Parked {
		stands = func(s StepState) bool { return s == Stuck || s == Refused && !in.Backward }
	}
	var names []string
	for i := range in.Steps {
		if stands(in.Steps[i].State) {
			names = append(names, in.Steps[i].Step)
		}
	}
	return strings.Join(names, ", ")
}

// Counts reports whether an answer is one that the instance waits for. While a pivot is
// being barred, its own late answer counts too: the participant's barrier lets only one of the
// two be true.
func (in *Instance) Counts(a Answer) bool {
	p := in.progress(a.Step)
	if p == nil {
		return false
	}
	switch a.Action {
	case Do:
		return (p.State == Sent || p.State == Queued || p.State == Barring) && p.Do == a.Attempt
	case Undo:
		return p.State == Undoing && p.Undo == a.Attempt
	case Bar:
		return p.State == Barring && p.Bar == a.Attempt
	case Reserve:
		return in.Again != nil && in.Again.Reserving && in.Round == a.Attempt
	default:
		return false
	}
}

// Takes reports whether a signal for a wait changes anything, now or when the wait's turn comes, perhaps after the
// instance has started again.
func (in *Instance) Takes(step string) bool {
	if in.Again == nil && (in.Backward || in.Status != Running && in.Status != Parked) {
		return false
	}
	p := in.progress(step)
	return p == nil || p.State == "" || p.State == Sent
}

// Apply steps an instance. The instance given is not changed. Conditions of steps are asked of when,
// which is nil for a definition without any. An error means that the event does not fit, and nothing
// happened.
func Apply(d *Definition, in Instance, event Event, now time.Time, when func(step string) bool) (Instance, []Effect, error) {
	r := run{definition: d, in: in, now: now, when: when}
	r.in.Steps = slices.Clone(in.Steps)
	if err := r.apply(event); err != nil {
		return in, nil, err
	}
	r.in.DueAt = r.due()
	return r.in, r.effects, nil
}

func (in *Instance) progress(step string) *Progress {
	for i := range in.Steps {
		if in.Steps[i].Step == step {
			return &in.Steps[i]
		}
	}
	return nil
}

func (in *Instance) attempts(p *Progress, a Action) int {
	switch a {
	case Do:
		return p.Do
	case Undo:
		return p.Undo
	case Bar:
		return p.Bar
	case Reserve:
		return in.Round
	default:
		return 0
	}
}
