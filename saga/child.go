package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
)

// ChildAction is the result of [Child].
type ChildAction[S, C any] struct{ a action[S] }

func (c ChildAction[S, C]) action() *action[S] { return &c.a }

// Child is a step that is a saga of its own, in the same service. Start gives its business key
// and its state. The step is done when the child is completed, and refused when it has compensated; while
// it is parked, its parent waits. A parent that goes back cancels it. What a completed child
// has done is undone by the step's Undo.
func Child[S, C any](definition Definition[C], start func(state S) (key string, child C)) ChildAction[S, C] {
	compiled, err := compile(&definition)
	if start == nil {
		err = errors.Join(err, fmt.Errorf("child %q: the function is nil: give the one that makes its key and state", definition.Name))
	}
	return ChildAction[S, C]{action[S]{
		kind: machine.Child, contract: err, child: compiled,
		sample: func() any { return filled[C]() },
		begin: func(state S) (string, []byte, error) {
			key, child := start(state)
			encoded, err := encode(child)
			return key, encoded, err
		},
	}}
}

// Then records the state in which the child was completed. It must not fail, and must depend on
// nothing but its arguments.
func (c ChildAction[S, C]) Then(record func(state *S, child C)) ChildAction[S, C] {
	if record == nil {
		c.a.contract = errors.Join(c.a.contract, errors.New("child: the function given to Then is nil: give one, or leave Then out"))
		return c
	}
	c.a.reply = recording(record)
	return c
}

// Refused records why the child has compensated.
func (c ChildAction[S, C]) Refused(record func(state *S, refusal skald.Refusal)) ChildAction[S, C] {
	c.a.refused = record
	return c
}

// RefusedCompensated is the code with which a child that has compensated refuses its step.
const RefusedCompensated = "skald.compensated"

// origin is the step that started a child.
type origin struct {
	Saga    skald.ID       `json:"saga"`
	Step    string         `json:"step"`
	Action  machine.Action `json:"action"`
	Attempt int            `json:"attempt"`
}

// family is what an instance knows of its parent and its children.
type family struct {
	Parent *origin `json:"parent,omitempty"`
	// Root is the outermost parent, whose the child's locks are, and Round the one in which it started the child.
	Root  skald.ID `json:"root,omitzero"`
	Round int      `json:"round,omitempty"`
	// Denial is the lock at which the root is to start again.
	Denial json.RawMessage `json:"denial,omitempty"`
	// Children by the step that started the newest one.
	Children map[string]skald.ID `json:"children,omitempty"`
}

// startChild starts a step's child. When one of its leading local steps refuses, it compensates, as any
// child does.
func (s *session) startChild(ctx context.Context, in *instance, e machine.Perform, action *erased) error {
	key, state, err := action.begin(in.record.State)
	if err != nil {
		return fmt.Errorf("saga %q: make the child of step %q: %w", in.record.Name, e.Step, err)
	}
	if err := checkKey(key); err != nil {
		return fmt.Errorf("saga %q: child of step %q: %w", in.record.Name, e.Step, err)
	}
	record := Record{
		ID: skald.NewID(), Name: action.child.name, Version: action.child.version, Key: key,
		State: state, Trace: in.record.Trace, StartedAt: s.work.Now,
	}
	switch live, err := s.live(ctx, record.Name, key); {
	case err != nil:
		return err
	case live != nil: // not ErrConflict: it is not the caller's key that is taken
		return fmt.Errorf("saga %q: the child of step %q waits for another one of its key: saga %q has a live instance of %q", in.record.Name, e.Step, record.Name, key)
	}
	owner := in.claim("", "").Owner
	child := family{Parent: &origin{in.record.ID, e.Step, e.Action, e.Attempt}, Root: owner.Root, Round: owner.Round}
	if err := s.start(ctx, record, action.child, child); err != nil {
		return err
	}
	in.family.Children = maps.Clone(in.family.Children)
	if in.family.Children == nil {
		in.family.Children = map[string]skald.ID{}
	}
	in.family.Children[e.Step] = record.ID
	return nil
}

// cancelChild asks a step's child to compensate. One that cannot any more says so with its end.
func (s *session) cancelChild(ctx context.Context, in *instance, e machine.Perform) error {
	return s.on(ctx, in.family.Children[e.Step], func(child *instance) error {
		err := s.apply(ctx, child, machine.Cancel{Detail: "its parent goes back: " + in.machine.Reason})
		switch {
		case errors.Is(err, machine.ErrDecided) && !child.stale():
			return nil
		case errors.Is(err, machine.ErrEnded): // somebody may have discarded its word
			return s.tellParent(ctx, child)
		default:
			return err
		}
	})
}

// tellParent answers the step that started a child with how the child has ended: by a message, so that
// parent and child are never locked in that order.
func (s *session) tellParent(ctx context.Context, in *instance) error {
	parent := in.family.Parent
	m := skald.Message{
		Kind: skald.KindReply, Channel: s.engine.ReplyChannel, Key: parent.Saga.String(),
		Type: in.record.Name + ".ended", Version: in.record.Version, Payload: []byte("{}"), // its state is in its row
	}
	m.Headers.Set(skald.HeaderInReplyTo, in.record.ID.String())
	m.Headers.Set(skald.HeaderSaga, parent.Saga.String())
	m.Headers.Set(skald.HeaderStep, parent.Step)
	m.Headers.Set(skald.HeaderAction, string(parent.Action))
	m.Headers.Set(skald.HeaderAttempt, strconv.Itoa(parent.Attempt))
	m.Headers.Set(skald.HeaderOutcome, skald.OutcomeSuccess)
	if in.machine.Status == machine.Compensated {
		why := skald.Refuse(RefusedCompensated, in.machine.Reason)
		why.Detail = in.family.Denial
		refusal, err := json.Marshal(why)
		if err != nil {
			return fmt.Errorf("saga: encode the end of %q: %w", in.record.Name, err)
		}
		m.Payload = refusal
		m.Headers.Set(skald.HeaderOutcome, skald.OutcomeRefused)
	}
	return s.add(ctx, in, m)
}
