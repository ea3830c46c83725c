package saga

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/skald-go/skald"
)

// Definition is a saga as a value. Its shape is the theory (Garcia-Molina and Salem's
// sagas, with Mehrotra's pivot): steps that can be undone, one that decides, and steps that
// can only go forward. It is checked when it is registered; nothing runs before.
//
// S is the saga's state, encoded as JSON between steps. Its name and version identify it in
// the store, and a running instance keeps the version it started with.
type Definition[S any] struct {
	// Name on the wire and in the store, for example "order.create". Required.
	Name string
	// Version of the definition. Defaults to 1. A changed definition needs a new one.
	Version int
	// Compensatable steps, undone in reverse order when a later step or the pivot is refused.
	Compensatable []Compensatable[S]
	// Pivot decides: before it the saga can be undone, after it it goes forward only. A
	// definition without one is decided once all compensatable steps are done.
	Pivot Step[S]
	// Retriable steps cannot be refused for good: a refusal parks the saga for an operator.
	Retriable []Step[S]
}

// Compensatable is a step before the pivot.
type Compensatable[S any] struct {
	// Name identifies the step in the store, on the wire and in the history. Required.
	Name string
	// Do is the step's local transaction. Required.
	Do Action[S]
	// Undo is its compensating transaction; nil when the step leaves nothing to undo. It is
	// built only from what was known before Do: Do may have landed although its reply never came.
	Undo Action[S]
	// Deadline for Do's answer. When it passes, the saga compensates, this step included.
	// Defaults to none.
	Deadline time.Duration
}

// Step is the pivot or a step after it.
type Step[S any] struct {
	// Name identifies the step in the store, on the wire and in the history. Required.
	Name string
	// Do is the step's local transaction. Required.
	Do Action[S]
	// Bar is how long a pivot may stay without an answer before it is barred: if it has not
	// landed then, the participant refuses it for ever and the saga compensates; if it has, the
	// recorded reply comes back. Defaults to never. Only for a pivot that calls a participant.
	Bar time.Duration
}

// Action is what a step does: [Local] or [Call].
type Action[S any] interface{ action() *action[S] }

type action[S any] struct {
	// A local action.
	run    func(ctx context.Context, tx skald.Tx, state *S) error
	txType reflect.Type

	// A call.
	command  string
	version  int
	channel  string
	request  func(state S) (skald.Message, error)
	reply    func(state *S, m *skald.Message) error
	refused  func(state *S, refusal skald.Refusal)
	declared func(code string) bool
	refusals []string
	sample   func() any // a reply with no field at its zero value
	contract error
	probe    func(state *S)
}

func (a *action[S]) local() bool { return a.run != nil }

// LocalAction is the result of [Local].
type LocalAction[S any] struct{ a action[S] }

func (l LocalAction[S]) action() *action[S] { return &l.a }

// Local is a step in the orchestrator's own database: run is called in the transaction that
// moves the saga on. T is the store's transaction type, for example *sql.Tx. A *[skald.Refusal]
// refuses the step and keeps what run wrote before: decide first, then write. Any other error
// is retried.
func Local[S, T any](run func(ctx context.Context, tx T, state *S) error) LocalAction[S] {
	var contract error
	if run == nil {
		contract = errors.New("local: the function is nil: give the one that runs")
	}
	return LocalAction[S]{action[S]{
		txType: reflect.TypeFor[T](), contract: contract,
		run: func(ctx context.Context, tx skald.Tx, state *S) error {
			return run(ctx, any(tx).(T), state)
		},
	}}
}

// CallAction is the result of [Call].
type CallAction[S, R any] struct{ a action[S] }

func (c CallAction[S, R]) action() *action[S] { return &c.a }

// Call is a step at a participant: a command built from the state, answered by a reply.
func Call[S, C, R any](command skald.Command[C, R], request func(state S) C) CallAction[S, R] {
	contract := command.Validate()
	if request == nil {
		contract = errors.Join(contract, fmt.Errorf("call %q: the function is nil: give the one that builds the command", command.Name))
	}
	return CallAction[S, R]{action[S]{
		command: command.Name, version: max(command.Version, 1), channel: command.Channel,
		contract: contract, declared: command.Refuses, refusals: command.Refusals,
		sample:  func() any { return filled[R]() },
		request: func(state S) (skald.Message, error) { return command.Message(request(state)) },
	}}
}

// Then records the reply of a successful call in the state. It must not fail, and must
// depend on nothing but its arguments.
func (c CallAction[S, R]) Then(record func(state *S, reply R)) CallAction[S, R] {
	if record == nil {
		c.a.contract = errors.Join(c.a.contract, fmt.Errorf("call %q: the function given to Then is nil: give one, or leave Then out", c.a.command))
		return c
	}
	c.a.reply = func(state *S, m *skald.Message) error {
		var reply R
		if err := skald.Decode(m, &reply); err != nil {
			return err
		}
		record(state, reply)
		return nil
	}
	c.a.probe = func(state *S) { record(state, filled[R]()) }
	return c
}

// Refused records why the participant said no, for the compensations and the caller to see.
func (c CallAction[S, R]) Refused(record func(state *S, refusal skald.Refusal)) CallAction[S, R] {
	c.a.refused = record
	return c
}
