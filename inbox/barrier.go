package inbox

import (
	"strconv"

	"github.com/skald-go/skald"
)

// Reaction makes a registration that of a reaction to a choreography's event: it gets only events
// of the choreography's instances, and they get no other registration's.
type Reaction struct {
	// Choreography is the name of the declaration.
	Choreography string
	// Step and Action are the barrier that the event meets: its instance's, under the name of the
	// reaction that is done or undone (skald.ActionDo, skald.ActionUndo). No barrier if empty.
	Step, Action string
	// Skipped, if given, is called in place of the handler for an event that the barrier decides.
	Skipped Handle
}

// guarded is one side of a barrier: what a message does or undoes.
type guarded struct {
	key    BarrierKey
	action string
}

// guardOf tells which barrier a message meets: a saga's command names it, an event's is that of the
// reaction to it.
func guardOf(m *skald.Message, g *Registration) (guarded, bool) {
	if m.Kind == skald.KindEvent {
		if g == nil || g.Reaction == nil || g.Reaction.Step == "" {
			return guarded{}, false
		}
		c := m.Correlation()
		return guarded{BarrierKey{c.ID, g.Reaction.Step, 1}, g.Reaction.Action}, !c.ID.IsZero()
	}
	attempt := m.Headers.Get(skald.HeaderBarrier)
	if attempt == "" || m.Kind != skald.KindCommand {
		return guarded{}, false
	}
	n, err := strconv.Atoi(attempt)
	saga, bad := skald.ParseID(m.Headers.Get(skald.HeaderSaga))
	return guarded{BarrierKey{saga, m.Headers.Get(skald.HeaderStep), n}, m.Headers.Get(skald.HeaderAction)}, err == nil && bad == nil
}

func (p *pass) guardOf(m *skald.Message) (guarded, bool) {
	return guardOf(m, p.consumer.routes.find(m))
}

// marked is the message as it is held: the do of a reaction says so in its headers, as a saga's
// command does, so that the store finds it for its undo.
func (p *pass) marked(m skald.Message) skald.Message {
	guard, ok := p.guardOf(&m)
	if !ok || m.Kind != skald.KindEvent || guard.action != skald.ActionDo {
		return m
	}
	m.Headers = m.Headers.Clone()
	m.Headers.Set(skald.HeaderSaga, guard.key.Saga.String())
	m.Headers.Set(skald.HeaderStep, guard.key.Step)
	m.Headers.Set(skald.HeaderAction, guard.action)
	m.Headers.Set(skald.HeaderAttempt, strconv.Itoa(guard.key.Attempt))
	return m
}
