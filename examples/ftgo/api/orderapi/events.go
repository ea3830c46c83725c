package orderapi

import (
	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// Events is the channel of what the order service tells, where the creation of an order is
// choreographed.
const Events = "ftgo.order.events"

// OrderCreated tells of a new order, in APPROVAL_PENDING.
var OrderCreated = skald.Event[Created]{
	Name: "ftgo.order.order-created", Channel: Events, Key: func(c Created) string { return c.OrderID },
}

// OrderApproved tells that the order is APPROVED.
var OrderApproved = skald.Event[About]{Name: "ftgo.order.order-approved", Channel: Events, Key: About.Key}

// OrderRejected tells that the order is REJECTED, and which failure was the first to be heard of.
var OrderRejected = skald.Event[Failure]{Name: "ftgo.order.order-rejected", Channel: Events, Key: Failure.Key}

// Created is all that the others need to know of a new order.
type Created struct {
	OrderID    string `json:"orderId"`
	ConsumerID string `json:"consumerId"`
	// ConsumerVersion and RestaurantVersion are the versions that the order relies on; who has an older
	// one waits for it.
	ConsumerVersion   int          `json:"consumerVersion"`
	RestaurantID      string       `json:"restaurantId"`
	RestaurantVersion int          `json:"restaurantVersion"`
	Total             money.Amount `json:"total"`
	LineItems         []LineItem   `json:"lineItems"`
}

// About says which order an event is about.
type About struct {
	OrderID string `json:"orderId"`
}

// Key is the message key of an event.
func (a About) Key() string { return a.OrderID }

// Failure says that a service cannot do its part for an order, and why.
type Failure struct {
	About

	Refusal skald.Refusal `json:"refusal"`
}

// Failed makes a service's refusal a failure.
func Failed(order string, why *skald.Refusal) Failure {
	return Failure{About{order}, *why}
}
