package saga

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/lock"
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
	// Deadline from the start until the saga is decided. When it passes, the saga compensates; a
	// pivot without an answer is barred first. Defaults to none.
	Deadline time.Duration
}

// Compensatable is a step before the pivot, or a group of branches that run beside each other.
type Compensatable[S any] struct {
	// Name identifies the step in the store, on the wire and in the history. Required.
	Name string
	// Do is the step's local transaction. Required, except for a group.
	Do Action[S]
	// Undo is its compensating transaction; nil when the step leaves nothing to undo. It is
	// built only from what was known before Do: Do may have landed although its reply never came.
	Undo Action[S]
	// When is the step's condition, asked when its turn comes: a step for which it returns false is
	// skipped. It must depend on nothing but the state. Defaults to always.
	When func(state S) bool
	// Deadline for Do's answer. When it passes, the saga compensates, this step included.
	// Defaults to none; a step that waits needs one.
	Deadline time.Duration
	// Locked says what becomes of a step that meets another saga's semantic lock: [lock.Wait], by which the
	// saga waits, or is undone and starts again by itself once the lock is free, or [lock.Refuse]. Defaults to
	// Wait. Only for a step that takes a lock.
	Locked lock.Policy
	// Reads, Raises and Lowers say what the step does to what others see: what it reads, of what it makes more
	// available that others may take (it frees credit, or a seat), and of what it takes. What the undo
	// does follows from it. A step that raises anything before the saga is decided is refused with the order that
	// puts this right; see [PessimisticView]. A child's steps declare for it.
	Reads, Raises, Lowers []skald.Resource
	// Parallel makes a group of the branches: the steps of a branch run one after the other, the
	// branches beside each other, and the saga goes on when the last one is done. When a branch is
	// refused, the others are not waited for: each is undone, in reverse, by itself. A group has
	// a name and no other field. Branches have no groups.
	Parallel [][]Compensatable[S]
}

// Step is the pivot or a step after it.
type Step[S any] struct {
	// Name identifies the step in the store, on the wire and in the history. Required.
	Name string
	// Do is the step's local transaction. Required.
	Do Action[S]
	// When is the step's condition, as that of a [Compensatable].
	When func(state S) bool
	// Bar is how long a pivot may stay without an answer before it is barred: if it has not
	// landed then, the participant refuses it for ever and the saga compensates; if it has, the
	// recorded reply comes back. A pivot that is a child is cancelled, one that waits is refused.
	// Defaults to never. Only for a pivot, and not for a local one.
	Bar time.Duration
	// Locked says what becomes of a pivot that meets another saga's lock, as that of a [Compensatable].
	Locked lock.Policy
	// Reads, Raises and Lowers are as those of a [Compensatable].
	Reads, Raises, Lowers []skald.Resource
}

// Action is what a step does: [Local], [Call], [Wait] or [Child].
type Action[S any] interface{ action() *action[S] }

type action[S any] struct {
	kind machine.Kind

	// A local action.
	run    func(ctx context.Context, tx skald.Tx, state *S) error
	txType reflect.Type

	// A wait.
	content reflect.Type
	signal  func(state *S, content []byte) error

	// A child.
	child *script
	begin func(state S) (key string, encoded []byte, err error)

	// A call; of a child, how it ended.
	command  string
	version  int
	channel  string
	request  func(state S) (skald.Message, error)
	reply    func(state *S, m *skald.Message) error
	refused  func(state *S, refusal skald.Refusal)
	declared func(code string) bool
	refusals []string
	again    []string   // codes with which the saga starts again
	sample   func() any // a reply with no field at its zero value
	contract error
	probe    func(state *S)

	// The locks that it takes and releases; a call's are on its command's key.
	locks, unlocks     skald.Resource
	lockKey, unlockKey func(state S) string
}

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
		kind: machine.Local, txType: reflect.TypeFor[T](), contract: contract,
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
		sample: func() any { return filled[R]() },
		locks:  command.Locks, unlocks: command.Unlocks,
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
	c.a.reply = recording(record)
	c.a.probe = func(state *S) { record(state, filled[R]()) }
	return c
}

func recording[S, R any](record func(state *S, reply R)) func(state *S, m *skald.Message) error {
	return func(state *S, m *skald.Message) error {
		var reply R
		if err := skald.Decode(m, &reply); err != nil {
			return err
		}
		record(state, reply)
		return nil
	}
}

// Refused records why the participant said no, for the compensations and the caller to see.
func (c CallAction[S, R]) Refused(record func(state *S, refusal skald.Refusal)) CallAction[S, R] {
	c.a.refused = record
	return c
}
