// Package saga runs business operations over several services: local transactions,
// triggered by messages, and undone in reverse order by compensating ones when one is refused.
// A [Definition] is a value; the [Engine] steps its instances inside the transactions of the
// orchestrating service's consumer. A [Choreography] is a value as well: services that react to each
// other's events, without an orchestrator, and somebody who follows them.
package saga

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
)

// Saga is a registered definition: the handle with which instances are started and awaited.
// It is safe for concurrent use.
type Saga[S any] struct {
	engine *Engine
	name   string
	script *script // what it starts
	fault  error   // why it starts nothing
}

func newHandle[S any](e *Engine, name string, registered map[int]*script) *Saga[S] {
	s := &Saga[S]{engine: e, name: name}
	s.script, s.fault = e.starting(name, registered)
	return s
}

// StartOption changes how an instance is started.
type StartOption func(*startOptions)

type startOptions struct {
	request string
	// conflictAtCommit leaves it to the store to find a live instance of the key.
	conflictAtCommit bool
}

// conflictAtCommit saves a look for each start in a batch. The function that starts the instance
// fails alone then, when its batch could not be committed.
func conflictAtCommit(o *startOptions) { o.conflictAtCommit = true }

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
// is started; roll back what it wrote. One that meets another saga's lock is refused with [skald.RefusedLocked]
// if it is declared so (lock.Refuse); else the saga is started, and begins when it has the lock.
func (s *Saga[S]) Start(ctx context.Context, tx skald.Tx, key string, state S, options ...StartOption) error {
	_, err := s.start(ctx, tx, key, state, options)
	return err
}

// start returns the new instance's id; none when the request was made before.
func (s *Saga[S]) start(ctx context.Context, tx skald.Tx, key string, state S, options []StartOption) (started skald.ID, err error) {
	if s.fault != nil {
		return started, fmt.Errorf("saga %q: start %q: %w", s.name, key, s.fault)
	}
	if err := checkKey(key); err != nil {
		return started, fmt.Errorf("saga %q: start: %w", s.name, err)
	}
	var chosen startOptions
	for _, option := range options {
		option(&chosen)
	}
	encoded, err := encode(state)
	if err != nil {
		return started, err
	}
	err = s.engine.within(ctx, tx, func(session *session) error {
		known, err := s.known(ctx, tx, session, key, chosen)
		if known || err != nil {
			return err
		}
		started = skald.NewID()
		return session.start(ctx, Record{
			ID: started, Name: s.name, Version: s.script.version, Key: key, Request: chosen.request,
			State: encoded, Trace: skald.TraceFrom(ctx), StartedAt: session.work.Now,
		}, s.script, family{})
	})
	return started, err
}

func checkKey(key string) error {
	if key == "" || len(key) > skald.MaxKey {
		return fmt.Errorf("business key of 1 to %d bytes", skald.MaxKey)
	}
	return nil
}

// Run starts an instance in the transaction of the service's next batch, as [Saga.Start] does, and
// awaits its end, as [Saga.Await] does. It works while the service runs. When ctx ends first, the
// instance may or may not have been started.
func (s *Saga[S]) Run(ctx context.Context, key string, state S, options ...StartOption) (Outcome[S], error) {
	if s.fault != nil {
		_, err := s.start(ctx, nil, key, state, nil)
		return Outcome[S]{}, err
	}
	ended, remove := s.engine.waiters.add(waiterKey{s.name, key})
	defer remove()
	options = append(slices.Clone(options), conflictAtCommit)
	if s.script.locksHere {
		ctx = lock.Ahead(ctx, s.script.leading(state)...)
	}
	var started skald.ID
	err := s.engine.Transact(ctx, func(ctx context.Context, tx skald.Tx) (err error) {
		started, err = s.start(ctx, tx, key, state, options)
		return err
	})
	if err != nil {
		return Outcome[S]{}, err
	}
	if started.IsZero() { // an earlier request's may have ended long since
		return s.Await(ctx, key)
	}
	return s.await(ctx, key, started, ended)
}

// known reports whether the request was made before, and refuses a key that is live. What the
// session started itself is not in the store yet.
func (s *Saga[S]) known(ctx context.Context, tx skald.Tx, session *session, key string, chosen startOptions) (bool, error) {
	request := chosen.request
	for _, in := range session.loaded {
		r := &in.record
		if r.Revision == 1 && r.Name == s.name && in.dirty {
			if request != "" && r.Request == request {
				return true, nil
			}
			if r.Key == key && !r.Status.Ended() {
				return false, fmt.Errorf("%w: %q of saga %q", ErrConflict, key, s.name)
			}
		}
	}
	if request != "" {
		found, err := s.engine.Store.FindRequest(ctx, tx, s.name, request)
		if found != nil || err != nil {
			return true, err
		}
	}
	if chosen.conflictAtCommit {
		return false, nil
	}
	live, err := s.engine.Store.FindLive(ctx, tx, s.name, key)
	if err != nil {
		return false, err
	}
	if live == nil {
		return false, nil
	}
	if in := session.loaded[live.ID]; in != nil && in.record.Status.Ended() {
		return false, nil // it ends in this very batch
	}
	return false, fmt.Errorf("%w: %q of saga %q", ErrConflict, key, s.name)
}

// Find returns the newest instance of a key; false when there is none.
func (s *Saga[S]) Find(ctx context.Context, key string) (Outcome[S], bool, error) {
	record, err := s.engine.Store.ReadSaga(ctx, s.name, key)
	if record == nil || err != nil {
		return Outcome[S]{}, false, err
	}
	return outcome[S](record)
}

func outcome[S any](r *Record) (Outcome[S], bool, error) {
	state, err := decode[S](r.State)
	return Outcome[S]{ID: r.ID, Status: r.Status, Reason: r.Reason, State: state}, true, err
}

// Await blocks until the newest instance of the key has ended or is parked, or ctx ends. The end
// is noticed at once in the process that runs the saga, and within a second in another.
func (s *Saga[S]) Await(ctx context.Context, key string) (Outcome[S], error) {
	ended, remove := s.engine.waiters.add(waiterKey{s.name, key})
	defer remove()
	found, over, err := s.over(ctx, key)
	if over || err != nil {
		return found, err
	}
	return s.await(ctx, key, found.ID, ended)
}

// await waits for the end of an instance, or of any if none is named, to be told in this process, and
// looks once a second for one in another.
func (s *Saga[S]) await(ctx context.Context, key string, id skald.ID, ended <-chan Record) (Outcome[S], error) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return Outcome[S]{}, fmt.Errorf("saga %q: await %q: %w", s.name, key, context.Cause(ctx))
		case record := <-ended:
			if id.IsZero() || record.ID == id {
				found, _, err := outcome[S](&record)
				return found, err
			}
		case <-look.C:
			if found, over, err := s.over(ctx, key); over || err != nil {
				return found, err
			}
		}
	}
}

// over finds the newest instance of a key, and says whether there is nothing to wait for.
func (s *Saga[S]) over(ctx context.Context, key string) (Outcome[S], bool, error) {
	found, exists, err := s.Find(ctx, key)
	return found, exists && (found.Status.Ended() || found.Status == Parked), err
}
