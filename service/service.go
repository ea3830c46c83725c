// Package service is the façade: one service's handlers, sagas, relay and consumers behind
// one Run.
package service

import (
	"context"
	"log/slog"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
)

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

// Config of a service; its zero value works.
type Config struct {
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// BatchSize is how many messages one transaction handles at most. Defaults to 256.
	BatchSize int
	// HandlerTimeout bounds one handler's run. Defaults to 10 seconds.
	HandlerTimeout time.Duration
	// MaxAttempts before a message is parked. Defaults to 10.
	MaxAttempts int
}

// Service is one service: its handlers, sagas, relay and consumers.
type Service struct{}

// New makes a service on its own database and a broker. Its name is the subscriber group of
// its consumers and the source of its messages.
func New(name string, store Store, broker Broker, config Config) (*Service, error) {
	panic("being written")
}

// HandleCommand registers the handler of a command. T is the store's transaction type, for
// example *sql.Tx. The handler's answer is its result; a *[skald.Refusal] as error says no;
// any other error is retried with backoff, then parked.
func HandleCommand[T, C, R any](s *Service, command skald.Command[C, R], handle func(ctx context.Context, tx T, content C) (R, error)) {
	panic("being written")
}

// HandleEvent registers the handler of an event.
func HandleEvent[T, E any](s *Service, event skald.Event[E], handle func(ctx context.Context, tx T, content E) error) {
	panic("being written")
}

// Transact runs fn in the transaction of the service's next batch, together with whatever
// else is waiting, and returns once it is committed: requests share the fsync of a batch. When
// fn returns an error its writes are undone and the error is returned as it is. Inside, ctx
// carries the batch to outbox.Add and Saga.Start.
func Transact[T any](ctx context.Context, s *Service, fn func(ctx context.Context, tx T) error) error {
	panic("being written")
}

// OnCommit calls fn after the batch that ctx belongs to has committed; it returns false, and
// never calls fn, outside of one. fn must not block.
func OnCommit(ctx context.Context, fn func()) bool { panic("being written") }

// Outbox is where the service's own messages go.
func (s *Service) Outbox() *outbox.Outbox { panic("being written") }

// SagaEngine implements [saga.Host].
func (s *Service) SagaEngine() *saga.Engine { panic("being written") }

// Run checks the registrations, then runs relay, consumers and timers until ctx ends; then it
// drains: batches under way are finished, leases given up.
func (s *Service) Run(ctx context.Context) error { panic("being written") }

// Health is how the service is doing.
type Health struct {
	// Ready is false before Run and while draining.
	Ready bool
	// Lag of the relay.
	Lag relay.Lag
	// Held and Parked count messages that wait in the inbox's held table.
	Held, Parked int
}

// Health reads figures from the store.
func (s *Service) Health(ctx context.Context) (Health, error) { panic("being written") }
