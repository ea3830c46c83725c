// Package outbox puts messages into a store inside the caller's transaction: a message
// exists if and only if its transaction commits.
package outbox

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/unit"
)

// Store is what the outbox needs of a database.
type Store interface {
	// AddMessages inserts the messages, in order, inside tx. A transaction that is not of
	// the store's own type is an error.
	AddMessages(ctx context.Context, tx skald.Tx, messages []skald.Message) error
	// Arm makes the store's poller look in short intervals until a new row appears or a
	// bound passes: nobody can see a commit that the caller makes.
	Arm()
}

// Outbox belongs to one store. It is safe for concurrent use.
type Outbox struct {
	store   Store
	source  string
	observe Observe
}

// Observe is told of each event of a choreography that is added, inside the transaction.
type Observe func(ctx context.Context, tx skald.Tx, m *skald.Message) error

// New returns the outbox of a store; source names the sending service.
func New(store Store, source string) (*Outbox, error) {
	var faults []error
	if store == nil {
		faults = append(faults, errors.New("outbox: no store given"))
	}
	if err := skald.CheckName(source); err != nil {
		faults = append(faults, errors.New("outbox: source "+err.Error()))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return &Outbox{store: store, source: source}, nil
}

// Observe has fn told of the events of choreographies that are added from now on. An error is returned by
// Add. It must not be called while anything is added.
func (o *Outbox) Observe(fn Observe) { o.observe = fn }

// Add puts messages into the outbox inside the caller's transaction, after checking
// sizes and syntax: an error wraps [skald.ErrInvalidMessage], and none of them is added. It fills
// ID, Time and Source where they are empty, and the trace and the correlation of ctx. Inside a handler the
// messages are written together with all others of the batch.
func (o *Outbox) Add(ctx context.Context, tx skald.Tx, messages ...skald.Message) error {
	now := time.Now().UTC()
	work := unit.From(ctx, tx)
	if work != nil {
		now = work.Now
	}
	prepared := make([]skald.Message, len(messages))
	var faults []error
	for i := range messages {
		prepared[i] = o.prepare(ctx, messages[i], now)
		if err := prepared[i].Validate(); err != nil {
			faults = append(faults, err)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if err := o.tell(ctx, tx, prepared); err != nil {
		return err
	}
	if work != nil {
		for i := range prepared {
			prepared[i].Payload = bytes.Clone(prepared[i].Payload) // the caller may use its slice again
		}
		work.Outgoing = append(work.Outgoing, prepared...)
		return nil
	}
	if err := o.store.AddMessages(ctx, tx, prepared); err != nil {
		return err
	}
	o.store.Arm()
	return nil
}

func (o *Outbox) tell(ctx context.Context, tx skald.Tx, messages []skald.Message) error {
	if o.observe == nil {
		return nil
	}
	for i := range messages {
		if m := &messages[i]; m.Kind == skald.KindEvent && m.Headers.Get(skald.HeaderChoreography) != "" {
			if err := o.observe(ctx, tx, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Outbox) prepare(ctx context.Context, m skald.Message, now time.Time) skald.Message {
	if m.ID.IsZero() {
		m.ID = skald.NewID()
	}
	if m.Time.IsZero() {
		m.Time = now
	}
	if m.Source == "" {
		m.Source = o.source
	}
	m.Correlate(skald.CorrelationFrom(ctx))
	trace := skald.TraceFrom(ctx)
	if trace.Parent != "" && m.Headers.Get(skald.HeaderTraceParent) == "" {
		m.Headers = m.Headers.Clone()
		m.Headers.Set(skald.HeaderTraceParent, trace.Parent)
		if trace.State != "" {
			m.Headers.Set(skald.HeaderTraceState, trace.State)
		}
	}
	return m
}

// Publish adds an event inside the caller's transaction.
func Publish[E any](ctx context.Context, o *Outbox, tx skald.Tx, event skald.Event[E], content E) error {
	m, err := event.Message(content)
	if err != nil {
		return err
	}
	return o.Add(ctx, tx, m)
}

// Send adds a command that nobody waits for inside the caller's transaction.
func Send[C, R any](ctx context.Context, o *Outbox, tx skald.Tx, command skald.Command[C, R], content C) error {
	m, err := command.Message(content)
	if err != nil {
		return err
	}
	return o.Add(ctx, tx, m)
}
