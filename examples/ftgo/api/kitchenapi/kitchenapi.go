// Package kitchenapi is what the kitchen service is asked for and answers. A ticket is made
// for one order and has the order's id: GET /v1/tickets/{id} takes the id of the order.
package kitchenapi

import "github.com/skald-go/skald"

// Commands is the channel of the kitchen service's commands.
const Commands = "ftgo.kitchen"

// The codes with which a ticket is refused.
const (
	RefusedUnknownItem = "unknown_item"
	RefusedQuantity    = "invalid_quantity"
)

// CreateTicket checks the line items and makes a ticket in CREATE_PENDING.
var CreateTicket = skald.Command[NewTicket, TicketCreated]{
	Name:     "ftgo.kitchen.create-ticket",
	Channel:  Commands,
	Key:      func(t NewTicket) string { return t.TicketID },
	Refusals: []string{RefusedUnknownItem, RefusedQuantity},
}

// RejectTicket undoes CreateTicket: CREATE_PENDING becomes CREATE_REJECTED.
var RejectTicket = skald.Command[Ticket, Done]{
	Name: "ftgo.kitchen.reject-ticket", Channel: Commands, Key: Ticket.key,
}

// ConfirmTicket hands the ticket to the kitchen: CREATE_PENDING becomes AWAITING_ACCEPTANCE.
var ConfirmTicket = skald.Command[Ticket, Done]{
	Name: "ftgo.kitchen.confirm-ticket", Channel: Commands, Key: Ticket.key,
}

// NewTicket is what the kitchen has to prepare.
type NewTicket struct {
	// TicketID is the order's id: known before the command is sent, so that the ticket can be
	// rejected although the answer never came.
	TicketID     string `json:"ticketId"`
	RestaurantID string `json:"restaurantId"`
	// RestaurantVersion is the version of the restaurant that the order relies on; a kitchen
	// that has an older one waits for it.
	RestaurantVersion int        `json:"restaurantVersion"`
	LineItems         []LineItem `json:"lineItems"`
}

// LineItem is an item of the restaurant's menu and how many of it.
type LineItem struct {
	MenuItemID string `json:"menuItemId"`
	Name       string `json:"name"`
	Quantity   int    `json:"quantity"`
}

// TicketCreated says that the ticket is there.
type TicketCreated struct {
	TicketID string `json:"ticketId"`
}

// Ticket names a ticket.
type Ticket struct {
	TicketID string `json:"ticketId"`
}

func (t Ticket) key() string { return t.TicketID }

// Done says that a ticket changed as asked.
type Done struct{}
