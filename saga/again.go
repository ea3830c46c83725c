package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/internal/unit"
	"github.com/skald-go/skald/lock"
)

// Again names codes of refusal that do not end the saga: what it did is undone, and it starts again from its first
// step, with the state that it was started with. That is what to do when a value has changed since the
// saga read it. It starts again at once, and from the second time on after ever longer pauses; after ten times, over some
// half a minute, such a refusal ends it all the same.
func (c CallAction[S, R]) Again(codes ...string) CallAction[S, R] {
	c.a.again = slices.Clone(codes)
	for _, code := range codes {
		if !c.a.declared(code) {
			c.a.contract = errors.Join(c.a.contract, fmt.Errorf("command %q: Again names the code %q, which is none of its refusals %q", c.a.command, code, c.a.refusals))
		}
	}
	return c
}

// beginning is what an instance needs to start again.
type beginning struct {
	State json.RawMessage `json:"state,omitempty"`
	// Signals by the step that waits for them.
	Signals map[string]json.RawMessage `json:"signals,omitempty"`
	// Reserved is the lock that it has reserved last.
	Reserved string `json:"reserved,omitempty"`
}

// claim is in whose name an instance locks.
func (in *instance) claim(step string, policy lock.Policy) lock.Claim {
	c := lock.Claim{Owner: lock.Owner{Root: in.record.ID, Round: in.machine.Round}, Saga: in.record.ID, Name: in.record.Name, Step: step, Policy: policy}
	if in.family.Parent != nil {
		c.Owner = lock.Owner{Root: in.family.Root, Round: in.family.Round}
	}
	return c
}

// again reports whether a refusal has the saga start again, and which lock it is to have before that. Only a root
// gives up all that it holds: a child tells its parent.
func (in *instance) again(do *erased, refusal *skald.Refusal) (again bool, wanted string) {
	if denial, ok := deniedAgain(refusal); ok {
		if in.family.Parent == nil {
			return true, string(denial)
		}
		if in.machine.Status == machine.Running && in.machine.Cancel == "" { // else it compensates for another reason
			in.family.Denial = denial
		}
		return false, ""
	}
	return do != nil && slices.Contains(do.again, refusal.Code), ""
}

// deniedAgain is the detail of a refusal by which the root of a family is to start again.
func deniedAgain(refusal *skald.Refusal) (json.RawMessage, bool) {
	var d lock.Denial
	if refusal.Code != skald.RefusedLocked && refusal.Code != RefusedCompensated || len(refusal.Detail) == 0 {
		return nil, false
	}
	return refusal.Detail, json.Unmarshal(refusal.Detail, &d) == nil && d.Again
}

// rewind gives an instance the state that it was started with, and the signals that it has had since.
func (in *instance) rewind() error {
	state := []byte(in.beginning.State)
	for i := range in.script.machine.Steps {
		step := in.script.machine.Steps[i].Name
		content, given := in.beginning.Signals[step]
		if !given {
			continue
		}
		next, err := in.script.do[step].signal(state, content)
		if _, refused := skald.AsRefusal(err); err != nil && !refused {
			return fmt.Errorf("saga %q: signal of step %q: %w", in.record.Name, step, err)
		}
		state = next
	}
	in.record.State = state
	return nil
}

// reserve asks for the lock that the saga is to have before it starts again. It gives up the one that it had
// reserved before: its undos have released all others.
func (s *session) reserve(ctx context.Context, in *instance, e machine.Perform) error {
	var wanted, had lock.Denial
	if err := json.Unmarshal([]byte(e.Lock), &wanted); err != nil {
		return fmt.Errorf("saga %q: decode the lock to reserve: %w", in.record.Name, err)
	}
	if in.beginning.Reserved != "" {
		if err := json.Unmarshal([]byte(in.beginning.Reserved), &had); err != nil {
			return fmt.Errorf("saga %q: decode the lock that was reserved: %w", in.record.Name, err)
		}
		earlier := in.claim("", "")
		earlier.Round--
		if err := s.sweepAt(ctx, in, earlier, had.Channel); err != nil {
			return err
		}
	}
	in.beginning.Reserved = e.Lock
	payload, err := json.Marshal(lock.Key{Resource: wanted.Resource, Key: wanted.Key})
	if err != nil {
		return fmt.Errorf("saga %q: encode the lock to reserve: %w", in.record.Name, err)
	}
	m := s.ownCommand(in.claim("", ""), lock.ReserveType, wanted.Channel, payload)
	m.Headers.Set(skald.HeaderReplyTo, s.engine.ReplyChannel)
	m.Headers.Set(skald.HeaderStep, e.Step)
	m.Headers.Set(skald.HeaderAction, skald.ActionReserve)
	m.Headers.Set(skald.HeaderAttempt, strconv.Itoa(e.Attempt))
	return s.add(ctx, in, m)
}

// sweep has everybody remove what may be left of an ended root's locks.
func (s *session) sweep(ctx context.Context, in *instance) error {
	for _, channel := range in.script.left(&in.machine) {
		if err := s.sweepAt(ctx, in, in.claim("", ""), channel); err != nil {
			return err
		}
	}
	return nil
}

// sweepAt sweeps at once in the orchestrator's own database, unless a reservation may be on its way, which a
// command is behind.
func (s *session) sweepAt(ctx context.Context, in *instance, claim lock.Claim, channel string) error {
	if channel == "" && in.machine.Round == 0 {
		return s.locks().Sweep(ctx, claim.Owner)
	}
	return s.add(ctx, in, s.ownCommand(claim, lock.SweepType, channel, []byte("{}")))
}

// ownCommand is a command of the runtime's own about a saga's locks. Those of a saga stay in order.
func (s *session) ownCommand(claim lock.Claim, kind, channel string, payload []byte) skald.Message {
	if channel == "" {
		channel = s.engine.ReplyChannel
	}
	m := skald.Message{Kind: skald.KindCommand, Channel: channel, Key: claim.Saga.String(), Type: kind, Version: lock.Version, Payload: payload}
	m.Headers.Set(skald.HeaderSaga, claim.Saga.String())
	claim.Put(&m.Headers)
	return m
}

func (s *session) add(ctx context.Context, in *instance, m skald.Message) error {
	return s.engine.Outbox.Add(unit.With(skald.WithTrace(ctx, in.record.Trace), s.work), s.work.Tx, m)
}

// left lists where locks of an ended root may be left: the channels of steps that locked something which no
// later step has released; "" is the orchestrator's own database. What an undo does it has released.
func (s *script) left(in *machine.Instance) []string {
	var channels []string
	leave := func(channel string) {
		if !slices.Contains(channels, channel) {
			channels = append(channels, channel)
		}
	}
	locked := map[skald.Resource]int{}
	for i := range in.Steps {
		if do := s.do[in.Steps[i].Step]; in.Steps[i].State == machine.Done {
			if do.locks != "" {
				locked[do.locks]++
			}
			if do.unlocks != "" {
				locked[do.unlocks]--
			}
		}
	}
	for n, member := range s.family() {
		for _, do := range member.do {
			if do.locks != "" && (n > 0 || in.Round > 0 || locked[do.locks] > 0) {
				leave(do.channel)
			}
		}
	}
	slices.Sort(channels)
	return channels
}

// Resources are what local steps of the registered sagas lock: the engine's service owns them.
func (e *Engine) Resources() []skald.Resource {
	var all []skald.Resource
	for _, versions := range e.scripts {
		for _, s := range versions {
			for _, do := range s.do {
				if do.kind == machine.Local && do.locks != "" && !slices.Contains(all, do.locks) {
					all = append(all, do.locks)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}
