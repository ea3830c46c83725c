package order

import (
	"context"
	"database/sql"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
)

// The names of the saga's steps, which are stored.
const (
	stepBeginCancel         = "begin cancel"
	stepCancelTicket        = "cancel ticket"
	stepReverse             = "reverse authorization"
	stepConfirmTicketCancel = "confirm ticket cancel"
	stepConfirmCancel       = "confirm cancel"
)

// cancelOrderSaga is the cancel of an approved order: until the money is given back the kitchen can
// refuse, and then everything is as it was. So the money is given back no sooner: others could spend it.
//
// It is meant for the order whatever that is: where accounting knows a later version than the first step has read, the saga
// starts again.
func (o *orders) cancelOrderSaga() saga.Definition[cancellation] {
	return saga.Definition[cancellation]{
		Name: "order.cancel", Version: 1,
		Compensatable: []saga.Compensatable[cancellation]{
			{
				Name: stepBeginCancel, Locked: lock.Refuse, // whoever asks for it is told
				Do:     saga.Local(o.beginCancel).Locks(orderapi.Orders, cancellation.lockedOrder),
				Undo:   saga.Local(o.undoCancel).Unlocks(orderapi.Orders, cancellation.lockedOrder),
				Lowers: []skald.Resource{orderapi.Orders},
			},
			{
				Name:   stepCancelTicket,
				Do:     saga.Call(kitchenapi.BeginCancelTicket, cancellation.ticket).Refused((*cancellation).because),
				Undo:   saga.Call(kitchenapi.UndoCancelTicket, cancellation.ticket),
				Lowers: []skald.Resource{kitchenapi.Tickets},
			},
		},
		Pivot: saga.Step[cancellation]{
			Name: stepReverse, Bar: pivotBar,
			Do:     saga.Call(accountingapi.ReverseAuthorization, cancellation.reversal).Again(accountingapi.RefusedOrderChanged).Refused((*cancellation).because),
			Raises: []skald.Resource{accountingapi.Accounts},
		},
		Retriable: []saga.Step[cancellation]{
			{
				Name: stepConfirmTicketCancel, Do: saga.Call(kitchenapi.ConfirmCancelTicket, cancellation.ticket),
				Raises: []skald.Resource{kitchenapi.Tickets}, // the kitchen's time is its own again
			},
			{Name: stepConfirmCancel, Do: saga.Call(orderapi.ConfirmCancelOrder, cancellation.order)},
		},
	}
}

// cancellation is the saga's state.
type cancellation struct{ operation }

func (c cancellation) lockedOrder() string { return c.OrderID }

func (c cancellation) ticket() kitchenapi.Change {
	return kitchenapi.Change{TicketID: c.OrderID, Operation: c.Operation}
}

func (c cancellation) reversal() accountingapi.Reversal {
	return accountingapi.Reversal{OrderID: c.OrderID, ConsumerID: c.ConsumerID, Operation: c.Operation, Versions: c.Versions}
}

func (c cancellation) order() orderapi.Change {
	return orderapi.Change{OrderID: c.OrderID, Operation: c.Operation}
}

func (o *orders) beginCancel(ctx context.Context, tx *sql.Tx, c *cancellation) error {
	return o.hold(ctx, tx, &c.operation, orderapi.CancelPending, stepBeginCancel)
}

func (o *orders) undoCancel(ctx context.Context, tx *sql.Tx, c *cancellation) error {
	return o.release(ctx, tx, c.operation, orderapi.CancelPending, stepBeginCancel)
}

func (o *orders) confirmCancel(ctx context.Context, tx *sql.Tx, c orderapi.Change) (orderapi.Done, error) {
	if err := o.audit.Effect(ctx, tx, c.Operation, stepConfirmCancel, audit.Do); err != nil {
		return orderapi.Done{}, err
	}
	return orderapi.Done{}, o.leave(ctx, tx, orderapi.CancelPending, change{ID: c.OrderID, State: orderapi.StateCancelled})
}
