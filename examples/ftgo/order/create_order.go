package order

import (
	"context"
	"database/sql"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// The names of the saga's steps, which are stored.
const (
	stepCreate        = "create order"
	stepVerify        = "verify consumer"
	stepCreateTicket  = "create ticket"
	stepAuthorize     = "authorize card"
	stepConfirmTicket = "confirm ticket"
	stepApprove       = "approve order"
)

// authorizeBar is how long the card's authorization may stay without an answer.
const authorizeBar = 30 * time.Second

// createOrderSaga is the creation of an order: until the card is authorized everything can be
// undone, and then the order is prepared.
func (o *orders) createOrderSaga() saga.Definition[creation] {
	return saga.Definition[creation]{
		Name: "order.create", Version: 1,
		Compensatable: []saga.Compensatable[creation]{
			{Name: stepCreate, Do: saga.Local(o.create), Undo: saga.Local(o.reject)},
			{Name: stepVerify, Do: saga.Call(consumerapi.VerifyConsumer, creation.verification).Refused((*creation).because)},
			{
				Name: stepCreateTicket,
				Do:   saga.Call(kitchenapi.CreateTicket, creation.newTicket).Refused((*creation).because),
				Undo: saga.Call(kitchenapi.RejectTicket, creation.ticket),
			},
		},
		Pivot: saga.Step[creation]{
			Name: stepAuthorize, Bar: authorizeBar,
			Do: saga.Call(accountingapi.AuthorizeCard, creation.charge).Refused((*creation).because),
		},
		Retriable: []saga.Step[creation]{
			{Name: stepConfirmTicket, Do: saga.Call(kitchenapi.ConfirmTicket, creation.ticket)},
			{Name: stepApprove, Do: saga.Call(orderapi.ApproveOrder, creation.approval)},
		},
	}
}

// creation is the saga's state.
type creation struct {
	Order Order `json:"order"`
	// Refusal says which participant said no, and why.
	Refusal string `json:"refusal,omitempty"`
}

func (c creation) verification() consumerapi.Verification {
	return consumerapi.Verification{OrderID: c.Order.ID, ConsumerID: c.Order.ConsumerID, Total: c.Order.Total}
}

func (c creation) newTicket() kitchenapi.NewTicket {
	items := make([]kitchenapi.LineItem, len(c.Order.LineItems))
	for i, item := range c.Order.LineItems {
		items[i] = kitchenapi.LineItem{MenuItemID: item.MenuItemID, Name: item.Name, Quantity: item.Quantity}
	}
	return kitchenapi.NewTicket{
		TicketID: c.Order.ID, RestaurantID: c.Order.RestaurantID,
		RestaurantVersion: c.Order.RestaurantVersion, LineItems: items,
	}
}

func (c creation) ticket() kitchenapi.Ticket { return kitchenapi.Ticket{TicketID: c.Order.ID} }

func (c creation) charge() accountingapi.Charge {
	return accountingapi.Charge{
		OrderID: c.Order.ID, ConsumerID: c.Order.ConsumerID,
		ConsumerVersion: c.Order.ConsumerVersion, Amount: c.Order.Total,
	}
}

func (c creation) approval() orderapi.Order { return orderapi.Order{OrderID: c.Order.ID} }

func (c *creation) because(refusal skald.Refusal) { c.Refusal = refusal.Code + ": " + refusal.Message }

// rejectionReason is what the order shows. A saga may end without a refusal: by its pivot's bar,
// or by an operator's cancel.
func (c *creation) rejectionReason() string {
	if c.Refusal == "" {
		return "not confirmed in time, or cancelled by an operator"
	}
	return c.Refusal
}

func (o *orders) create(ctx context.Context, tx *sql.Tx, c *creation) error {
	if err := o.store.add(ctx, tx, c.Order, time.Now().UnixMicro()); err != nil {
		return err
	}
	return o.audit.Effect(ctx, tx, c.Order.ID, stepCreate, audit.Do)
}

func (o *orders) reject(ctx context.Context, tx *sql.Tx, c *creation) error {
	if err := o.audit.Effect(ctx, tx, c.Order.ID, stepCreate, audit.Undo); err != nil {
		return err
	}
	return o.end(ctx, tx, change{ID: c.Order.ID, State: orderapi.StateRejected, RejectionReason: c.rejectionReason()})
}

func (o *orders) approve(ctx context.Context, tx *sql.Tx, order orderapi.Order) (orderapi.Approved, error) {
	if err := o.audit.Effect(ctx, tx, order.OrderID, stepApprove, audit.Do); err != nil {
		return orderapi.Approved{}, err
	}
	return orderapi.Approved{}, o.end(ctx, tx, change{ID: order.OrderID, State: orderapi.StateApproved})
}

// end leaves APPROVAL_PENDING and tells the order's streams once that is committed.
func (o *orders) end(ctx context.Context, tx *sql.Tx, c change) error {
	c.at = time.Now().UnixMicro()
	if err := o.store.leave(ctx, tx, orderapi.ApprovalPending, c); err != nil {
		return err
	}
	service.OnCommit(ctx, func() { o.changes.Tell(c.ID, c) })
	return nil
}
