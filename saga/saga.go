package saga

import (
	"context"

	"github.com/skald-go/skald"
)

// Saga is a registered definition: the handle with which instances are started and awaited.
// It is safe for concurrent use.
type Saga[S any] struct {
	engine *Engine
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
// is started.
func (s *Saga[S]) Start(ctx context.Context, tx skald.Tx, key string, state S, options ...StartOption) error {
	panic("being written")
}

// Await blocks until the newest instance of the key has ended or is parked, or ctx ends.
func (s *Saga[S]) Await(ctx context.Context, key string) (Outcome[S], error) {
	panic("being written")
}

// Engine runs the registered sagas of one service.
type Engine struct{}

// Host is the service that a saga is registered with.
type Host interface {
	SagaEngine() *Engine
}

// Register adds a definition to a service. A faulty definition is reported by the service's
// Run, with every fault at once, before anything starts.
func Register[S any](host Host, definition Definition[S]) *Saga[S] {
	return &Saga[S]{engine: host.SagaEngine()}
}
