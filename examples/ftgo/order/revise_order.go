package order

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
)

// The names of the saga's steps, which are stored.
const (
	stepBeginRevision         = "begin revision"
	stepReviseTicket          = "revise ticket"
	stepReviseAuthorization   = "revise authorization"
	stepConfirmTicketRevision = "confirm ticket revision"
	stepConfirmRevision       = "confirm revision"
)

// reviseOrderSaga is the revision of an approved order: the new line items are remembered, and hold
// once the card pays for them.
//
// What it is decided on it reads in its first step, which takes hold of the order: the order's version, and the menu by which the
// items are priced. Each is read again where it is written: the kitchen refuses another menu, accounting another version of
// the order, and then the saga starts again, and reads what is there by now. Where a dish that was asked for is gone, or it costs too
// much, nobody but the customer can decide: that is a refusal.
func (o *orders) reviseOrderSaga() saga.Definition[revision] {
	return saga.Definition[revision]{
		Name: "order.revise", Version: 1,
		Compensatable: []saga.Compensatable[revision]{
			{
				Name: stepBeginRevision, Locked: lock.Refuse, // whoever asks for it is told
				Do:    saga.Local(o.beginRevision).Locks(orderapi.Orders, revision.lockedOrder),
				Undo:  saga.Local(o.undoRevision).Unlocks(orderapi.Orders, revision.lockedOrder),
				Reads: []skald.Resource{consumerapi.Consumers, restaurantapi.Restaurants}, Lowers: []skald.Resource{orderapi.Orders},
			},
			{
				Name:  stepReviseTicket,
				Do:    saga.Call(kitchenapi.BeginReviseTicket, revision.newTicket).Again(kitchenapi.RefusedMenuChanged).Refused((*revision).because),
				Undo:  saga.Call(kitchenapi.UndoReviseTicket, revision.ticket),
				Reads: []skald.Resource{restaurantapi.Restaurants}, Lowers: []skald.Resource{kitchenapi.Tickets},
			},
		},
		Pivot: saga.Step[revision]{
			Name: stepReviseAuthorization, Bar: pivotBar,
			Do:     saga.Call(accountingapi.ReviseAuthorization, revision.charge).Again(accountingapi.RefusedOrderChanged).Refused((*revision).because),
			Raises: []skald.Resource{accountingapi.Accounts}, // if the new total is less
		},
		Retriable: []saga.Step[revision]{
			{
				Name: stepConfirmTicketRevision, Do: saga.Call(kitchenapi.ConfirmReviseTicket, revision.ticket),
				Raises: []skald.Resource{kitchenapi.Tickets},
			},
			{
				Name: stepConfirmRevision, Do: saga.Call(orderapi.ConfirmReviseOrder, revision.order),
				Raises: []skald.Resource{orderapi.Orders},
			},
		},
	}
}

// revision is the saga's state: what the order is changed to.
type revision struct {
	operation
	RestaurantID string        `json:"restaurantId"`
	Asked        []requestItem `json:"asked"`

	// What the first step makes of it.
	RestaurantVersion int                 `json:"restaurantVersion"`
	Total             money.Amount        `json:"total"`
	LineItems         []orderapi.LineItem `json:"lineItems"`
}

func (r revision) lockedOrder() string { return r.OrderID }

func (r revision) newTicket() kitchenapi.Revision {
	return kitchenapi.Revision{
		TicketID: r.OrderID, Operation: r.Operation, RestaurantID: r.RestaurantID,
		RestaurantVersion: r.RestaurantVersion, LineItems: kitchenapi.ToPrepare(r.LineItems),
	}
}

func (r revision) ticket() kitchenapi.Change {
	return kitchenapi.Change{TicketID: r.OrderID, Operation: r.Operation}
}

func (r revision) charge() accountingapi.Revision {
	return accountingapi.Revision{
		OrderID: r.OrderID, ConsumerID: r.ConsumerID, Operation: r.Operation, Versions: r.Versions, Amount: r.Total,
	}
}

func (r revision) order() orderapi.Revision {
	return orderapi.Revision{
		OrderID: r.OrderID, Operation: r.Operation, Versions: r.Versions, Total: r.Total, LineItems: r.LineItems,
	}
}

func (o *orders) beginRevision(ctx context.Context, tx *sql.Tx, r *revision) error {
	err := o.priceRevision(ctx, tx, r)
	if refusal, refused := skald.AsRefusal(err); refused {
		// A saga that has started again has nothing more to undo that would tell why. At the first start this is undone with
		// the request's transaction.
		r.because(*refusal)
		if failed := o.store.refuse(ctx, tx, r.OrderID, r.reason()); failed != nil {
			return failed
		}
	}
	if err != nil {
		return err
	}
	return o.hold(ctx, tx, &r.operation, orderapi.RevisionPending, stepBeginRevision)
}

// priceRevision reads the menu as it is now. Mostly it is the one against which the request was checked; if it makes the
// revision impossible, that is refused.
func (o *orders) priceRevision(ctx context.Context, tx *sql.Tx, r *revision) error {
	ordering, known, err := o.store.consumer(ctx, tx, r.ConsumerID)
	if err != nil {
		return err
	}
	restaurant, listed, err := o.restaurants.Find(ctx, tx, r.RestaurantID)
	if err == nil && (!known || !listed) {
		err = fmt.Errorf("order %s: consumer %s or restaurant %s is not in the replica", r.OrderID, r.ConsumerID, r.RestaurantID)
	}
	if err != nil {
		return err
	}
	var fields httpkit.Fields
	r.LineItems, r.Total = price(&fields, r.Asked, ordering, restaurant)
	r.RestaurantVersion = restaurant.Version
	if fields.Err() != nil {
		return skald.Refusef(kitchenapi.RefusedMenuChanged, "by the menu as it is now: %s", &fields)
	}
	return nil
}

func (o *orders) undoRevision(ctx context.Context, tx *sql.Tx, r *revision) error {
	return o.release(ctx, tx, r.operation, orderapi.RevisionPending, stepBeginRevision)
}

func (o *orders) confirmRevise(ctx context.Context, tx *sql.Tx, r orderapi.Revision) (orderapi.Done, error) {
	if err := o.audit.Effect(ctx, tx, r.Operation, stepConfirmRevision, audit.Do); err != nil {
		return orderapi.Done{}, err
	}
	if err := o.store.revise(ctx, tx, r); err != nil {
		return orderapi.Done{}, err
	}
	return orderapi.Done{}, o.leave(ctx, tx, orderapi.RevisionPending, change{ID: r.OrderID, State: orderapi.StateApproved})
}
