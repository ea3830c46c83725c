// Package service is the façade: one service's handlers, sagas, relay and consumers behind
// one Run.
package service

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/internal/unit"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
)

// cachedSagas is how many live sagas an orchestrating service keeps in memory, at some kilobytes each.
const cachedSagas = 4096

// Store is a service's database.
type Store interface {
	outbox.Store
	inbox.Store
	relay.Source
	saga.Store
}

// Broker carries messages between services.
type Broker interface {
	inbox.Transport
	relay.Publisher
}

// Service is one service: its handlers, sagas, relay and consumers. Register everything before
// Run; after that it is safe for concurrent use.
type Service struct {
	name     string
	config   Config
	store    Store
	outbox   *outbox.Outbox
	consumer *inbox.Consumer
	relay    *relay.Relay
	engine   *saga.Engine
	handlers []inbox.Registration // those that are no reactions
	faults   []error
	state    atomic.Int32
	// choreographies that the service takes part in, or tracks, by name.
	choreographies map[string]*participation
}

// The states of a service.
const (
	idle int32 = iota
	running
	draining
)

// New makes a service on its own database and a broker. Its name is the subscriber group of
// its consumers and the source of its messages, the same in all of its instances.
func New(name string, store Store, broker Broker, config Config) (*Service, error) {
	config, faults := config.withDefaults()
	if store == nil || broker == nil {
		faults = errors.Join(faults, errors.New("service: a store and a broker are required"))
	}
	if faults != nil {
		return nil, faults
	}
	logger := config.Logger.With("service", name)
	s := &Service{name: name, config: config, store: store}
	var faulty [3]error
	s.outbox, faulty[0] = outbox.New(store, name)
	s.consumer, faulty[1] = inbox.New(name, store, store, broker, config.inbox(logger))
	s.relay, faulty[2] = relay.New(store, broker, config.relay(logger))
	if err := errors.Join(faulty[:]...); err != nil {
		return nil, fmt.Errorf("service %q: %w", name, err)
	}
	s.engine = saga.NewEngine(saga.EngineConfig{
		Store: store, Outbox: s.outbox, ReplyChannel: name + ".replies", TxType: store.TxType(), Transact: s.consumer.Transact, Logger: logger,
		Locks: s.consumer.Locks(), Cached: cachedSagas, ReadsAll: s.consumer.ReadsAll, StartVersions: config.StartVersions, Now: config.Now,
	})
	return s, nil
}

// HandleCommand registers the handler of a command. T is the store's transaction type, for
// example *sql.Tx. The handler's answer is its result; a *[skald.Refusal] as error says no; any
// other error is retried with backoff, then parked. The runtime commits: a handler that does so
// itself fails.
func HandleCommand[T, C, R any](s *Service, command skald.Command[C, R], handle func(ctx context.Context, tx T, content C) (R, error)) {
	s.fault(command.Validate())
	s.register(reflect.TypeFor[T](), inbox.Registration{
		Channel: command.Channel, Type: command.Name, Version: max(command.Version, 1), Declared: command.Refuses,
		Locks: command.Locks, Unlocks: command.Unlocks,
		Handle: func(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
			var content C
			if err := skald.Decode(m, &content); err != nil {
				return nil, err
			}
			return handle(ctx, any(tx).(T), content)
		},
	})
}

// HandleEvent registers the handler of an event. Its errors are retried with backoff, then
// parked.
func HandleEvent[T, E any](s *Service, event skald.Event[E], handle func(ctx context.Context, tx T, content E) error) {
	s.fault(event.Validate())
	s.register(reflect.TypeFor[T](), inbox.Registration{
		Channel: event.Channel, Type: event.Name, Version: max(event.Version, 1),
		Handle: func(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
			var content E
			if err := skald.Decode(m, &content); err != nil {
				return nil, err
			}
			return nil, handle(ctx, any(tx).(T), content)
		},
	})
}

func (s *Service) register(txType reflect.Type, r inbox.Registration) {
	if !s.store.TxType().AssignableTo(txType) {
		s.fault(fmt.Errorf("service %q: the handler of %q takes a transaction of type %s, and the store's is %s", s.name, r.Type, txType, s.store.TxType()))
		return
	}
	if handle := r.Handle; handle != nil {
		r.Handle = func(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
			answer, err := handle(ctx, tx, m)
			return answer, postponed(err)
		}
	}
	if handle := r.HandleBatch; handle != nil {
		r.HandleBatch = func(ctx context.Context, tx skald.Tx, requests []*inbox.Request) error {
			return postponed(handle(ctx, tx, requests))
		}
	}
	if s.fault(s.consumer.Register(r)); r.Reaction == nil {
		s.handlers = append(s.handlers, r)
	}
}

func (s *Service) fault(err error) {
	if err != nil {
		s.faults = append(s.faults, err)
	}
}

// Transact runs fn in the transaction of the service's next batch, together with whatever
// else is waiting, and returns once it is committed: requests share the fsync of a batch. When
// fn returns an error its writes are undone and the error is returned as it is; when ctx ends
// first, fn may or may not have taken effect. Inside, ctx carries the batch to outbox.Add and
// Saga.Start. It works while Run does. fn may be run more than once, when its batch is, and takes
// effect once.
func Transact[T any](ctx context.Context, s *Service, fn func(ctx context.Context, tx T) error) error {
	return s.consumer.Transact(ctx, func(ctx context.Context, tx skald.Tx) error {
		typed, ok := any(tx).(T)
		if !ok {
			return fmt.Errorf("service %q: Transact wants a transaction of type %s, and the store's is %s", s.name, reflect.TypeFor[T](), s.store.TxType())
		}
		return fn(ctx, typed)
	})
}

// OnCommit calls fn after the batch that ctx belongs to has committed; it returns false, and
// never calls fn, outside of one. fn must not block.
func OnCommit(ctx context.Context, fn func()) bool { return unit.OnCommit(ctx, fn) }

// Outbox is where the service's own messages go.
func (s *Service) Outbox() *outbox.Outbox { return s.outbox }

// Locks are the semantic locks in the service's database: for writers that belong to no saga.
func (s *Service) Locks() *lock.Locks { return s.consumer.Locks() }

// SagaEngine implements [saga.Host].
func (s *Service) SagaEngine() *saga.Engine { return s.engine }

// Run checks the registrations, then runs relay (unless [Config.RelayElsewhere]), consumers and
// timers until ctx ends; then it drains: the batch under way is finished, leases are given up. It
// returns an error when it could not start, or when a part of it failed for good.
func (s *Service) Run(ctx context.Context) error {
	if err := s.check(ctx); err != nil {
		s.consumer.Stop()
		return fmt.Errorf("service %q cannot start: %w", s.name, err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.state.Store(running)
	context.AfterFunc(ctx, func() { s.state.Store(draining) })
	var group sync.WaitGroup
	failed := make(chan error, 3)
	start := func(run func(context.Context) error) {
		group.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				failed <- err
				stop(err)
			}
		})
	}
	if !s.config.RelayElsewhere {
		start(s.relay.Run)
	}
	start(s.consumer.Run)
	if s.engine.Active() || len(s.engine.Tracked()) > 0 {
		start(s.engine.RunTimers)
	}
	group.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("service %q: %w", s.name, err)
	default:
		return nil
	}
}

// Stepper starts the service for a test that makes its batches itself (skaldtest.Interleave), in place of
// [Service.Run].
func (s *Service) Stepper(ctx context.Context) (*inbox.Stepper, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return s.consumer.Stepper(ctx)
}

func (s *Service) check(ctx context.Context) error {
	s.fault(s.engine.Check(ctx))
	if s.engine.Active() {
		s.fault(s.consumer.Register(inbox.Registration{
			Channel: s.engine.ReplyChannel, Handle: s.handleReply, Prepare: s.engine.Prepare,
		}))
		s.fault(s.consumer.RegisterLocks(s.engine.ReplyChannel, s.engine.Resources()...))
	}
	s.checkChoreographies()
	s.checkPatience(s.engine.Patience())
	return errors.Join(s.faults...)
}

// checkPatience refuses to ask participants for what they may have forgotten. Their retention is taken to be
// the service's own.
func (s *Service) checkPatience(deadline time.Duration, whose string) {
	if deadline >= s.config.InboxRetention {
		s.fault(fmt.Errorf("service %q: the deadline of %s (%s) is not shorter than InboxRetention (%s): by then a participant may have forgotten what it did", s.name, whose, deadline, s.config.InboxRetention))
	}
}

func (s *Service) handleReply(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
	err := s.engine.Handle(ctx, tx, m)
	if errors.Is(err, saga.ErrUnknownReply) {
		err = fmt.Errorf("%w: %w", inbox.ErrUnhandleable, err)
	}
	return nil, postponed(err)
}

// postponed has a message wait for a process that knows the version of its instance.
func postponed(err error) error {
	if errors.Is(err, saga.ErrUnknownVersion) {
		return fmt.Errorf("%w: %w", inbox.ErrPostponed, err)
	}
	return err
}
