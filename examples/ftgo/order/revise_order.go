package order

import (
	"context"
	"database/sql"

	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/money"
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
func (o *orders) reviseOrderSaga() saga.Definition[revision] {
	return saga.Definition[revision]{
		Name: "order.revise", Version: 1,
		Compensatable: []saga.Compensatable[revision]{
			{Name: stepBeginRevision, Do: saga.Local(o.beginRevision), Undo: saga.Local(o.undoRevision)},
			{
				Name: stepReviseTicket,
				Do:   saga.Call(kitchenapi.BeginReviseTicket, revision.newTicket).Refused((*revision).because),
				Undo: saga.Call(kitchenapi.UndoReviseTicket, revision.ticket),
			},
		},
		Pivot: saga.Step[revision]{
			Name: stepReviseAuthorization, Bar: pivotBar,
			Do: saga.Call(accountingapi.ReviseAuthorization, revision.charge).Refused((*revision).because),
		},
		Retriable: []saga.Step[revision]{
			{Name: stepConfirmTicketRevision, Do: saga.Call(kitchenapi.ConfirmReviseTicket, revision.ticket)},
			{Name: stepConfirmRevision, Do: saga.Call(orderapi.ConfirmReviseOrder, revision.order)},
		},
	}
}

// revision is the saga's state: what the order is changed to.
type revision struct {
	operation
	RestaurantID      string              `json:"restaurantId"`
	RestaurantVersion int                 `json:"restaurantVersion"`
	Total             money.Amount        `json:"total"`
	LineItems         []orderapi.LineItem `json:"lineItems"`
}

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
	return o.hold(ctx, tx, &r.operation, orderapi.RevisionPending, stepBeginRevision)
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
