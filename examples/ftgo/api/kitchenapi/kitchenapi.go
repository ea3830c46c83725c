// Package kitchenapi is what the kitchen service is asked for, answers and tells. A ticket is made
// for one order and has the order's id: GET /v1/tickets/{id} takes the id of the order.
package kitchenapi

import (
	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
)

// The channels of the kitchen service.
const (
	Commands = "ftgo.kitchen"
	Events   = "ftgo.kitchen.events"
)

// The codes with which a ticket is refused.
const (
	RefusedUnknownItem = "unknown_item"
	RefusedQuantity    = "invalid_quantity"
	RefusedTooLate     = "ticket_in_preparation"
	// RefusedMenuChanged says that the restaurant has a newer menu than the one by which a revision was priced: whoever prices
	// it again may try again.
	RefusedMenuChanged = "menu_changed"
)

// Tickets are what the kitchen works on. A saga that wants one in another state locks it until it has decided.
const Tickets skald.Resource = "ftgo.kitchen.ticket"

// CreateTicket checks the line items and makes a ticket in CREATE_PENDING.
var CreateTicket = skald.Command[NewTicket, Created]{
	Name:     "ftgo.kitchen.create-ticket",
	Channel:  Commands,
	Key:      func(t NewTicket) string { return t.TicketID },
	Locks:    Tickets,
	Refusals: []string{RefusedUnknownItem, RefusedQuantity},
}

// RejectTicket undoes CreateTicket: CREATE_PENDING becomes CREATE_REJECTED.
var RejectTicket = skald.Command[Ticket, Done]{
	Name: "ftgo.kitchen.reject-ticket", Channel: Commands, Key: Ticket.key, Unlocks: Tickets,
}

// ConfirmTicket hands the ticket to the kitchen: CREATE_PENDING becomes AWAITING_ACCEPTANCE.
var ConfirmTicket = skald.Command[Ticket, Done]{
	Name: "ftgo.kitchen.confirm-ticket", Channel: Commands, Key: Ticket.key, Unlocks: Tickets,
}

// BeginCancelTicket locks a ticket that is to be cancelled: AWAITING_ACCEPTANCE or ACCEPTED becomes
// CANCEL_PENDING. It is refused once the ticket is being prepared.
var BeginCancelTicket = skald.Command[Change, Done]{
	Name: "ftgo.kitchen.begin-cancel-ticket", Channel: Commands, Key: Change.key, Locks: Tickets, Refusals: []string{RefusedTooLate},
}

// UndoCancelTicket undoes BeginCancelTicket: the ticket is again in the state that it had.
var UndoCancelTicket = skald.Command[Change, Done]{
	Name: "ftgo.kitchen.undo-cancel-ticket", Channel: Commands, Key: Change.key, Unlocks: Tickets,
}

// ConfirmCancelTicket takes the ticket from the kitchen: CANCEL_PENDING becomes CANCELLED.
var ConfirmCancelTicket = skald.Command[Change, Done]{
	Name: "ftgo.kitchen.confirm-cancel-ticket", Channel: Commands, Key: Change.key, Unlocks: Tickets,
}

// BeginReviseTicket checks the new line items and locks the ticket: AWAITING_ACCEPTANCE or ACCEPTED
// becomes REVISION_PENDING. It is refused once the ticket is being prepared, and when the menu is not the one that the line items
// were priced by any more.
var BeginReviseTicket = skald.Command[Revision, Done]{
	Name:     "ftgo.kitchen.begin-revise-ticket",
	Channel:  Commands,
	Key:      func(r Revision) string { return r.TicketID },
	Locks:    Tickets,
	Refusals: []string{RefusedTooLate, RefusedMenuChanged, RefusedUnknownItem, RefusedQuantity},
}

// UndoReviseTicket undoes BeginReviseTicket: the ticket is again in the state that it had, and the
// new line items are forgotten.
var UndoReviseTicket = skald.Command[Change, Done]{
	Name: "ftgo.kitchen.undo-revise-ticket", Channel: Commands, Key: Change.key, Unlocks: Tickets,
}

// ConfirmReviseTicket gives the ticket its new line items, and the state that it had.
var ConfirmReviseTicket = skald.Command[Change, Done]{
	Name: "ftgo.kitchen.confirm-revise-ticket", Channel: Commands, Key: Change.key, Unlocks: Tickets,
}

// TicketCreated tells of a ticket in CREATE_PENDING, where the creation of its order is choreographed.
var TicketCreated = skald.Event[orderapi.About]{
	Name: "ftgo.kitchen.ticket-created", Channel: Events, Key: orderapi.About.Key,
}

// TicketCreationFailed tells that there is no ticket, with a code as CreateTicket's.
var TicketCreationFailed = skald.Event[orderapi.Failure]{
	Name: "ftgo.kitchen.ticket-creation-failed", Channel: Events, Key: orderapi.Failure.Key,
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

// ToPrepare is what the kitchen is told of an order's line items.
func ToPrepare(priced []orderapi.LineItem) []LineItem {
	items := make([]LineItem, len(priced))
	for i, item := range priced {
		items[i] = LineItem{MenuItemID: item.MenuItemID, Name: item.Name, Quantity: item.Quantity}
	}
	return items
}

// Created says that the ticket is there.
type Created struct {
	TicketID string `json:"ticketId"`
}

// Ticket names a ticket.
type Ticket struct {
	TicketID string `json:"ticketId"`
}

func (t Ticket) key() string { return t.TicketID }

// Change names a ticket and the operation that changes it.
type Change struct {
	TicketID string `json:"ticketId"`
	// Operation is the business key of the cancel's or revision's saga: a ticket may be revised
	// more than once, and effects are recorded under it.
	Operation string `json:"operation"`
}

func (c Change) key() string { return c.TicketID }

// Revision is what the kitchen has to prepare instead.
type Revision struct {
	TicketID          string     `json:"ticketId"`
	Operation         string     `json:"operation"` // as in Change
	RestaurantID      string     `json:"restaurantId"`
	RestaurantVersion int        `json:"restaurantVersion"` // as in NewTicket
	LineItems         []LineItem `json:"lineItems"`
}

// Done says that a ticket changed as asked.
type Done struct{}
