package saga

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skald-go/skald"
)

// Validate checks the choreography as a whole, and returns every fault at once.
func (c Choreography) Validate() error {
	v := validator{choreography: &c, all: c.reactions()}
	v.own()
	v.participants()
	v.events()
	v.reachable()
	v.cycles()
	if err := errors.Join(v.faults...); err != nil {
		return fmt.Errorf("choreography %q version %d is refused:\n%w", c.Name, c.version(), err)
	}
	return nil
}

type validator struct {
	choreography *Choreography
	all          []part
	faults       []error
}

func (v *validator) fault(format string, args ...any) {
	v.faults = append(v.faults, fmt.Errorf(format, args...))
}

// own checks the fields of the choreography itself.
func (v *validator) own() {
	c := v.choreography
	if err := skald.CheckName(c.Name); err != nil {
		v.fault("name %w", err)
	}
	if c.Version < 0 {
		v.fault("version %d: at least 1", c.Version)
	}
	if c.Deadline <= 0 {
		v.fault("no deadline: give Deadline, from start to end, or nobody notices an instance that stalls")
	}
	if c.MaxHops < 0 {
		v.fault("MaxHops %d: not negative", c.MaxHops)
	}
	if c.Starts == nil {
		v.fault("no start: name the event that an instance begins with as Starts")
	}
	if c.Completes == nil {
		v.fault("no end: name the event that ends an instance well as Completes")
	}
	if c.Completes != nil && typeOf(c.Completes) == typeOf(c.Compensates) {
		v.fault("Completes and Compensates are the same event, %s: give each outcome its own", typeOf(c.Completes))
	}
}

func (v *validator) participants() {
	services := map[string]bool{}
	for i := range v.choreography.Participants {
		p := &v.choreography.Participants[i]
		if err := skald.CheckName(p.Service); err != nil {
			v.fault("participant: service %w", err)
		}
		if services[p.Service] {
			v.fault("service %q takes part twice: put its reactions into one Participant", p.Service)
		}
		services[p.Service] = true
		v.reactionsOf(p)
	}
}

func (v *validator) reactionsOf(p *Participant) {
	names := map[string]bool{}
	for i := range p.Reactions {
		r := &p.Reactions[i]
		if fault := stepNameFault(r.Name); fault != "" {
			v.fault("service %q: reaction %q: %s", p.Service, r.Name, fault)
		}
		if names[r.Name] {
			v.fault("service %q: two reactions have the name %q", p.Service, r.Name)
		}
		names[r.Name] = true
		if len(r.On.events) == 0 {
			v.fault("service %q: reaction %q reacts to nothing: give On or OnAll an event", p.Service, r.Name)
		}
		v.undo(p, r)
	}
	v.once(p)
}

func stepNameFault(name string) string {
	if name == "" || len(name) > skald.MaxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("a name of 1 to %d printable ASCII characters", skald.MaxName)
	}
	return ""
}

func (v *validator) undo(p *Participant, r *Reaction) {
	if r.Undoes == "" {
		return
	}
	at := slices.IndexFunc(p.Reactions, func(other Reaction) bool { return other.Name == r.Undoes })
	switch {
	case at < 0:
		v.fault("service %q: reaction %q undoes %q, and the service declares no such reaction: it has %s", p.Service, r.Name, r.Undoes, quoted(p.names()))
	case p.Reactions[at].Undoes != "":
		v.fault("service %q: reaction %q undoes %q, which is an undo itself: name the reaction that does something", p.Service, r.Name, r.Undoes)
	case r.On.all:
		v.fault("service %q: reaction %q undoes %q when all its events have come: an undo runs at the first, so use On", p.Service, r.Name, r.Undoes)
	}
}

func (p *Participant) names() []string {
	names := make([]string, len(p.Reactions))
	for i := range p.Reactions {
		names[i] = p.Reactions[i].Name
	}
	return names
}

// once checks that one event means one thing to a service: it has one handler, and meets one barrier. In
// addition an event may be one of several that a reaction waits for.
func (v *validator) once(p *Participant) {
	alone, guarded := map[skald.EventType]string{}, map[skald.EventType]string{}
	for i := range p.Reactions {
		r := &p.Reactions[i]
		barrier := r.Undoes != "" || p.undone(r.Name)
		for j, event := range r.On.events {
			if slices.Contains(r.On.events[:j], event) {
				v.fault("service %q: reaction %q names event %s twice", p.Service, r.Name, event)
				continue
			}
			if first, taken := alone[event]; taken && !r.On.all {
				v.fault("service %q has two reactions to event %s, %q and %q: make them one, or let one wait for several events with OnAll", p.Service, event, first, r.Name)
				continue
			}
			if first, taken := guarded[event]; taken && barrier {
				v.fault("service %q: event %s belongs to two reactions of which each is undone or undoes, %q and %q: make them one", p.Service, event, first, r.Name)
			}
			if !r.On.all {
				alone[event] = r.Name
			}
			if barrier {
				guarded[event] = r.Name
			}
		}
	}
}

// events checks that every event has somebody who emits it and somebody who handles it.
func (v *validator) events() {
	c := v.choreography
	emitted, handled := map[skald.EventType]string{}, map[skald.EventType]bool{}
	for _, r := range v.all {
		for _, e := range r.Emits {
			emitted[e] = r.String()
		}
		for _, e := range r.On.events {
			handled[e] = true
		}
	}
	named := map[string]skald.EventType{}
	for _, e := range c.Events() {
		if err := e.Validate(); err != nil {
			v.fault("%w", err)
		}
		if other, known := named[e.String()]; known {
			v.fault("event %s is declared on two channels, %q and %q: use one contract", e, other.Channel, e.Channel)
		}
		named[e.String()] = e
		starts, ends := c.Starts != nil && e == typeOf(c.Starts), e == typeOf(c.Completes) || c.Compensates != nil && e == typeOf(c.Compensates)
		switch by, is := emitted[e]; {
		case starts && !handled[e]:
			v.fault("nobody reacts to the start event %s: declare a reaction to it", e)
		case !is && !starts && ends:
			v.fault("nobody emits the end %s: add it to the Emits of the reaction that ends the instance", e)
		case !is && !starts:
			v.fault("nobody emits event %s, to which %s reacts: add it to the Emits of a reaction, or drop the reaction", e, v.reactor(e))
		case !starts && !ends && !handled[e]:
			v.fault("nobody handles event %s, which %s emits: declare a reaction to it, drop it, or, if it is for others, emit it with skald.Uncorrelated", e, by)
		}
	}
}

func (v *validator) reactor(e skald.EventType) string {
	for _, r := range v.all {
		if slices.Contains(r.On.events, e) {
			return r.String()
		}
	}
	return "nobody"
}

// reachable checks that the start leads to every reaction and to both ends.
func (v *validator) reachable() {
	c := v.choreography
	if c.Starts == nil {
		return
	}
	hops := c.hops()
	for _, r := range v.all {
		if !r.On.came(hops) && len(r.On.events) > 0 {
			v.fault("%s never happens: the start event %s does not lead to %s", r, typeOf(c.Starts), r.On.waitsFor(hops))
		}
	}
	for _, r := range v.all {
		v.alternatives(r)
	}
	v.deadEnds(hops)
	for _, end := range []Event{c.Completes, c.Compensates} {
		if end == nil {
			continue
		}
		n, reached := hops[typeOf(end)]
		switch {
		case !reached:
			v.fault("the end %s cannot be reached from the start event %s: no chain of reactions leads to it", typeOf(end), typeOf(c.Starts))
		case c.MaxHops > 0 && n > c.MaxHops:
			v.fault("the end %s is %d events away from the start, and MaxHops is %d: raise it", typeOf(end), n, c.MaxHops)
		}
	}
}

// alternatives refuses to wait for two events of which a reaction emits one.
func (v *validator) alternatives(r part) {
	if !r.On.all {
		return
	}
	for i, e := range r.On.events {
		for _, other := range r.On.events[i+1:] {
			one, two := v.emitters(e), v.emitters(other)
			if len(one) == 1 && len(two) == 1 && one[0].String() == two[0].String() {
				v.fault("%s waits for both %s and %s, and %s emits one of them: react to either, or let two reactions emit them", r, e, other, one[0])
			}
		}
	}
}

// deadEnds refuses that only an undo leads on from an event: one that comes before what it undoes emits
// nothing.
func (v *validator) deadEnds(hops map[skald.EventType]int) {
	all, without := v.leading(true), v.leading(false)
	for _, r := range v.all {
		for _, e := range r.On.events {
			if _, reached := hops[e]; r.Undoes != "" && reached && all[e] && !without[e] {
				v.fault("behind event %s only %s leads to an end, and it emits nothing when it comes before %q: let a reaction that undoes nothing lead to the end", e, r, r.Undoes)
			}
		}
	}
}

// leading are the events that lead to an end, with or without what undos emit.
func (v *validator) leading(undos bool) map[skald.EventType]bool {
	leads := map[skald.EventType]bool{}
	for _, end := range []Event{v.choreography.Completes, v.choreography.Compensates} {
		if end != nil {
			leads[typeOf(end)] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, r := range v.all {
			if r.Undoes != "" && !undos || !slices.ContainsFunc(r.Emits, func(e skald.EventType) bool { return leads[e] }) {
				continue
			}
			for _, e := range r.On.events {
				grown = grown || !leads[e]
				leads[e] = true
			}
		}
	}
	return leads
}

func (v *validator) emitters(e skald.EventType) []part {
	var by []part
	for _, r := range v.all {
		if slices.Contains(r.Emits, e) {
			by = append(by, r)
		}
	}
	return by
}

// hops counts, for each event that the start leads to, the fewest events that lead to it.
func (c *Choreography) hops() map[skald.EventType]int {
	hops := map[skald.EventType]int{typeOf(c.Starts): 0}
	for grown := true; grown; {
		grown = false
		for _, r := range c.reactions() {
			if !r.On.came(hops) {
				continue
			}
			n := r.On.distance(hops) + 1
			for _, e := range r.Emits {
				if known, reached := hops[e]; !reached || n < known {
					hops[e], grown = n, true
				}
			}
		}
	}
	return hops
}

// came reports whether what a trigger waits for is among events.
func (t *Trigger) came(events map[skald.EventType]int) bool {
	n := 0
	for _, e := range t.events {
		if _, ok := events[e]; ok {
			n++
		}
	}
	return n > 0 && (!t.all || n == len(t.events))
}

func (t *Trigger) distance(hops map[skald.EventType]int) int {
	n, first := 0, true
	for _, e := range t.events {
		h, ok := hops[e]
		switch {
		case !ok:
		case first, t.all && h > n, !t.all && h < n:
			n, first = h, false
		}
	}
	return n
}

func (t *Trigger) waitsFor(hops map[skald.EventType]int) string {
	var missing []string
	for _, e := range t.events {
		if _, ok := hops[e]; !ok {
			missing = append(missing, e.String())
		}
	}
	return strings.Join(missing, ", ")
}

// cycles refuses reactions that lead back to themselves, unless one of them says that it is meant.
func (v *validator) cycles() {
	reported := map[int]bool{}
	for start := range v.all {
		if reported[start] {
			continue
		}
		links := v.cycle(start)
		lines := make([]string, len(links))
		for i, l := range links {
			reported[l.to] = true
			r, emits := v.all[l.to], links[(i+1)%len(links)].event
			lines[i] = fmt.Sprintf("%q of %s reacts to %s with %s", r.Name, r.service, l.event, emits)
		}
		if len(lines) > 0 {
			v.fault("a cycle without an end: %s; break it, or set Repeats on the reaction that closes it on purpose", strings.Join(lines, ", then "))
		}
	}
}

// link says that a reaction's event leads to another reaction.
type link struct {
	from, to int
	event    skald.EventType
}

// cycle finds the shortest way from a reaction back to itself, which begins with the link into that
// reaction; nil when there is none.
func (v *validator) cycle(start int) []link {
	came := map[int]link{}
	for queue := []int{start}; len(queue) > 0; queue = queue[1:] {
		for next := range v.all {
			event, leads := v.leads(queue[0], next)
			if _, known := came[next]; leads && !known {
				came[next] = link{queue[0], next, event}
				queue = append(queue, next)
			}
		}
	}
	in, closed := came[start]
	if !closed {
		return nil
	}
	var back []link
	for in.from != start {
		in = came[in.from]
		back = append(back, in)
	}
	slices.Reverse(back)
	return append([]link{came[start]}, back...)
}

// leads finds the event that a reaction emits and another reacts to.
func (v *validator) leads(from, to int) (skald.EventType, bool) {
	if v.all[from].Repeats || v.all[to].Repeats {
		return skald.EventType{}, false
	}
	for _, e := range v.all[from].Emits {
		if slices.Contains(v.all[to].On.events, e) {
			return e, true
		}
	}
	return skald.EventType{}, false
}

func quoted(names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(all, ", ")
}
