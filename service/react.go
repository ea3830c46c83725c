package service

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/internal/unit"
	"github.com/skald-go/skald/saga"
)

// React registers the handler of a choreography's event, as the service's participant in it
// declares. It gets the events of the choreography's instances only: an event of the same type that
// belongs to none goes to the handler of [HandleEvent], if there is one. What the handler adds to the outbox
// carries the instance on, and of events it may add those that its reaction declares: any other one
// is an error that parks the event.
//
// If the reaction is undone by another one, or undoes one, the two meet at a barrier: whichever
// order their events come in, the handler of an undo runs only after its do, and that of a do not after
// its undo.
func React[T, E any](s *Service, c saga.Choreography, event skald.Event[E], handle func(ctx context.Context, tx T, content E) error) {
	r, role, ok := s.roleIn(c, event.Type())
	if !ok {
		return
	}
	r.Handle = func(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
		var content E
		if err := skald.Decode(m, &content); err != nil {
			return nil, err
		}
		if _, err := s.observe(ctx, tx, m); err != nil {
			return nil, err
		}
		return nil, s.emitting(ctx, tx, role, []*skald.Message{m}, func() error { return handle(ctx, any(tx).(T), content) })
	}
	s.register(reflect.TypeFor[T](), r)
}

// ReactBatch registers a handler of all the events of a reaction that wait in a batch, in place of [React]. It is called as
// the handler of [HandleEvents] is, and sends with each event's own context.
func ReactBatch[T, E any](s *Service, c saga.Choreography, event skald.Event[E], handle func(ctx context.Context, tx T, events []*Received[E]) error) {
	r, role, ok := s.roleIn(c, event.Type())
	if !ok {
		return
	}
	r.HandleBatch = func(ctx context.Context, tx skald.Tx, requests []*inbox.Request) error {
		var messages []*skald.Message
		var observed []*inbox.Request
		for _, q := range requests {
			_, err := s.observe(ctx, tx, q.Message)
			if q.Settle(nil, err); err == nil {
				messages, observed = append(messages, q.Message), append(observed, q)
			}
		}
		received := receive[E](observed)
		if len(received) == 0 {
			return nil
		}
		return s.emitting(ctx, tx, role, messages, func() error { return handle(ctx, any(tx).(T), received) })
	}
	s.register(reflect.TypeFor[T](), r)
}

// roleIn finds what a service declares about an event, and begins its registration.
func (s *Service) roleIn(c saga.Choreography, event skald.EventType) (r inbox.Registration, role saga.Role, ok bool) {
	part := s.takePart(c)
	if part.choreography.Fingerprint() != c.Fingerprint() {
		s.fault(fmt.Errorf("service %q reacts in two different choreographies of the name %q: give each its own", s.name, c.Name))
		return r, role, false
	}
	roles := c.Roles(s.name)
	at := slices.IndexFunc(roles, func(r saga.Role) bool { return r.Event == event })
	if at < 0 {
		s.fault(fmt.Errorf("service %q declares no reaction to event %s in choreography %q: add it to its Participant, or use HandleEvent for what is no part of it", s.name, event, c.Name))
		return r, role, false
	}
	part.handled = append(part.handled, event)
	role, r = roles[at], s.reaction(c, event)
	if role.Step != "" {
		r.Reaction.Step, r.Reaction.Action, r.Reaction.Skipped = role.Step, skald.ActionDo, s.observe
	}
	if role.Undo {
		r.Reaction.Action = skald.ActionUndo
	}
	return r, role, true
}

// participation is what a service has registered of its part in a choreography.
type participation struct {
	choreography saga.Choreography
	handled      []skald.EventType
}

// takePart notes a choreography, once. What is wrong with it is said by Run.
func (s *Service) takePart(c saga.Choreography) *participation {
	if s.choreographies == nil {
		s.choreographies = map[string]*participation{}
	}
	if s.choreographies[c.Name] == nil {
		s.choreographies[c.Name] = &participation{choreography: c}
	}
	return s.choreographies[c.Name]
}

// reaction is what all registrations for a choreography's event have in common.
func (s *Service) reaction(c saga.Choreography, event skald.EventType) inbox.Registration {
	return inbox.Registration{
		Channel: event.Channel, Type: event.Name, Version: event.Version, MaxHops: c.MaxHops,
		Reaction: &inbox.Reaction{Choreography: c.Name}, Prepare: s.engine.PrepareEvents,
	}
}

// observe tells the engine of an event, if the choreography is tracked here. The service's own events
// were noted when they were added to the outbox.
func (s *Service) observe(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
	if m.Correlation().ID.IsZero() {
		return nil, fmt.Errorf("%w: event %q of choreography %q has no correlation id", inbox.ErrUnhandleable, m.Type, m.Correlation().Choreography)
	}
	if m.Source == s.name {
		return nil, nil
	}
	return nil, postponed(s.engine.Observe(ctx, tx, m))
}

// emitting runs a reaction to messages, and holds it to the events that it declares.
func (s *Service) emitting(ctx context.Context, tx skald.Tx, role saga.Role, messages []*skald.Message, run func() error) error {
	work := unit.From(ctx, tx)
	before := len(work.Outgoing)
	if err := run(); err != nil {
		return err
	}
	for i := range work.Outgoing[before:] {
		out := &work.Outgoing[before+i]
		c, declared := out.Correlation(), slices.Contains(role.Emits, out.EventType())
		if out.Kind != skald.KindEvent || declared && !c.ID.IsZero() {
			continue
		}
		if declared {
			return fmt.Errorf("%w: service %q reacts to event %q with %s, and publishes that outside of the choreography: publish with the event's own Context",
				inbox.ErrUnhandleable, s.name, role.Event, out.EventType())
		}
		if slices.ContainsFunc(messages, func(m *skald.Message) bool { return m.Correlation().ID == c.ID }) {
			return fmt.Errorf("%w: service %q reacts to event %q of choreography %q with %s, which it does not declare: add it to the reaction's Emits, or emit it with skald.Uncorrelated if it is no part of the choreography",
				inbox.ErrUnhandleable, s.name, role.Event, c.Choreography, out.EventType())
		}
	}
	return nil
}

// checkChoreographies reports declared reactions without a handler, and subscribes to the events of
// tracked choreographies to which nothing here reacts.
func (s *Service) checkChoreographies() {
	tracked := s.engine.Tracked()
	newest := map[string]bool{}
	for _, c := range slices.Backward(tracked) { // of several versions the newest is what new instances follow
		if part := s.takePart(c); !newest[c.Name] && part.choreography.Fingerprint() != c.Fingerprint() {
			s.fault(fmt.Errorf("service %q reacts in choreography %q as it is declared in one way, and tracks it as it is declared in another: give React and Track the same value", s.name, c.Name))
		}
		newest[c.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(s.choreographies)) {
		part := s.choreographies[name]
		s.checkPatience(part.choreography.Deadline, fmt.Sprintf("choreography %q", name))
		if !slices.ContainsFunc(tracked, func(c saga.Choreography) bool { return c.Name == name }) {
			s.fault(part.choreography.Validate()) // the engine says it of those that it tracks
		}
		for _, role := range part.choreography.Roles(s.name) {
			if !slices.Contains(part.handled, role.Event) {
				s.fault(fmt.Errorf("service %q declares a reaction to event %s in choreography %q, and has no handler for it: register one with React", s.name, role.Event, name))
			}
		}
	}
	for _, c := range tracked {
		s.watch(c)
	}
}

// watch subscribes to what others emit in a tracked choreography.
func (s *Service) watch(c saga.Choreography) {
	part := s.choreographies[c.Name]
	for _, event := range c.Foreign(s.name) {
		if slices.Contains(part.handled, event) {
			continue
		}
		part.handled = append(part.handled, event)
		s.fault(s.consumer.Register(s.watching(c, event)))
	}
}

// watching takes note of an event, and then hands it to the service's own handler of it, if there is one.
func (s *Service) watching(c saga.Choreography, event skald.EventType) inbox.Registration {
	r := s.reaction(c, event)
	r.Handle = s.observe
	i := slices.IndexFunc(s.handlers, func(h inbox.Registration) bool {
		return h.Channel == event.Channel && h.Type == event.Name && h.Version == event.Version
	})
	switch {
	case i < 0:
	case s.handlers[i].Handle != nil:
		own := s.handlers[i].Handle
		r.Handle = func(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
			if _, err := s.observe(ctx, tx, m); err != nil {
				return nil, err
			}
			return own(ctx, tx, m)
		}
	default:
		own := s.handlers[i].HandleBatch
		r.Handle, r.HandleBatch = nil, func(ctx context.Context, tx skald.Tx, requests []*inbox.Request) error {
			for _, q := range requests {
				if _, err := s.observe(ctx, tx, q.Message); err != nil {
					return err
				}
			}
			return own(ctx, tx, requests)
		}
	}
	return r
}
