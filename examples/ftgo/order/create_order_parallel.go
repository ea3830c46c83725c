package order

import (
	"context"
	"database/sql"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/saga"
)

// The names of the steps that only the parallel style has, which are stored.
const (
	groupValidate       = "validate"
	stepValidateDetails = "validate order details"
	stepValidateOrder   = "validate order"
)

// createOrderParallelSaga is createOrderSaga with its validations beside each other. They change
// nothing, so that a refusal of one waits for no answer of the other.
func (o *orders) createOrderParallelSaga() saga.Definition[creation] {
	d := o.createOrderSaga()
	create, verify, createTicket := d.Compensatable[0], d.Compensatable[1], d.Compensatable[2]
	d.Name = "order.create-parallel"
	d.Compensatable = []saga.Compensatable[creation]{
		create,
		{Name: groupValidate, Parallel: [][]saga.Compensatable[creation]{
			{verify},
			{{
				Name:  stepValidateDetails,
				Do:    saga.Call(restaurantapi.ValidateOrderDetails, creation.details).Refused((*creation).because),
				Reads: []skald.Resource{restaurantapi.Restaurants},
			}},
		}},
		{Name: stepValidateOrder, Do: saga.Local(o.validated), Reads: []skald.Resource{orderapi.Orders}},
		createTicket,
	}
	return d
}

func (c creation) details() restaurantapi.OrderDetails {
	items := make([]string, len(c.Order.LineItems))
	for i, item := range c.Order.LineItems {
		items[i] = item.MenuItemID
	}
	return restaurantapi.OrderDetails{
		OrderID: c.Order.ID, RestaurantID: c.Order.RestaurantID, MenuItemIDs: items,
		Zone: c.Order.DeliveryAddress.Zone, Total: c.Order.Total,
	}
}

// validated is the step behind the group: both validations are in. What it changes is the state that
// the undo of create leaves, which may be either: it needs no undo of its own.
func (o *orders) validated(ctx context.Context, tx *sql.Tx, c *creation) error {
	if err := o.audit.Effect(ctx, tx, c.Order.ID, stepValidateOrder, audit.Do); err != nil {
		return err
	}
	if err := o.leave(ctx, tx, c.State, change{ID: c.Order.ID, State: orderapi.StateValidated}); err != nil {
		return err
	}
	c.State = orderapi.StateValidated
	return nil
}
