package service

import (
	"context"
	"reflect"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// Received is one of the messages that a batch handler gets.
type Received[C any] struct {
	Content C
	message *skald.Message
}

// ID is the message's id.
func (r *Received[C]) ID() skald.ID { return r.message.ID }

// Context is ctx with the trace and the correlation of this message, for what is sent on its behalf.
func (r *Received[C]) Context(ctx context.Context) context.Context {
	return skald.WithCause(ctx, r.message)
}

// Request is one of the commands that a batch handler gets, to be answered or refused by
// itself. It is used by the handler's goroutine, and settled at the latest by the functions for
// the results of what the handler has queued. The last word counts.
type Request[C, R any] struct {
	Received[C]
	request *inbox.Request
}

// Answer answers the command.
func (r *Request[C, R]) Answer(answer R) { r.request.Settle(answer, nil) }

// Refuse says no to the command. What was written for it is undone unless the refusal is kept:
// then the batch runs again, and the command is handled alone.
func (r *Request[C, R]) Refuse(refusal *skald.Refusal) { r.request.Settle(nil, refusal) }

// HandleCommands registers a handler of all the commands that wait in a batch, in place of
// [HandleCommand]: for a store whose transactions have a queue, so that the statements of many commands
// share a round trip. The handler answers or refuses each request itself, or queues statements
// whose functions do; its queue is flushed when it returns.
//
// Commands of one key come in order, and may come together: who reads first and then decides for all
// must reckon with that. An error, a panic, a command that was not settled, or a refusal whose
// writes are to be undone makes the batch run again, with those commands one by one, so that
// only the culprit is held. The timeout of a handler is that of the whole call.
func HandleCommands[T, C, R any](s *Service, command skald.Command[C, R], handle func(ctx context.Context, tx T, requests []*Request[C, R]) error) {
	s.fault(command.Validate())
	s.register(reflect.TypeFor[T](), inbox.Registration{
		Channel: command.Channel, Type: command.Name, Version: max(command.Version, 1), Declared: command.Refuses,
		Locks: command.Locks, Unlocks: command.Unlocks,
		HandleBatch: func(ctx context.Context, tx skald.Tx, requests []*inbox.Request) error {
			received := make([]*Request[C, R], 0, len(requests))
			for _, r := range requests {
				one := &Request[C, R]{Received[C]{message: r.Message}, r}
				if err := skald.Decode(r.Message, &one.Content); err != nil {
					r.Settle(nil, err)
					continue
				}
				received = append(received, one)
			}
			if len(received) == 0 {
				return nil
			}
			return handle(ctx, any(tx).(T), received)
		},
	})
}

// HandleEvents registers a handler of all the events that wait in a batch, in place of
// [HandleEvent]. It is called as the handler of [HandleCommands] is.
func HandleEvents[T, E any](s *Service, event skald.Event[E], handle func(ctx context.Context, tx T, events []*Received[E]) error) {
	s.fault(event.Validate())
	s.register(reflect.TypeFor[T](), inbox.Registration{
		Channel: event.Channel, Type: event.Name, Version: max(event.Version, 1),
		HandleBatch: func(ctx context.Context, tx skald.Tx, requests []*inbox.Request) error {
			received := receive[E](requests)
			if len(received) == 0 {
				return nil
			}
			return handle(ctx, any(tx).(T), received)
		},
	})
}

// receive decodes events, and settles them: they have no answer.
func receive[E any](requests []*inbox.Request) []*Received[E] {
	received := make([]*Received[E], 0, len(requests))
	for _, r := range requests {
		one := &Received[E]{message: r.Message}
		err := skald.Decode(r.Message, &one.Content)
		if r.Settle(nil, err); err == nil {
			received = append(received, one)
		}
	}
	return received
}
