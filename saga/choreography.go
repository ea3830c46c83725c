package saga

import (
	"slices"
	"time"

	"github.com/skald-go/skald"
)

// Choreography is a business operation without an orchestrator: services react to each other's
// events. It is a value that is put together from what each service declares, so that what none of them
// sees alone can be checked ([Choreography.Validate]), drawn ([Choreography.Mermaid],
// [Choreography.SVG]) and followed while it runs ([Track]).
//
// Its instances are told apart by a correlation id, which every event carries and which belongs to one
// instance of one choreography only.
type Choreography struct {
	// Name on the wire and in the store, for example "order.create". Required.
	Name string
	// Version of the declaration. Defaults to 1. A changed one that is tracked needs a new one.
	Version int
	// Starts is the event that an instance begins with. Required.
	Starts Event
	// Completes is the event that ends an instance well. Required.
	Completes Event
	// Compensates is the event that ends an instance whose effects are undone. Defaults to none.
	Compensates Event
	// Participants are the services, each with what it declares.
	Participants []Participant
	// Deadline from start to end; an instance that takes longer is stalled, and parked where an
	// operator sees it. Required.
	Deadline time.Duration
	// MaxHops is how many events may have led to one of an instance, one because of the other.
	// Defaults to the receiving service's own limit.
	MaxHops int
}

// Event is an event's contract: a skald.Event[E], whatever its E.
type Event interface{ Type() skald.EventType }

// Participant is a service's part in a choreography. It is declared in the service's api package, or, where
// these would import each other because the services react to each other, beside the choreography.
type Participant struct {
	// Service is the name that the service is made with.
	Service   string
	Reactions []Reaction
}

// Reaction is what a service does about events of others, or of its own.
type Reaction struct {
	// Name identifies the reaction among its service's: in the store, and in drawings. Required.
	Name string
	// On is what it reacts to: [On] or [OnAll]. Required.
	On Trigger
	// Emits are the events of which the reaction emits one: see [Emits]. Defaults to none.
	Emits []skald.EventType
	// Undoes names the reaction of the same service that this one compensates. Whatever the order in
	// which their events come, what is not done is not undone, and what is undone is not done afterwards.
	// An undo that has nothing to undo does nothing, and emits nothing.
	Undoes string
	// Repeats says that the reaction closes a cycle on purpose. It ends by itself, or MaxHops ends it.
	Repeats bool
}

// Trigger is what a reaction waits for.
type Trigger struct {
	events []skald.EventType
	all    bool
}

// On is any one of events: the reaction runs at each.
func On(events ...Event) Trigger { return Trigger{events: types(events)} }

// OnAll is all of events, in any order. The handler runs at each, and sees itself which of them came
// before: in the service's own database.
func OnAll(events ...Event) Trigger { return Trigger{events: types(events), all: true} }

// Emits lists events for [Reaction].
func Emits(events ...Event) []skald.EventType { return types(events) }

func types(events []Event) []skald.EventType {
	all := make([]skald.EventType, len(events))
	for i, e := range events {
		all[i] = typeOf(e)
	}
	return all
}

func typeOf(e Event) skald.EventType {
	if e == nil {
		return skald.EventType{}
	}
	return e.Type()
}

// Role is what a service does about one event of a choreography.
type Role struct {
	Event skald.EventType
	// Emits are the events that it may emit meanwhile.
	Emits []skald.EventType
	// Step is the reaction that the event does, or undoes; empty when nothing undoes it.
	Step string
	Undo bool
}

// Roles are what a service does about the choreography's events, in the order of its declaration.
func (c Choreography) Roles(service string) []Role {
	var roles []Role
	for i := range c.Participants {
		if c.Participants[i].Service == service {
			roles = append(roles, c.Participants[i].roles()...)
		}
	}
	return roles
}

func (p *Participant) roles() []Role {
	var roles []Role
	for i := range p.Reactions {
		r := &p.Reactions[i]
		for _, event := range r.On.events {
			at := slices.IndexFunc(roles, func(known Role) bool { return known.Event == event })
			if at < 0 {
				at = len(roles)
				roles = append(roles, Role{Event: event})
			}
			role := &roles[at]
			role.Emits = append(role.Emits, r.Emits...)
			switch {
			case r.Undoes != "":
				role.Step, role.Undo = r.Undoes, true
			case p.undone(r.Name):
				role.Step = r.Name
			}
		}
	}
	return roles
}

// undone reports whether anything undoes a reaction.
func (p *Participant) undone(name string) bool {
	return slices.ContainsFunc(p.Reactions, func(r Reaction) bool { return r.Undoes == name })
}

// Events are all events of the choreography, each once, in the order of the declarations.
func (c Choreography) Events() []skald.EventType {
	var all []skald.EventType
	add := func(events ...skald.EventType) {
		for _, e := range events {
			if e != (skald.EventType{}) && !slices.Contains(all, e) {
				all = append(all, e)
			}
		}
	}
	add(typeOf(c.Starts))
	for _, r := range c.reactions() {
		add(r.On.events...)
		add(r.Emits...)
	}
	add(typeOf(c.Completes), typeOf(c.Compensates))
	return all
}

// part is a reaction together with its service.
type part struct {
	*Reaction
	service string
}

func (p part) String() string { return p.service + ": " + p.Name }

func (c *Choreography) reactions() []part {
	var all []part
	for i := range c.Participants {
		p := &c.Participants[i]
		for j := range p.Reactions {
			all = append(all, part{&p.Reactions[j], p.Service})
		}
	}
	return all
}

// Foreign are the events that others than the service emit. The start event is not among them: whoever
// tracks the choreography emits it.
func (c Choreography) Foreign(service string) []skald.EventType {
	return slices.DeleteFunc(c.Events(), func(e skald.EventType) bool {
		return e == typeOf(c.Starts) || !slices.ContainsFunc(c.reactions(), func(r part) bool {
			return r.service != service && slices.Contains(r.Emits, e)
		})
	})
}

func (c *Choreography) version() int { return max(c.Version, 1) }
