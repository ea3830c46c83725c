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
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/lock"
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

// pivotBar is how long what accounting is asked for, which decides a saga, may stay without an
// answer.
const pivotBar = 30 * time.Second

// createOrderSaga is the creation of an order: until the card is authorized everything can be
// undone, and then the order is prepared.
func (o *orders) createOrderSaga() saga.Definition[creation] {
	return saga.Definition[creation]{
		Name: "order.create", Version: 1,
		Compensatable: []saga.Compensatable[creation]{
			{
				Name: stepCreate, Locked: lock.Refuse, // nobody else can have what is new
				Do:    saga.Local(o.create).Locks(orderapi.Orders, creation.orderID),
				Undo:  saga.Local(o.reject).Unlocks(orderapi.Orders, creation.orderID),
				Reads: []skald.Resource{consumerapi.Consumers, restaurantapi.Restaurants}, // by its replicas
			},
			{
				Name: stepVerify, Do: saga.Call(consumerapi.VerifyConsumer, creation.verification).Refused((*creation).because),
				Reads: []skald.Resource{consumerapi.Consumers},
			},
			{
				Name: stepCreateTicket, Locked: lock.Refuse,
				Do:    saga.Call(kitchenapi.CreateTicket, creation.newTicket).Refused((*creation).because),
				Undo:  saga.Call(kitchenapi.RejectTicket, creation.ticket),
				Reads: []skald.Resource{restaurantapi.Restaurants}, Lowers: []skald.Resource{kitchenapi.Tickets},
			},
		},
		Pivot: saga.Step[creation]{
			Name: stepAuthorize, Bar: pivotBar,
			Do:     saga.Call(accountingapi.AuthorizeCard, creation.charge).Refused((*creation).because),
			Lowers: []skald.Resource{accountingapi.Accounts},
		},
		Retriable: []saga.Step[creation]{
			{
				Name: stepConfirmTicket, Do: saga.Call(kitchenapi.ConfirmTicket, creation.ticket),
				Raises: []skald.Resource{kitchenapi.Tickets}, // for the kitchen to take
			},
			{
				Name: stepApprove, Do: saga.Call(orderapi.ApproveOrder, creation.approval),
				Raises: []skald.Resource{orderapi.Orders}, // for whoever cancels or revises it
			},
		},
	}
}

// creation is the saga's state.
type creation struct {
	Order Order `json:"order"`
	// State is the pending state in which the saga holds the order.
	State orderapi.State `json:"state"`
	refused
}

func (c creation) orderID() string { return c.Order.ID }

func (c creation) verification() consumerapi.Verification {
	return consumerapi.Verification{OrderID: c.Order.ID, ConsumerID: c.Order.ConsumerID, Total: c.Order.Total}
}

func (c creation) newTicket() kitchenapi.NewTicket {
	return kitchenapi.NewTicket{
		TicketID: c.Order.ID, RestaurantID: c.Order.RestaurantID,
		RestaurantVersion: c.Order.RestaurantVersion, LineItems: kitchenapi.ToPrepare(c.Order.LineItems),
	}
}

func (c creation) ticket() kitchenapi.Ticket { return kitchenapi.Ticket{TicketID: c.Order.ID} }

func (c creation) charge() accountingapi.Charge {
	return accountingapi.Charge{
		OrderID: c.Order.ID, ConsumerID: c.Order.ConsumerID,
		ConsumerVersion: c.Order.ConsumerVersion, Amount: c.Order.Total,
	}
}

func (c creation) approval() orderapi.Approval {
	return orderapi.Approval{OrderID: c.Order.ID, From: c.State}
}

// refused is the part of a saga's state that remembers why it is undone.
type refused struct {
	// Refusal says which participant said no, and why.
	Refusal string `json:"refusal,omitempty"`
}

func (r *refused) because(refusal skald.Refusal) {
	if refusal.Code != skald.RefusedBarred { // which is nobody's reason
		r.Refusal = refusal.Code + ": " + refusal.Message
	}
}

// reason is what the order shows. A saga may end without a refusal: by its pivot's bar, or by an
// operator's cancel.
func (r *refused) reason() string {
	if r.Refusal == "" {
		return "not confirmed in time, or cancelled by an operator"
	}
	return r.Refusal
}

func (o *orders) create(ctx context.Context, tx *sql.Tx, c *creation) error {
	if err := o.store.add(ctx, tx, c.Order, c.State, time.Now().UnixMicro()); err != nil {
		return err
	}
	return o.audit.Effect(ctx, tx, c.Order.ID, stepCreate, audit.Do)
}

func (o *orders) reject(ctx context.Context, tx *sql.Tx, c *creation) error {
	if err := o.audit.Effect(ctx, tx, c.Order.ID, stepCreate, audit.Undo); err != nil {
		return err
	}
	return o.leave(ctx, tx, c.State, change{ID: c.Order.ID, State: orderapi.StateRejected, RejectionReason: c.reason()})
}

func (o *orders) approve(ctx context.Context, tx *sql.Tx, a orderapi.Approval) (orderapi.Approved, error) {
	if err := o.audit.Effect(ctx, tx, a.OrderID, stepApprove, audit.Do); err != nil {
		return orderapi.Approved{}, err
	}
	return orderapi.Approved{}, o.leave(ctx, tx, a.From, change{ID: a.OrderID, State: orderapi.StateApproved})
}

// leave leaves a pending state and tells the order's streams once that is committed.
func (o *orders) leave(ctx context.Context, tx *sql.Tx, from orderapi.State, c change) error {
	c.at = time.Now().UnixMicro()
	if err := o.store.leave(ctx, tx, from, c); err != nil {
		return err
	}
	service.OnCommit(ctx, func() { o.changes.Tell(c.ID, c) })
	return nil
}
