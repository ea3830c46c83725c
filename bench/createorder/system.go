package createorder

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/bench/cluster"
	"github.com/skald-go/skald/bench/process"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// system is what is measured: it runs the saga on four databases.
type system struct {
	// run starts a saga and returns when its end is known to the caller.
	run func(ctx context.Context, o order) error
	// databases are the services', by name.
	databases map[string]*sql.DB
	// empty empties the services' tables and fills in consumers and accounts.
	empty func(ctx context.Context) error
	// usage is what the processes, and the databases, have used up so far.
	usage func(ctx context.Context) usage
	// locks are the services' semantic locks.
	locks []*lock.Locks
	// counts of statements, by database, if they are counted.
	counts map[string]*cluster.Count
	form   form
	ends   []func() error
}

// form is how the saga is coordinated.
type form struct {
	// style is Orchestration, Parallel or Choreography.
	style string
	// byCommand has the orders' service approve an order by a command to itself.
	byCommand bool
	// locks is what a saga does that meets another's lock; no step locks anything if empty.
	locks lock.Policy
}

// usage counts up.
type usage struct {
	process.CPU
	// Of the database server, all databases together; 0 where it does not count: bytes written to
	// its log, and commits.
	log, commits float64
}

func (u usage) since(before usage) usage {
	return usage{u.CPU.Since(before.CPU), u.log - before.log, u.commits - before.commits}
}

// perThousand is what was used for a thousand of so many orders.
func (u usage) perThousand(orders int) usage {
	if orders == 0 {
		return usage{}
	}
	share := 1000 / float64(orders)
	return usage{process.CPU{Machine: u.Machine * share, Self: u.Self * share, Server: u.Server * share}, u.log * share, u.commits * share}
}

func (s *system) onClose(end func() error) { s.ends = append(s.ends, end) }

// Close ends everything, the last started first.
func (s *system) Close() error {
	var faults []error
	for _, end := range slices.Backward(s.ends) {
		faults = append(faults, end())
	}
	s.ends = nil
	return errors.Join(faults...)
}

// partitions of each channel: every service runs in one instance, and nobody else would read a second.
const partitions = 1

// startBroker starts the broker of a system of services.
func (s *system) startBroker(ctx context.Context, dir string) (*nats.Broker, error) {
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(dir, "broker"), Logger: quiet})
	if err != nil {
		return nil, err
	}
	s.onClose(server.Shutdown)
	config := server.Config()
	config.Partitions = partitions
	broker, err := nats.Connect(ctx, config)
	if err != nil {
		return nil, err
	}
	s.onClose(broker.Close)
	return broker, nil
}

var quiet = slog.New(slog.DiscardHandler)

// handlers is how a system's services handle their commands, in transactions of type T, or react to each
// other's events.
type handlers[T any] struct {
	create, reject, approve local[T]
	register                func(c contract, name string, s *service.Service)
	react                   func(name string, s *service.Service)
}

// startService runs a service on its store until the system is closed.
func startService[T skald.Tx](ctx context.Context, s *system, name string, store service.Store, broker service.Broker, h handlers[T]) error {
	svc, err := service.New(name, store, broker, service.Config{Logger: quiet})
	if err != nil {
		return err
	}
	s.locks = append(s.locks, svc.Locks())
	join(s, name, svc, h)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(running) }()
	s.onClose(func() error { stop(); return <-ended })
	return nil
}

// join gives a service its part; that of the orders runs the saga.
func join[T skald.Tx](s *system, name string, svc *service.Service, h handlers[T]) {
	if s.form.style == Choreography {
		h.react(name, svc)
	} else {
		h.register(contractOf(s.form), name, svc)
	}
	switch {
	case name != "order":
	case s.form.style == Choreography:
		tracked := saga.Track(svc, choreography, orderCreated)
		s.run = func(ctx context.Context, o order) error { return choreograph(ctx, svc, tracked, h.create, o) }
	default:
		sagas := saga.Register(svc, definition(h, s.form))
		s.run = func(ctx context.Context, o order) error { return ended(sagas.Run(ctx, o.key(), o)) }
	}
}

// ended refuses an outcome that is no end.
func ended(outcome saga.Outcome[order], err error) error {
	if err == nil && !outcome.Status.Ended() {
		err = fmt.Errorf("order %s is %s: %s", outcome.State.key(), outcome.Status, outcome.Reason)
	}
	return err
}
