package check

import (
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/choreographies"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
)

// sent is a message as its sender recorded it.
type sent struct {
	sender  string
	kind    skald.Kind
	channel string
	name    string // the wire name
}

// receipt is a message at a subscriber group.
type receipt struct {
	group string
	id    skald.ID
}

// commandOwners are the services that take commands, by channel. Where a service's sagas are answered, it also takes the runtime's
// own commands about their locks.
var commandOwners = map[string]string{
	orchestrator + ".replies": orchestrator,
	orderapi.Commands:         "order", consumerapi.Commands: "consumer", restaurantapi.Commands: "restaurant",
	kitchenapi.Commands: "kitchen", accountingapi.Commands: "accounting",
}

// eventSubscribers are the groups that handle an event, by its wire name.
var eventSubscribers = func() map[string][]string {
	subscribers := map[string][]string{
		consumerapi.ConsumerRegistered.Name:  {"order", "accounting"},
		restaurantapi.RestaurantCreated.Name: {"order", "kitchen"},
		restaurantapi.MenuRevised.Name:       {"order", "kitchen"},
	}
	c := choreographies.CreateOrder
	for _, event := range c.Events() {
		subscribers[event.Name] = nil // the ends are for nobody in particular
	}
	for _, p := range c.Participants {
		for _, role := range c.Roles(p.Service) {
			subscribers[role.Event.Name] = append(subscribers[role.Event.Name], p.Service)
		}
	}
	for _, event := range c.Foreign(tracker) {
		if !slices.Contains(subscribers[event.Name], tracker) {
			subscribers[event.Name] = append(subscribers[event.Name], tracker)
		}
	}
	return subscribers
}()

const (
	orchestrator = "order" // whose sagas are answered
	tracker      = "order" // which follows the choreography: it reads what all others tell
)

// subscribers are the groups that have to handle the message; false when it is unknown.
func (m sent) subscribers() (groups []string, known bool) {
	switch m.kind {
	case skald.KindCommand:
		owner, known := commandOwners[m.channel]
		return []string{owner}, known
	case skald.KindReply:
		return []string{orchestrator}, true
	case skald.KindEvent:
		groups, known = eventSubscribers[m.name]
	}
	return groups, known
}

// messagesHandledOnce is invariant 7. A message may be sent more than once under one id: a
// recorded reply is. It is handled once all the same.
func messagesHandledOnce(s *snapshot, report report) {
	for id, m := range s.sent {
		groups, known := m.subscribers()
		if !known {
			report("%s %s (%s) of %s to %s: nobody subscribes to it", m.kind, id, m.name, m.sender, m.channel)
		}
		for _, group := range groups {
			times, waits := s.handled[receipt{group, id}], s.held[receipt{group, id}]
			switch {
			case times > 1:
				report("%s %s (%s) of %s was handled %d times by %s", m.kind, id, m.name, m.sender, times, group)
			case times == 1 && waits:
				report("%s %s (%s) of %s was handled by %s, and is held there", m.kind, id, m.name, m.sender, group)
			case times == 0 && !waits && !s.unpublished[id]:
				report("%s %s (%s) of %s was never handled by %s, and waits nowhere", m.kind, id, m.name, m.sender, group)
			}
		}
	}
	for r, times := range s.handled {
		m, known := s.sent[r.id]
		groups, _ := m.subscribers()
		switch {
		case !known:
			report("message %s was handled %d times by %s, and nobody sent it", r.id, times, r.group)
		case !slices.Contains(groups, r.group) && m.kind != skald.KindEvent:
			report("%s %s (%s) of %s was handled by %s, which it is not for", m.kind, r.id, m.name, m.sender, r.group)
		}
	}
}
