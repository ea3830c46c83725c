package kitchen

import (
	"context"
	"database/sql"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/choreographies"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/service"
)

// react registers the kitchen's part in the creation of an order that nobody orchestrates.
func (k *kitchen) react() {
	c := choreographies.CreateOrder
	service.React(k.service, c, orderapi.OrderCreated, k.orderCreated)
	service.React(k.service, c, accountingapi.CardAuthorized, k.cardAuthorized)
	service.React(k.service, c, consumerapi.ConsumerVerificationFailed, k.failed)
	service.React(k.service, c, accountingapi.CardAuthorizationFailed, k.failed)
}

func (k *kitchen) orderCreated(ctx context.Context, tx *sql.Tx, o orderapi.Created) error {
	_, err := k.create(ctx, tx, kitchenapi.NewTicket{
		TicketID: o.OrderID, RestaurantID: o.RestaurantID, RestaurantVersion: o.RestaurantVersion,
		LineItems: kitchenapi.ToPrepare(o.LineItems),
	})
	if refusal, refused := skald.AsRefusal(err); refused {
		if err := k.audit.Effect(ctx, tx, o.OrderID, stepCreate, audit.Decline); err != nil {
			return err
		}
		return outbox.Publish(ctx, k.service.Outbox(), tx, kitchenapi.TicketCreationFailed, orderapi.Failed(o.OrderID, refusal))
	}
	if err != nil {
		return err
	}
	return outbox.Publish(ctx, k.service.Outbox(), tx, kitchenapi.TicketCreated, orderapi.About{OrderID: o.OrderID})
}

func (k *kitchen) cardAuthorized(ctx context.Context, tx *sql.Tx, o orderapi.About) error {
	_, err := k.confirm(ctx, tx, kitchenapi.Ticket{TicketID: o.OrderID})
	return err
}

// failed undoes orderCreated. There is no ticket when the kitchen refused it too.
func (k *kitchen) failed(ctx context.Context, tx *sql.Tx, f orderapi.Failure) error {
	_, created, err := k.store.find(ctx, tx, f.OrderID)
	if err != nil || !created {
		return err
	}
	_, err = k.reject(ctx, tx, kitchenapi.Ticket{TicketID: f.OrderID})
	return err
}
