// Package choreographies is what FTGO's services do without an orchestrator: which of their events each
// reacts to. The parts are here, and not in the api packages with the events, because services that react
// to each other would make those packages import each other.
package choreographies

import (
	"time"

	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/saga"
)

// CreateOrder is the creation of an order. Its correlation id is the order's id.
var CreateOrder = saga.Choreography{
	Name: "order.create-choreographed", Version: 1,
	Starts: orderapi.OrderCreated, Completes: orderapi.OrderApproved, Compensates: orderapi.OrderRejected,
	Participants: []saga.Participant{consumer, kitchen, accounting, order},
	Deadline:     time.Minute,
}

var consumer = saga.Participant{Service: "consumer", Reactions: []saga.Reaction{
	{
		Name: "verify consumer", On: saga.On(orderapi.OrderCreated),
		Emits: saga.Emits(consumerapi.ConsumerVerified, consumerapi.ConsumerVerificationFailed),
	},
}}

var kitchen = saga.Participant{Service: "kitchen", Reactions: []saga.Reaction{
	{
		Name: "create ticket", On: saga.On(orderapi.OrderCreated),
		Emits: saga.Emits(kitchenapi.TicketCreated, kitchenapi.TicketCreationFailed),
	},
	{Name: "confirm ticket", On: saga.On(accountingapi.CardAuthorized)},
	{
		Name: "reject ticket", Undoes: "create ticket",
		On: saga.On(consumerapi.ConsumerVerificationFailed, accountingapi.CardAuthorizationFailed),
	},
}}

var accounting = saga.Participant{Service: "accounting", Reactions: []saga.Reaction{
	{Name: "open authorization", On: saga.On(orderapi.OrderCreated)},
	{
		Name:  "authorize card",
		On:    saga.OnAll(orderapi.OrderCreated, consumerapi.ConsumerVerified, kitchenapi.TicketCreated),
		Emits: saga.Emits(accountingapi.CardAuthorized, accountingapi.CardAuthorizationFailed),
	},
	{
		Name: "decline authorization", Undoes: "open authorization",
		On: saga.On(consumerapi.ConsumerVerificationFailed, kitchenapi.TicketCreationFailed),
	},
}}

var order = saga.Participant{Service: "order", Reactions: []saga.Reaction{
	{Name: "approve order", On: saga.On(accountingapi.CardAuthorized), Emits: saga.Emits(orderapi.OrderApproved)},
	{
		Name:  "reject order",
		On:    saga.On(consumerapi.ConsumerVerificationFailed, kitchenapi.TicketCreationFailed, accountingapi.CardAuthorizationFailed),
		Emits: saga.Emits(orderapi.OrderRejected),
	},
}}
