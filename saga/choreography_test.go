package saga_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

// told is an event of a service, by its name.
func told(name string) skald.EventType {
	service, _, _ := strings.Cut(name, ".")
	return skald.EventType{Name: name, Version: 1, Channel: service + ".events"}
}

func all(names ...string) []saga.Event {
	events := make([]saga.Event, len(names))
	for i, name := range names {
		events[i] = told(name)
	}
	return events
}

func on(names ...string) saga.Trigger                { return saga.On(all(names...)...) }
func onAll(names ...string) saga.Trigger             { return saga.OnAll(all(names...)...) }
func emits(names ...string) []skald.EventType        { return saga.Emits(all(names...)...) }
func reactions(all ...saga.Reaction) []saga.Reaction { return all }

// createOrder is FTGO's creation of an order.
func createOrder() saga.Choreography {
	return saga.Choreography{
		Name: "order.create", Deadline: time.Minute,
		Starts: told("order.created"), Completes: told("order.approved"), Compensates: told("order.rejected"),
		Participants: []saga.Participant{
			{Service: "consumer", Reactions: reactions(
				saga.Reaction{Name: "verify consumer", On: on("order.created"), Emits: emits("consumer.verified", "consumer.verification-failed")},
			)},
			{Service: "kitchen", Reactions: reactions(
				saga.Reaction{Name: "create ticket", On: on("order.created"), Emits: emits("kitchen.ticket-created", "kitchen.ticket-creation-failed")},
				saga.Reaction{Name: "confirm ticket", On: on("accounting.card-authorized")},
				saga.Reaction{Name: "reject ticket", On: on("consumer.verification-failed", "accounting.card-authorization-failed"), Undoes: "create ticket"},
			)},
			{Service: "accounting", Reactions: reactions(
				saga.Reaction{Name: "open authorization", On: on("order.created")},
				saga.Reaction{
					Name: "charge", On: onAll("order.created", "consumer.verified", "kitchen.ticket-created"),
					Emits: emits("accounting.card-authorized", "accounting.card-authorization-failed"),
				},
				saga.Reaction{Name: "decline", On: on("consumer.verification-failed", "kitchen.ticket-creation-failed"), Undoes: "open authorization"},
			)},
			{Service: "order", Reactions: reactions(
				saga.Reaction{Name: "approve", On: on("accounting.card-authorized"), Emits: emits("order.approved")},
				saga.Reaction{
					Name: "reject", On: on("consumer.verification-failed", "kitchen.ticket-creation-failed", "accounting.card-authorization-failed"),
					Emits: emits("order.rejected"),
				},
			)},
		},
	}
}

func TestASoundChoreographyIsValid(t *testing.T) {
	if err := createOrder().Validate(); err != nil {
		t.Error(err)
	}
}

func TestEveryFaultOfAChoreographyIsNamedWithWhatMendsIt(t *testing.T) {
	kitchen := func(c *saga.Choreography) *saga.Participant { return &c.Participants[1] }
	add := func(r saga.Reaction) func(c *saga.Choreography) {
		return func(c *saga.Choreography) { kitchen(c).Reactions = append(kitchen(c).Reactions, r) }
	}
	for want, plant := range map[string]func(c *saga.Choreography){
		`name "Order!": 1 to 120 lower-case letters`: func(c *saga.Choreography) { c.Name = "Order!" },
		`version -1: at least 1`:                     func(c *saga.Choreography) { c.Version = -1 },
		`no deadline: give Deadline`:                 func(c *saga.Choreography) { c.Deadline = 0 },
		`MaxHops -1: not negative`:                   func(c *saga.Choreography) { c.MaxHops = -1 },
		`the end order.approved is 3 events away from the start, and MaxHops is 2: raise it`: func(c *saga.Choreography) { c.MaxHops = 2 },
		`no start: name the event`:                                                                                            func(c *saga.Choreography) { c.Starts = nil },
		`no end: name the event`:                                                                                              func(c *saga.Choreography) { c.Completes = nil },
		`Completes and Compensates are the same event, order.approved`:                                                        func(c *saga.Choreography) { c.Compensates = c.Completes },
		`participant: service "": 1 to 120`:                                                                                   func(c *saga.Choreography) { kitchen(c).Service = "" },
		`service "consumer" takes part twice: put its reactions into one`:                                                     func(c *saga.Choreography) { kitchen(c).Service = "consumer" },
		`reaction "\n": a name of 1 to 120 printable ASCII characters`:                                                        add(saga.Reaction{Name: "\n", On: on("consumer.verified")}),
		`two reactions have the name "confirm ticket"`:                                                                        add(saga.Reaction{Name: "confirm ticket", On: on("consumer.verified")}),
		`reaction "idle" reacts to nothing: give On or OnAll an event`:                                                        add(saga.Reaction{Name: "idle"}),
		`reaction "burn" undoes "cook", and the service declares no such reaction: it has "create ticket"`:                    add(saga.Reaction{Name: "burn", On: on("consumer.verified"), Undoes: "cook"}),
		`reaction "burn" undoes "reject ticket", which is an undo itself`:                                                     add(saga.Reaction{Name: "burn", On: on("consumer.verified"), Undoes: "reject ticket"}),
		`reaction "burn" undoes "create ticket" when all its events have come: an undo runs at the first`:                     add(saga.Reaction{Name: "burn", On: onAll("consumer.verified"), Undoes: "create ticket"}),
		`reaction "twice" names event consumer.verified twice`:                                                                add(saga.Reaction{Name: "twice", On: on("consumer.verified", "consumer.verified")}),
		`service "kitchen" has two reactions to event accounting.card-authorized, "confirm ticket" and "cook": make them one`: add(saga.Reaction{Name: "cook", On: on("accounting.card-authorized")}),
		`event order.created belongs to two reactions of which each is undone or undoes, "create ticket" and "cook"`: func(c *saga.Choreography) {
			add(saga.Reaction{Name: "cook", On: onAll("order.created", "consumer.verified")})(c)
			add(saga.Reaction{Name: "throw away", On: on("kitchen.ticket-creation-failed"), Undoes: "cook"})(c)
		},
		`event: name: "Burnt": 1 to 120`: add(saga.Reaction{Name: "burn", On: on("consumer.verified"), Emits: []skald.EventType{{Name: "Burnt", Version: 1, Channel: "x"}}}),
		`event order.approved is declared on two channels, "order.events" and "other.events"`: func(c *saga.Choreography) {
			c.Completes = skald.EventType{Name: "order.approved", Version: 1, Channel: "other.events"}
		},
		`nobody reacts to the start event order.placed: declare a reaction to it`:                     func(c *saga.Choreography) { c.Starts = told("order.placed") },
		`nobody emits the end order.done: add it to the Emits of the reaction that ends the instance`: func(c *saga.Choreography) { c.Completes = told("order.done") },
		`nobody emits event kitchen.burnt, to which kitchen: burn reacts: add it to the Emits`:        add(saga.Reaction{Name: "burn", On: on("kitchen.burnt")}),
		`nobody handles event kitchen.burnt, which kitchen: burn emits: declare a reaction to it`:     add(saga.Reaction{Name: "burn", On: on("consumer.verified"), Emits: emits("kitchen.burnt")}),
		`kitchen: burn never happens: the start event order.created does not lead to kitchen.burnt`:   add(saga.Reaction{Name: "burn", On: onAll("kitchen.burnt", "consumer.verified")}),
		`accounting: charge waits for both kitchen.ticket-created and kitchen.ticket-creation-failed, and kitchen: create ticket emits one of them`: func(c *saga.Choreography) {
			c.Participants[2].Reactions[1].On = onAll("order.created", "consumer.verified", "kitchen.ticket-created", "kitchen.ticket-creation-failed")
		},
		`behind event accounting.card-authorization-failed only kitchen: reject ticket leads to an end, and it emits nothing when it comes before "create ticket"`: func(c *saga.Choreography) {
			kitchen(c).Reactions[2].Emits = emits("kitchen.ticket-rejected")
			c.Participants[3].Reactions[1].On = on("kitchen.ticket-rejected", "kitchen.ticket-creation-failed")
		},
		`the end order.approved cannot be reached from the start event order.created`: func(c *saga.Choreography) {
			c.Participants[2].Reactions[1].On = onAll("order.created", "consumer.verified", "kitchen.ticket-created", "kitchen.burnt")
		},
	} {
		t.Run(want, func(t *testing.T) {
			c := createOrder()
			plant(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Validate: %v\nwant: %s", err, want)
			}
		})
	}
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	err := saga.Choreography{Name: "Empty", Version: -1}.Validate()
	for _, want := range []string{"name", "version", "no deadline", "no start", "no end"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate: %v\nwant: %s", err, want)
		}
	}
}

// bargain is a choreography in which buyer and seller may go round and round.
func bargain(repeats bool) saga.Choreography {
	return saga.Choreography{
		Name: "bargain", Deadline: time.Minute, Starts: told("buyer.asked"), Completes: told("seller.sold"),
		Participants: []saga.Participant{
			{Service: "seller", Reactions: reactions(
				saga.Reaction{Name: "name a price", On: on("buyer.asked", "buyer.bid"), Emits: emits("seller.offered", "seller.sold")},
			)},
			{Service: "buyer", Reactions: reactions(
				saga.Reaction{Name: "think", On: on("seller.offered"), Emits: emits("buyer.thought"), Repeats: repeats},
				saga.Reaction{Name: "bid", On: on("buyer.thought"), Emits: emits("buyer.bid")},
			)},
		},
	}
}

func TestACycleBetweenServicesIsReportedWithItsPath(t *testing.T) {
	err := bargain(false).Validate()
	want := `a cycle without an end: "name a price" of seller reacts to buyer.bid with seller.offered, ` +
		`then "think" of buyer reacts to seller.offered with buyer.thought, then "bid" of buyer reacts to buyer.thought with buyer.bid; break it`
	if err == nil || strings.Count(err.Error(), "a cycle") != 1 || !strings.Contains(err.Error(), want) {
		t.Errorf("Validate: %v\nwant: %s", err, want)
	}
	if err := bargain(true).Validate(); err != nil {
		t.Errorf("a cycle that is meant: %v", err)
	}
}

func TestAReactionToItsOwnEventIsACycle(t *testing.T) {
	c := createOrder()
	c.Participants[0].Reactions[0].On = on("order.created", "consumer.verified")
	want := `"verify consumer" of consumer reacts to consumer.verified with consumer.verified;`
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Validate: %v\nwant: %s", err, want)
	}
}

func TestAServiceKnowsItsRoles(t *testing.T) {
	var got []string
	for _, r := range createOrder().Roles("accounting") {
		line := r.Event.Name + " step " + r.Step
		if r.Undo {
			line += " undone"
		}
		for _, e := range r.Emits {
			line += " emits " + e.Name
		}
		got = append(got, line)
	}
	const charged = " emits accounting.card-authorized emits accounting.card-authorization-failed"
	want := []string{
		"order.created step open authorization" + charged,
		"consumer.verified step " + charged,
		"kitchen.ticket-created step " + charged,
		"consumer.verification-failed step open authorization undone",
		"kitchen.ticket-creation-failed step open authorization undone",
	}
	if !slices.Equal(got, want) {
		t.Errorf("roles:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
