package saga

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
)

// Tracked is a choreography that a service follows: the handle with which instances are started
// and awaited. E is the content of its start event. It is safe for concurrent use.
type Tracked[E any] struct {
	engine  *Engine
	starts  skald.Event[E]
	tracked *tracked
	// instances are stored as a saga's are; their state is what they began with.
	instances Saga[E]
}

// tracked is a declaration as the engine follows it.
type tracked struct {
	choreography Choreography
	fault        error
	flow         machine.Flow
	events       []skald.EventType
}

// Track makes a service follow a choreography's instances. Each is a row in the service's store, with
// a history of the events that it saw, until an end event comes; one that misses its deadline is parked,
// with what it still expects as the reason, and goes on by itself when that comes. The service need not take part: events
// of others that it does not react to are read all the same. It starts the instances; starts is the
// choreography's start event. A faulty declaration is reported by the service's Run.
func Track[E any](host Host, c Choreography, starts skald.Event[E]) *Tracked[E] {
	e := host.SagaEngine()
	handle := &Tracked[E]{engine: e, starts: starts, instances: Saga[E]{engine: e, name: c.Name}}
	handle.tracked = &tracked{choreography: c, flow: c.flow(), events: c.Events(), fault: c.Validate()}
	if starts.Type() != typeOf(c.Starts) {
		e.faults = append(e.faults, fmt.Errorf("choreography %q starts with event %s, and is tracked from %s: give Track the start event", c.Name, typeOf(c.Starts), starts.Type()))
	}
	if e.tracked[c.Name][c.version()] != nil {
		e.faults = append(e.faults, fmt.Errorf("choreography %q version %d: tracked twice", c.Name, c.version()))
	}
	e.track(handle.tracked)
	return handle
}

func (e *Engine) track(t *tracked) {
	if e.tracked == nil {
		e.tracked = map[string]map[int]*tracked{}
		e.Outbox.Observe(e.Observe)
	}
	if e.tracked[t.choreography.Name] == nil {
		e.tracked[t.choreography.Name] = map[int]*tracked{}
	}
	e.tracked[t.choreography.Name][t.choreography.version()] = t
}

// Tracked are the choreographies that are followed, in the order of their names and versions.
func (e *Engine) Tracked() []Choreography {
	var all []Choreography
	for _, name := range slices.Sorted(maps.Keys(e.tracked)) {
		for _, version := range slices.Sorted(maps.Keys(e.tracked[name])) {
			all = append(all, e.tracked[name][version].choreography)
		}
	}
	return all
}

// Begin begins an instance in the caller's transaction, and publishes the start event in it. It draws
// the correlation id that every event of the instance carries, and returns it.
func (t *Tracked[E]) Begin(ctx context.Context, tx skald.Tx, content E) (skald.ID, error) {
	id := skald.NewID()
	return id, t.start(ctx, tx, id, content, func(*follows) error { return nil }) // nobody has used it
}

// Start is as [Tracked.Begin], with an id of the caller's, for example that of what the instance is about. It
// looks for that in the store: an id that was used before is an [ErrConflict].
func (t *Tracked[E]) Start(ctx context.Context, tx skald.Tx, id skald.ID, content E) error {
	if id.IsZero() {
		return fmt.Errorf("choreography %q: start: the id is zero: let Begin draw one", t.tracked.choreography.Name)
	}
	return t.start(ctx, tx, id, content, func(f *follows) error { return f.checkUnused(ctx, id) })
}

func (t *Tracked[E]) start(ctx context.Context, tx skald.Tx, id skald.ID, content E, check func(*follows) error) error {
	name := t.tracked.choreography.Name
	if t.tracked.fault != nil {
		return fmt.Errorf("choreography %q: start: its declaration is refused, as Run says", name)
	}
	m, err := t.starts.Message(content)
	if err != nil {
		return err
	}
	m.Correlate(skald.Correlation{ID: id, Choreography: name})
	record := Record{
		ID: id, Name: name, Version: t.tracked.choreography.version(), Key: id.String(),
		State: m.Payload, Trace: skald.TraceFrom(ctx),
	}
	err = t.engine.following(ctx, tx, func(f *follows) error {
		if err := check(f); err != nil {
			return err
		}
		return f.start(record, t.tracked)
	})
	if err != nil {
		return err
	}
	return t.engine.Outbox.Add(ctx, tx, m)
}

// Find returns an instance as far as it is known; false when there is none. Its state is what it was
// started with.
func (t *Tracked[E]) Find(ctx context.Context, id skald.ID) (Outcome[E], bool, error) {
	return t.instances.Find(ctx, id.String())
}

// Await blocks until the instance has ended or is parked, or ctx ends, as [Saga.Await] does.
func (t *Tracked[E]) Await(ctx context.Context, id skald.ID) (Outcome[E], error) {
	key := id.String()
	ended, remove := t.engine.waiters.add(waiterKey{t.instances.name, key})
	defer remove()
	if !t.engine.courses.holds(id) { // else it lives, and its end is still to be told
		if found, over, err := t.instances.over(ctx, key); over || err != nil {
			return found, err
		}
	}
	return t.instances.await(ctx, key, id, ended)
}

// Observe takes note of an event of a tracked instance, inside a batch or in the transaction
// that emits it. Other messages are none of its business.
func (e *Engine) Observe(ctx context.Context, tx skald.Tx, m *skald.Message) error {
	c := m.Correlation()
	versions := e.tracked[c.Choreography]
	if versions == nil || c.ID.IsZero() {
		return nil
	}
	return e.following(ctx, tx, func(f *follows) error {
		in, err := f.find(ctx, c.ID)
		if err != nil {
			return err
		}
		if in == nil || in.record.Name != c.Choreography {
			e.Logger.WarnContext(ctx, "saga: event of a choreography's instance that was not started here", "choreography", c.Choreography, "correlation_id", c.ID, "event", m.Type)
			return nil
		}
		event := m.EventType()
		if event == typeOf(in.tracked.choreography.Starts) || !slices.Contains(in.tracked.events, event) {
			return nil
		}
		return f.apply(in, machine.Seen{Event: event.String(), Service: m.Source})
	})
}

// PrepareEvents loads the tracked instances of a batch's events in one statement.
func (e *Engine) PrepareEvents(ctx context.Context, tx skald.Tx, messages []*skald.Message) error {
	if len(e.tracked) == 0 {
		return nil
	}
	ids := make([]skald.ID, 0, len(messages))
	for _, m := range messages {
		if c := m.Correlation(); e.tracked[c.Choreography] != nil && !c.ID.IsZero() && !slices.Contains(ids, c.ID) {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return e.following(ctx, tx, func(f *follows) error { return f.preload(ctx, ids) })
}

// checkTracked refuses a declaration that was changed under its version number, or has a
// definition's name.
func (e *Engine) checkTracked(ctx context.Context) error {
	var faults []error
	for _, c := range e.Tracked() {
		if fault := e.tracked[c.Name][c.version()].fault; fault != nil {
			faults = append(faults, fault)
			continue
		}
		if e.scripts[c.Name] != nil {
			faults = append(faults, fmt.Errorf("choreography %q: a saga has this name too: instances are stored by it, so rename one", c.Name))
			continue
		}
		stored, err := e.Store.RegisterDefinition(ctx, c.Name, c.version(), c.Fingerprint())
		if err != nil {
			return fmt.Errorf("choreography %q version %d: store its fingerprint: %w", c.Name, c.version(), err)
		}
		if stored != c.Fingerprint() {
			faults = append(faults, fmt.Errorf("choreography %q: the declaration differs from the one that was tracked as version %d: raise Version, and keep tracking the old one while it has live instances", c.Name, c.version()))
		}
	}
	return errors.Join(faults...)
}

// Fingerprint changes whenever the declaration changes in a way that a participant or a running
// instance would notice. Deadline and MaxHops may be changed at any time.
func (c Choreography) Fingerprint() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v %+v %+v\n", typeOf(c.Starts), typeOf(c.Completes), typeOf(c.Compensates))
	for _, r := range c.reactions() {
		fmt.Fprintf(&b, "%q %q on %+v all %t emits %+v undoes %q\n", r.service, r.Name, r.On.events, r.On.all, r.Emits, r.Undoes)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// flow is the declaration as the machine sees it.
func (c *Choreography) flow() machine.Flow {
	f := machine.Flow{Starts: typeOf(c.Starts).String(), Completes: typeOf(c.Completes).String(), Deadline: c.Deadline}
	if c.Compensates != nil {
		f.Compensates = typeOf(c.Compensates).String()
	}
	for _, r := range c.reactions() {
		f.Reactions = append(f.Reactions, machine.Reaction{
			Service: r.service, Name: r.Name, On: eventNames(r.On.events), All: r.On.all, Emits: eventNames(r.Emits), Undoes: r.Undoes,
		})
	}
	return f
}

func eventNames(events []skald.EventType) []string {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = e.String()
	}
	return names
}
