package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
)

// What an instance says to somebody outside whom it does not obey.
var (
	// ErrNotLive is returned for a saga that has ended, or was never started.
	ErrNotLive = machine.ErrEnded
	// ErrDecided is returned for a saga that has passed its pivot: it goes forward only.
	ErrDecided = machine.ErrDecided
	// ErrNotAwaited is returned for a signal that a saga has had already, or that comes too late.
	ErrNotAwaited = machine.ErrNotAwaited
	// ErrNotParked is returned for a resume of a saga that is not parked.
	ErrNotParked = machine.ErrNotParked
)

var errBusy = errors.New("a local step cannot cancel or signal its own saga: return a refusal, or do it after the step")

// Cancel undoes the live instance of a key, with a reason for the history, in the caller's
// transaction. After the pivot it returns [ErrDecided]; while the pivot has no answer, Cancel returns
// nil and the pivot's bar decides, or its answer: [Saga.Await] tells. Cancelling twice is the same as
// once. It returns [ErrNotLive] when no instance is live.
func (s *Saga[S]) Cancel(ctx context.Context, tx skald.Tx, key, reason string) error {
	return s.outside(ctx, tx, "cancel", key, func(session *session, in *instance) error {
		return session.cancel(ctx, in, reason)
	})
}

// Signal ends a [Wait] of the live instance of a key, in the caller's transaction, with the
// content that the step waits for. It returns [ErrNotLive] when no instance is live, and
// [ErrNotAwaited] when the step is over.
func (s *Saga[S]) Signal(ctx context.Context, tx skald.Tx, key, step string, content any) error {
	return s.outside(ctx, tx, "signal "+step, key, func(session *session, in *instance) error {
		return session.signal(ctx, in, step, content)
	})
}

func (s *Saga[S]) outside(ctx context.Context, tx skald.Tx, doing, key string, fn func(*session, *instance) error) error {
	if errors.Is(s.fault, errRefused) {
		return fmt.Errorf("saga %q: %s %q: %w", s.name, doing, key, s.fault)
	}
	err := s.engine.within(ctx, tx, func(session *session) error {
		in, err := session.live(ctx, s.name, key)
		switch {
		case err != nil:
			return err
		case in == nil:
			return ErrNotLive
		}
		return session.on(ctx, in.record.ID, func(in *instance) error { return fn(session, in) })
	})
	if err != nil {
		return fmt.Errorf("saga %q: %s %q: %w", s.name, doing, key, err)
	}
	return nil
}

// Cancel lets an operator cancel a saga as [Saga.Cancel] does.
func (e *Engine) Cancel(ctx context.Context, tx skald.Tx, id skald.ID, reason string) error {
	return e.byID(ctx, tx, id, func(s *session, in *instance) error { return s.cancel(ctx, in, reason) })
}

// Signal ends a wait of a saga as [Saga.Signal] does.
func (e *Engine) Signal(ctx context.Context, tx skald.Tx, id skald.ID, step string, content any) error {
	return e.byID(ctx, tx, id, func(s *session, in *instance) error { return s.signal(ctx, in, step, content) })
}

// byID runs fn on a saga that somebody names.
func (e *Engine) byID(ctx context.Context, tx skald.Tx, id skald.ID, fn func(*session, *instance) error) error {
	err := e.within(ctx, tx, func(s *session) error {
		if !s.has(id) {
			if err := s.load(ctx, []skald.ID{id}); err != nil {
				return err
			}
		}
		if s.loaded[id] == nil {
			return e.notASaga(ctx, tx, id)
		}
		return s.on(ctx, id, func(in *instance) error { return fn(s, in) })
	})
	if err != nil {
		return fmt.Errorf("saga %s: %w", id, err)
	}
	return nil
}

// notASaga says why there is no saga of an id.
func (e *Engine) notASaga(ctx context.Context, tx skald.Tx, id skald.ID) error {
	if len(e.tracked) == 0 {
		return ErrNotLive
	}
	return e.following(ctx, tx, func(f *follows) error {
		in, err := f.find(ctx, id)
		if err == nil && in != nil {
			return fmt.Errorf("it is an instance of choreography %q, in which nobody gives orders: publish an event that its participants undo by", in.record.Name)
		}
		return errors.Join(err, ErrNotLive)
	})
}

func (s *session) cancel(ctx context.Context, in *instance, reason string) error {
	if in.busy {
		return errBusy
	}
	return s.apply(ctx, in, machine.Cancel{Detail: reason})
}

func (s *session) signal(ctx context.Context, in *instance, step string, content any) error {
	action := in.script.do[step]
	switch given := reflect.TypeOf(content); {
	case in.busy:
		return errBusy
	case action == nil || action.signal == nil:
		return fmt.Errorf("saga %q has no step %q that waits for a signal", in.record.Name, step)
	case given != action.content:
		return fmt.Errorf("step %q waits for content of type %s, and was given %v", step, action.content, given)
	case in.machine.Status.Ended():
		return ErrNotLive
	case !in.machine.Takes(step):
		return ErrNotAwaited
	}
	encoded, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode the signal: %w", err)
	}
	s.remember(in)
	event := machine.Signal{Step: step}
	state, err := action.signal(in.record.State, encoded)
	refusal, refused := skald.AsRefusal(err)
	switch {
	case refused:
		event.Refused, event.Detail = true, refusal.Code+": "+refusal.Message
	case err != nil:
		return err
	}
	before, signals := in.record.State, in.beginning.Signals
	in.record.State = state
	if in.script.restarts {
		in.beginning.Signals = maps.Clone(in.beginning.Signals)
		if in.beginning.Signals == nil {
			in.beginning.Signals = map[string]json.RawMessage{}
		}
		in.beginning.Signals[step] = encoded
	}
	if err := s.apply(ctx, in, event); err != nil {
		in.record.State, in.beginning.Signals = before, signals
		return err
	}
	return nil
}

// live finds the live instance of a definition and business key; nil when there is none.
func (s *session) live(ctx context.Context, name, key string) (*instance, error) {
	for _, in := range s.loaded {
		if in.record.Name == name && in.record.Key == key && !in.record.Status.Ended() {
			return in, s.open(in)
		}
	}
	found, err := s.engine.Store.FindLive(ctx, s.work.Tx, name, key)
	if found == nil || err != nil {
		return nil, err
	}
	in, err := s.find(ctx, found.ID)
	if err != nil || in.record.Status.Ended() { // it ends in this very batch
		return nil, err
	}
	return in, nil
}
