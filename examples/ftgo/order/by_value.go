package order

import (
	"context"
	"database/sql"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/isolation"
	"github.com/skald-go/skald/saga"
)

// largeOrder is the total from which on an order is created more carefully.
const largeOrder money.Amount = 500_00

// path is how an order is created where its creation is orchestrated.
type path = isolation.Rule[Order, *saga.Saga[creation]]

// byValue is the orchestrated style. What most orders rely on are replicas: a menu may have changed a moment ago, and then a dish
// is charged that is no longer there, which somebody settles with the customer. Of a large order the restaurant itself
// is asked once more right before the card is charged, for which the order waits on another service.
func (o *orders) byValue(placed orderapi.State) (style, error) {
	paths, err := isolation.NewByValue(func(o Order) int64 { return int64(o.Total) },
		path{Name: "large", From: int64(largeOrder), Path: saga.Register(o.service, o.createLargeOrderSaga())},
		path{Name: "any", Path: saga.Register(o.service, o.createOrderSaga())},
	)
	return style{placed, func(ctx context.Context, tx *sql.Tx, order Order) error {
		return paths.For(order).Path.Start(ctx, tx, order.ID, creation{Order: order, State: placed})
	}}, err
}

// createLargeOrderSaga is createOrderSaga with a look at what the restaurant offers now, as late as it can still
// refuse. It changes nothing, so that there is nothing to undo.
func (o *orders) createLargeOrderSaga() saga.Definition[creation] {
	d := o.createOrderSaga()
	d.Name = "order.create-large"
	d.Compensatable = append(d.Compensatable, saga.Compensatable[creation]{
		Name:  stepValidateDetails,
		Do:    saga.Call(restaurantapi.ValidateOrderDetails, creation.details).Refused((*creation).because),
		Reads: []skald.Resource{restaurantapi.Restaurants},
	})
	return d
}
