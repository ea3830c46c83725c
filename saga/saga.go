// Package saga runs business operations over several services: local transactions,
// triggered by messages, and undone in reverse order by compensating ones when one is refused.
// A [Definition] is a value; the [Engine] steps its instances inside the transactions of the
// orchestrating service's consumer.
package saga

import (
	"context"
	"fmt"
	"time"

	"github.com/skald-go/skald"
)

// Saga is a registered definition: the handle with which instances are started and awaited.
// It is safe for concurrent use.
type Saga[S any] struct {
	engine *Engine
	script *script
}

// StartOption changes how an instance is started.
type StartOption func(*startOptions)

type startOptions struct{ request string }

// Request gives the caller's request id: asking twice with one id is one saga, and the
// second Start returns nil without a new instance.
func Request(id string) StartOption { return func(o *startOptions) { o.request = id } }

// Outcome is how a saga ended, or why it waits for an operator.
type Outcome[S any] struct {
	ID     skald.ID
	Status Status
	// Reason says why it was compensated or parked.
	Reason string
	State  S
}

// Start begins an instance in the caller's transaction: leading Local steps run at once, in
// it, and the first command is in its outbox. The business key is unique among live instances:
// [ErrConflict] otherwise. A refusal of a leading Local step is returned as it is, and nothing
// is started; roll back what it wrote.
func (s *Saga[S]) Start(ctx context.Context, tx skald.Tx, key string, state S, options ...StartOption) error {
	if s.script == nil {
		return fmt.Errorf("saga: start %q: its definition was refused when it was registered", key)
	}
	if key == "" || len(key) > skald.MaxKey {
		return fmt.Errorf("saga %q: start: business key of 1 to %d bytes", s.script.name, skald.MaxKey)
	}
	var chosen startOptions
	for _, option := range options {
		option(&chosen)
	}
	encoded, err := encode(state)
	if err != nil {
		return err
	}
	return s.engine.within(ctx, tx, func(session *session) error {
		known, err := s.known(ctx, tx, session, key, chosen.request)
		if known || err != nil {
			return err
		}
		return session.start(ctx, Record{
			ID: skald.NewID(), Name: s.script.name, Version: s.script.version, Key: key, Request: chosen.request,
			State: encoded, Trace: skald.TraceFrom(ctx), StartedAt: session.work.Now,
		}, s.script)
	})
}

// known reports whether the request was made before, and refuses a key that is live. What the
// session started itself is not in the store yet.
func (s *Saga[S]) known(ctx context.Context, tx skald.Tx, session *session, key, request string) (bool, error) {
	for _, in := range session.loaded {
		r := &in.record
		if r.Revision == 1 && r.Name == s.script.name && in.dirty {
			if request != "" && r.Request == request {
				return true, nil
			}
			if r.Key == key && !r.Status.Ended() {
				return false, fmt.Errorf("%w: %q of saga %q", ErrConflict, key, s.script.name)
			}
		}
	}
	if request != "" {
		found, err := s.engine.Store.FindRequest(ctx, tx, s.script.name, request)
		if found != nil || err != nil {
			return true, err
		}
	}
	live, err := s.engine.Store.FindLive(ctx, tx, s.script.name, key)
	if err != nil {
		return false, err
	}
	if live == nil {
		return false, nil
	}
	if in := session.loaded[live.ID]; in != nil && in.record.Status.Ended() {
		return false, nil // it ends in this very batch
	}
	return false, fmt.Errorf("%w: %q of saga %q", ErrConflict, key, s.script.name)
}

// Find returns the newest instance of a key; false when there is none.
func (s *Saga[S]) Find(ctx context.Context, key string) (Outcome[S], bool, error) {
	record, err := s.engine.Store.ReadSaga(ctx, s.script.name, key)
	if record == nil || err != nil {
		return Outcome[S]{}, false, err
	}
	state, err := decode[S](record.State)
	return Outcome[S]{ID: record.ID, Status: record.Status, Reason: record.Reason, State: state}, true, err
}

// Await blocks until the newest instance of the key has ended or is parked, or ctx ends. The end
// is noticed at once in the process that runs the saga, and within a second in another.
func (s *Saga[S]) Await(ctx context.Context, key string) (Outcome[S], error) {
	woken, remove := s.engine.waiters.add(waiterKey{s.script.name, key})
	defer remove()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		outcome, found, err := s.Find(ctx, key)
		if err != nil || found && (outcome.Status.Ended() || outcome.Status == Parked) {
			return outcome, err
		}
		select {
		case <-ctx.Done():
			return outcome, fmt.Errorf("saga %q: await %q: %w", s.script.name, key, context.Cause(ctx))
		case <-woken:
		case <-look.C:
		}
	}
}
