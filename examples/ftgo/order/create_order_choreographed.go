package order

import (
	"context"
	"database/sql"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/choreographies"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// choreographed is the style without an orchestrator: the order service tells of the order, and hears from
// the others how it ends. It follows the choreography, so that one which stops half-way is missed.
func (o *orders) choreographed() style {
	c := choreographies.CreateOrder
	followed := saga.Track(o.service, c, orderapi.OrderCreated)
	service.React(o.service, c, accountingapi.CardAuthorized, o.cardAuthorized)
	service.React(o.service, c, consumerapi.ConsumerVerificationFailed, o.failed)
	service.React(o.service, c, kitchenapi.TicketCreationFailed, o.failed)
	service.React(o.service, c, accountingapi.CardAuthorizationFailed, o.failed)
	return style{orderapi.ApprovalPending, func(ctx context.Context, tx *sql.Tx, placed Order) error {
		id, err := skald.ParseID(placed.ID)
		if err != nil {
			return err
		}
		if err := o.create(ctx, tx, &creation{Order: placed, State: orderapi.ApprovalPending}); err != nil {
			return err
		}
		return followed.Start(ctx, tx, id, placed.created())
	}}
}

func (o Order) created() orderapi.Created {
	return orderapi.Created{
		OrderID: o.ID, ConsumerID: o.ConsumerID, ConsumerVersion: o.ConsumerVersion,
		RestaurantID: o.RestaurantID, RestaurantVersion: o.RestaurantVersion, Total: o.Total, LineItems: o.LineItems,
	}
}

func (o *orders) cardAuthorized(ctx context.Context, tx *sql.Tx, about orderapi.About) error {
	if _, err := o.approve(ctx, tx, orderapi.Approval{OrderID: about.OrderID, From: orderapi.ApprovalPending}); err != nil {
		return err
	}
	return outbox.Publish(ctx, o.service.Outbox(), tx, orderapi.OrderApproved, about)
}

// failed rejects an order at the first failure; of an order that is rejected there may be more.
func (o *orders) failed(ctx context.Context, tx *sql.Tx, f orderapi.Failure) error {
	now, _, err := o.store.standing(ctx, tx, f.OrderID)
	if err != nil || now.state == orderapi.StateRejected {
		return err
	}
	c := &creation{Order: Order{ID: f.OrderID}, State: orderapi.ApprovalPending}
	c.because(f.Refusal)
	if err := o.reject(ctx, tx, c); err != nil {
		return err
	}
	return outbox.Publish(ctx, o.service.Outbox(), tx, orderapi.OrderRejected, f)
}
