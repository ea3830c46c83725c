package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/internal/unit"
)

// session is the engine's share of a unit of work as to sagas.
type session struct {
	shelf[instance]
	// unseen are replies that come to sagas which were not loaded when the batch was prepared.
	unseen []*skald.Message
}

// instance is a saga in memory, and the machine's view of it.
type instance struct {
	row
	machine   machine.Instance
	family    family
	beginning beginning
	script    *script
	busy      bool // a local step of it runs
	foreseen  foreseen
}

// progress is what is stored of an instance beside its state.
type progress struct {
	machine.Instance
	Family family `json:"family,omitzero"`
	// Beginning is kept of an instance that may start again.
	Beginning beginning `json:"beginning,omitzero"`
}

func newSession(e *Engine, work *unit.Work) *session {
	return &session{shelf: newShelf(e, work, traits[instance]{
		row: func(in *instance) *row { return &in.row },
		open: func(r Record) *instance {
			if e.tracked[r.Name] != nil {
				return nil
			}
			return &instance{row: row{record: r}}
		},
		cache: &e.cache, cached: func() bool { return true },
	})}
}

// find returns a saga; an error when there is none of that id.
func (s *session) find(ctx context.Context, id skald.ID) (*instance, error) {
	if !s.has(id) {
		if err := s.load(ctx, []skald.ID{id}); err != nil {
			return nil, err
		}
	}
	in := s.loaded[id]
	if in == nil {
		return nil, fmt.Errorf("%w: no saga %s", ErrUnknownReply, id)
	}
	return in, s.open(in)
}

// open decodes what was loaded, once.
func (s *session) open(in *instance) error {
	if in.script != nil {
		return nil
	}
	found, err := s.engine.script(in.record.Name, in.record.Version)
	if err != nil {
		return err
	}
	var stored progress
	if err := json.Unmarshal(in.record.Progress, &stored); err != nil {
		return fmt.Errorf("saga %s: decode its progress: %w", in.record.ID, err)
	}
	in.machine, in.family, in.beginning = stored.Instance, stored.Family, stored.Beginning
	in.machine.Status = machine.Status(in.record.Status)
	in.machine.Reason, in.machine.DueAt = in.record.Reason, in.record.DueAt
	in.script = found
	return nil
}

// start adds a new instance and runs it up to its first command.
func (s *session) start(ctx context.Context, record Record, found *script, of family) error {
	in := &instance{script: found, family: of}
	if found.restarts {
		in.beginning.State = record.State
	}
	s.remember(in)
	in.record = record
	s.loaded[record.ID] = in
	err := s.apply(ctx, in, machine.Start{})
	if err != nil { // the caller may go on without it
		delete(s.loaded, record.ID)
	}
	return err
}

// answer applies a reply, and records it in the state if it is the one that counts.
func (s *session) answer(ctx context.Context, in *instance, a machine.Answer, m *skald.Message) error {
	s.remember(in)
	counts := in.machine.Counts(a)
	if a.Refused {
		var refusal skald.Refusal
		if err := skald.Decode(m, &refusal); err != nil {
			return err
		}
		a.Detail = refusal.Code + ": " + refusal.Message
		if counts {
			a.Again, a.Lock = in.again(in.script.do[a.Step], &refusal)
		}
		if final := a.Lock == "" && !in.script.machine.MayStartAgain(&in.machine, a); !a.Again || final {
			if err := s.recordRefusal(in, a, refusal, counts); err != nil {
				return err
			}
		}
	} else if do := in.script.do[a.Step]; counts && a.Action == machine.Do && do != nil && do.kind == machine.Local {
		return s.runQueued(ctx, in, a, do)
	} else if counts && (a.Action == machine.Do || a.Action == machine.Bar) && do != nil && do.reply != nil {
		state, err := s.recordReply(ctx, in, do, a.Step, m)
		if err != nil {
			return err
		}
		in.record.State = state
	}
	if !counts {
		s.engine.Logger.Warn("saga: reply ignored: it is late, or contradicts the one that counted",
			"saga", in.record.Name, "saga_id", in.record.ID, "step", a.Step, "action", a.Action, "refused", a.Refused)
	}
	err := s.apply(ctx, in, a)
	if errors.Is(err, machine.ErrUnknownAnswer) {
		return fmt.Errorf("%w: saga %s: %w", ErrUnknownReply, in.record.ID, err)
	}
	return err
}

// recordReply takes an answer into the state; of a child, what it ended with, which its row has.
func (s *session) recordReply(ctx context.Context, in *instance, do *erased, step string, m *skald.Message) ([]byte, error) {
	if do.kind != machine.Child {
		return do.reply(in.record.State, m)
	}
	id := in.family.Children[step]
	child, err := s.find(ctx, id)
	if err == nil && !child.record.Status.Ended() { // in memory: another process has ended it
		delete(s.loaded, id)
		child, err = s.find(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	return do.reply(in.record.State, &skald.Message{Kind: m.Kind, Type: m.Type, ID: m.ID, Payload: child.record.State})
}

func (s *session) recordRefusal(in *instance, a machine.Answer, refusal skald.Refusal, counts bool) error {
	do := in.script.do[a.Step]
	if !counts || a.Action == machine.Undo || do == nil || do.refused == nil {
		return nil
	}
	state, err := do.refused(in.record.State, refusal)
	if err == nil {
		in.record.State = state
	}
	return err
}

// on runs fn on a saga. One that was kept in memory may be outdated, because another process went on with
// it: what is refused then is tried again on what is stored.
func (s *session) on(ctx context.Context, id skald.ID, fn func(in *instance) error) error {
	in, err := s.find(ctx, id)
	if err != nil {
		return err
	}
	if err = fn(in); !rejected(err) || !in.stale() {
		return err
	}
	delete(s.loaded, id)
	if in, err = s.find(ctx, id); err != nil {
		return err
	}
	return fn(in)
}

// rejected reports whether the machine has refused an event.
func rejected(err error) bool {
	for _, refusal := range []error{machine.ErrUnknownAnswer, machine.ErrNotParked, machine.ErrNotAwaited, machine.ErrDecided, machine.ErrEnded} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// apply steps the machine and carries out the effects, until nothing local is left to do. An error leaves
// the saga as it was.
func (s *session) apply(ctx context.Context, in *instance, event machine.Event) error {
	s.remember(in)
	undo, undoLocks := s.checkpoint(in), func() {}
	if s.engine.locksHere {
		undoLocks = s.locks().Checkpoint()
	}
	err := s.follow(ctx, in, event)
	if err == nil {
		err = s.settle(in)
	}
	if err != nil {
		undo()
		undoLocks()
	}
	return err
}

func (s *session) follow(ctx context.Context, in *instance, event machine.Event) error {
	ended := in.machine.Status.Ended()
	events := []machine.Event{event}
	for len(events) > 0 {
		effects, err := s.step(in, events[0])
		if err != nil {
			return err
		}
		events = events[1:]
		for _, effect := range effects {
			answer, err := s.carryOut(ctx, in, effect)
			if err != nil {
				return err
			}
			if answer != nil {
				events = append(events, answer)
			}
		}
	}
	switch {
	case ended || !in.machine.Status.Ended():
		return nil
	case in.family.Parent != nil:
		return s.tellParent(ctx, in)
	default:
		return s.sweep(ctx, in)
	}
}

// step applies one event to the machine, which asks for the conditions that it meets.
func (s *session) step(in *instance, event machine.Event) ([]machine.Effect, error) {
	var failed error
	holds := func(step string) bool {
		ok, err := in.script.when[step](in.record.State)
		failed = errors.Join(failed, err)
		return ok
	}
	next, effects, err := machine.Apply(&in.script.machine, in.machine, event, s.work.Now, holds)
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	in.machine = next
	return effects, nil
}

// carryOut does what the machine asks for, and returns the event that comes of it at once, if any.
func (s *session) carryOut(ctx context.Context, in *instance, effect machine.Effect) (machine.Event, error) {
	switch e := effect.(type) {
	case machine.Record:
		s.history = append(s.history, Entry{Saga: in.record.ID, Number: e.Number, At: s.work.Now, Step: e.Step, What: e.What, Detail: e.Detail})
		return nil, nil
	case machine.Rewind:
		return machine.Rewound{}, in.rewind()
	case machine.Perform:
		if e.Action == machine.Reserve {
			return nil, s.reserve(ctx, in, e)
		}
		action := in.script.do[e.Step]
		if e.Action == machine.Undo {
			action = in.script.undo[e.Step]
		}
		switch {
		case e.Kind == machine.Local && e.Action == machine.Bar:
			return nil, s.claimHere(ctx, in, e, action)
		case e.Kind == machine.Local:
			return s.runLocal(ctx, in, e, action)
		case e.Kind == machine.Child && e.Action == machine.Bar:
			return nil, s.cancelChild(ctx, in, e)
		case e.Kind == machine.Child:
			return nil, s.startChild(ctx, in, e, action)
		default:
			return nil, s.send(ctx, in, e, action)
		}
	default:
		return nil, fmt.Errorf("saga: unknown effect %T", effect)
	}
}

func (s *session) runLocal(ctx context.Context, in *instance, e machine.Perform, action *erased) (machine.Event, error) {
	answer := machine.Answer{Step: e.Step, Action: e.Action, Attempt: e.Attempt}
	state, err := s.runLocked(ctx, in, e, action)
	if errors.Is(err, errQueued) {
		return machine.Queue{Step: e.Step}, nil
	}
	if refusal, refused := skald.AsRefusal(err); refused {
		answer.Again, answer.Lock = in.again(nil, refusal)
		if in.record.Revision == 0 && in.family.Parent == nil && !answer.Again { // nothing is settled yet: the start itself is refused
			return nil, refusal
		}
		answer.Refused, answer.Detail = true, refusal.Code+": "+refusal.Message
		return answer, nil
	}
	if err != nil {
		err = fmt.Errorf("saga %q: local step %q: %w", in.record.Name, e.Step, err)
		s.work.Fail(err) // it may have written something
		return nil, err
	}
	in.record.State = state
	return answer, nil
}

// runLocked runs a local action between what it locks and what it releases.
func (s *session) runLocked(ctx context.Context, in *instance, e machine.Perform, action *erased) ([]byte, error) {
	var keys keysHere
	if action.locksHere() {
		var refusal *skald.Refusal
		var err error
		if keys, err = in.keysHere(action); err == nil {
			refusal, err = s.lockHere(ctx, in, e, action, keys)
		}
		if err != nil {
			return nil, err
		}
		if refusal != nil {
			return nil, refusal
		}
	}
	in.busy = true
	state, err := action.run(environment{ctx, s.work.Tx, in.record.ID, in.machine.Round, in.record.State})
	in.busy = false
	if err != nil {
		return nil, err
	}
	return state, s.lockedHere(ctx, in, e, action, keys)
}

func (s *session) send(ctx context.Context, in *instance, e machine.Perform, action *erased) error {
	m, err := action.request(in.record.State)
	if err != nil {
		return fmt.Errorf("saga %q: build the command of step %q: %w", in.record.Name, e.Step, err)
	}
	m.Headers = make(skald.Headers, 0, 10)
	m.Headers.Set(skald.HeaderReplyTo, s.engine.ReplyChannel)
	m.Headers.Set(skald.HeaderSaga, in.record.ID.String())
	m.Headers.Set(skald.HeaderStep, e.Step)
	m.Headers.Set(skald.HeaderAction, string(e.Action))
	m.Headers.Set(skald.HeaderAttempt, strconv.Itoa(e.Attempt))
	if e.Barrier {
		m.Headers.Set(skald.HeaderBarrier, strconv.Itoa(e.DoAttempt))
	}
	if e.Landed {
		m.Headers.Set(skald.HeaderLanded, "true")
	}
	if action.locks != "" || action.unlocks != "" {
		claim := in.claim(e.Step, action.locked)
		if action.locks == "" {
			claim.Name = "" // it is for those who meet the lock
		}
		claim.Put(&m.Headers)
	}
	return s.add(ctx, in, m)
}

// settle writes the machine's view into the record.
func (s *session) settle(in *instance) error {
	encoded, err := json.Marshal(progress{in.machine, in.family, in.beginning})
	if err != nil {
		return fmt.Errorf("saga: encode progress: %w", err)
	}
	r := &in.record
	r.Progress = encoded
	r.Status, r.Reason, r.DueAt = Status(in.machine.Status), in.machine.Reason, in.machine.DueAt
	if at := in.machine.At(); at != "" {
		r.Step = at
	}
	r.UpdatedAt = s.work.Now
	s.changed(in)
	return nil
}
