package saga

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/lock"
)

// keyed erases the state's type of a function that names a key. It takes the state as it is, or encoded.
func keyed[S any](key func(S) string) func(any) (string, error) {
	if key == nil {
		return nil
	}
	return func(given any) (string, error) {
		state, plain := given.(S)
		if !plain {
			var err error
			if state, err = decode[S](given.(json.RawMessage)); err != nil {
				return "", err
			}
		}
		name := key(state)
		return name, checkKey(name)
	}
}

// keysHere are the keys of what a local step takes and releases; of what it does not, the zero one.
type keysHere struct{ locks, unlocks lock.Key }

// list is those that there are.
func (k keysHere) list() []lock.Key {
	return slices.DeleteFunc([]lock.Key{k.unlocks, k.locks}, func(k lock.Key) bool { return k.Resource == "" })
}

// locksHere reports whether an action takes a lock in the orchestrator's own database, or releases one.
func (e *erased) locksHere() bool {
	return e != nil && e.kind == machine.Local && (e.locks != "" || e.unlocks != "")
}

// keysHere are the keys by the state before the step, which is given as it is, or encoded.
func (e *erased) keysHere(state any) (keys keysHere, err error) {
	name := func(resource skald.Resource, key func(any) (string, error)) (k lock.Key) {
		if resource == "" || err != nil {
			return k
		}
		k.Resource = resource
		if k.Key, err = key(state); err != nil {
			err = fmt.Errorf("key of %s: %w", resource, err)
		}
		return k
	}
	return keysHere{name(e.locks, e.lockKey), name(e.unlocks, e.unlockKey)}, err
}

// foreseen is what a local step would lock and release if it ran in this state, so that the state is not decoded
// once more when it does.
type foreseen struct {
	action *erased
	state  []byte
	keys   keysHere
}

func (in *instance) keysHere(action *erased) (keysHere, error) {
	if f := &in.foreseen; f.action == action && bytes.Equal(f.state, in.record.State) {
		return f.keys, nil
	}
	return action.keysHere(json.RawMessage(in.record.State))
}

// ahead are the keys of the locks that local steps are likely to meet when messages are answered. What it does
// not foresee is looked at when it is met.
func (s *session) ahead(messages []*skald.Message) (keys []lock.Key) {
	for _, m := range messages {
		id, a, err := readAnswer(m)
		in := s.loaded[id]
		switch {
		case err != nil:
		case in == nil:
			s.unseen = append(s.unseen, m)
		case s.open(in) == nil && in.script.locksHere:
			for _, action := range in.script.ahead(a) {
				if found, err := in.keysHere(action); err == nil { // what is wrong with it is said when it is performed
					in.foreseen = foreseen{action, in.record.State, found}
					keys = append(keys, found.list()...)
				}
			}
		}
	}
	return keys
}

// ahead are the local actions that lock or release something and to which an answer leads: of the steps that
// follow the answered one, or the undos of those before it. A condition may hold, or not.
func (s *script) ahead(a machine.Answer) (actions []*erased) {
	steps := s.machine.Steps
	at := slices.IndexFunc(steps, func(step machine.Step) bool { return step.Name == a.Step })
	add := func(action *erased) {
		if action.locksHere() {
			actions = append(actions, action)
		}
	}
	switch {
	case at < 0:
	case a.Action == machine.Undo || a.Refused:
		for i := at - 1; i >= 0 && (!steps[i].Undo || steps[i].UndoKind == machine.Local); i-- {
			add(s.undo[steps[i].Name])
		}
	default:
		if a.Action == machine.Reserve {
			at = -1 // it starts again
		}
		for i := at + 1; i < len(steps) && (steps[i].Kind == machine.Local || steps[i].When); i++ {
			add(s.do[steps[i].Name])
		}
	}
	return actions
}

// leading are the keys that the start of an instance meets.
func (s *script) leading(state any) (keys []lock.Key) {
	for _, action := range s.ahead(machine.Answer{Step: s.machine.Steps[0].Name, Action: machine.Reserve}) {
		found, _ := action.keysHere(state) // what is wrong with it is said when it is performed
		keys = append(keys, found.list()...)
	}
	return keys
}

// lockHere decides about the lock that a local step takes, or releases; a refusal when it may not run.
func (s *session) lockHere(ctx context.Context, in *instance, e machine.Perform, action *erased, keys keysHere) (*skald.Refusal, error) {
	s.locks().Want(s.ahead(s.unseen)...)
	s.unseen = nil
	if action.unlocks != "" {
		verdict, before, err := s.locks().Ask(ctx, keys.unlocks, in.claim(e.Step, lock.Refuse).Owner, lock.Refuse)
		if err != nil || verdict != lock.Granted {
			return lock.Deny(keys.unlocks, "", before, false), err
		}
	}
	if action.locks == "" {
		return nil, nil
	}
	verdict, before, err := s.locks().Ask(ctx, keys.locks, in.claim(e.Step, "").Owner, action.locked)
	switch {
	case err != nil || verdict == lock.Granted:
		return nil, err
	case verdict == lock.Waiting:
		if err := s.claimHere(ctx, in, e, action); err != nil {
			return nil, err
		}
		return nil, errQueued
	default:
		return lock.Deny(keys.locks, "", before, verdict == lock.Died), nil
	}
}

// errQueued says that a local step waits for a lock.
var errQueued = errors.New("saga: the step waits for a lock")

// claimHere has a command wait for the lock of a local step, in whose place nothing would wait; or, as its bar, wait no
// more.
func (s *session) claimHere(ctx context.Context, in *instance, e machine.Perform, action *erased) error {
	keys, err := in.keysHere(action)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(keys.locks)
	if err != nil {
		return fmt.Errorf("saga %q: encode the lock of step %q: %w", in.record.Name, e.Step, err)
	}
	m := s.ownCommand(in.claim(e.Step, action.locked), lock.ReserveType, "", payload)
	m.Headers.Set(skald.HeaderStep, e.Step)
	m.Headers.Set(skald.HeaderAction, string(e.Action))
	m.Headers.Set(skald.HeaderAttempt, strconv.Itoa(e.Attempt))
	if e.Action == machine.Do {
		m.Headers.Set(skald.HeaderReplyTo, s.engine.ReplyChannel)
	}
	return s.add(ctx, in, m)
}

// runQueued runs a local step that has the lock for which it waited.
func (s *session) runQueued(ctx context.Context, in *instance, a machine.Answer, do *erased) error {
	event, err := s.runLocal(ctx, in, machine.Perform{Step: a.Step, Action: a.Action, Attempt: a.Attempt, Kind: machine.Local}, do)
	if err != nil {
		return err
	}
	return s.apply(ctx, in, event)
}

// lockedHere writes down what a local step that ran has locked and released.
func (s *session) lockedHere(ctx context.Context, in *instance, e machine.Perform, action *erased, keys keysHere) error {
	if action.locks != "" {
		if err := s.locks().Take(in.claim(e.Step, "").Row(keys.locks)); err != nil {
			return err
		}
	}
	if action.unlocks == "" {
		return nil
	}
	found, err := s.locks().Leave(ctx, keys.unlocks, in.claim(e.Step, "").Owner)
	if err == nil && !found {
		s.engine.Logger.WarnContext(ctx, "saga: a step unlocks what its saga has not locked: an operator may have released it; or the keys of what locks and what unlocks differ",
			"resource", keys.unlocks.Resource, "key", keys.unlocks.Key, "saga", in.record.Name, "saga_id", in.record.ID, "step", e.Step)
	}
	return err
}

func (s *session) locks() *lock.Share { return s.engine.Locks.In(s.work) }
