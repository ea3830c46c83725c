package accounting

import (
	"context"
	"database/sql"
	"fmt"
	"time"

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

// evidence is what has been seen of an order that nobody orchestrates.
type evidence int

const (
	seenOrder evidence = 1 << iota
	seenConsumer
	seenTicket

	seenAll = seenOrder | seenConsumer | seenTicket
)

// react registers accounting's part in the creation of an order that nobody orchestrates.
func (a *accounting) react() {
	c := choreographies.CreateOrder
	service.React(a.service, c, orderapi.OrderCreated, a.orderCreated)
	service.React(a.service, c, consumerapi.ConsumerVerified, a.consumerVerified)
	service.React(a.service, c, kitchenapi.TicketCreated, a.ticketCreated)
	service.React(a.service, c, consumerapi.ConsumerVerificationFailed, a.failed)
	service.React(a.service, c, kitchenapi.TicketCreationFailed, a.failed)
}

// orderCreated opens a PENDING authorization, which holds nothing until the card is charged.
func (a *accounting) orderCreated(ctx context.Context, tx *sql.Tx, o orderapi.Created) error {
	seen, err := a.store.see(ctx, tx, o.OrderID, seenOrder)
	if err != nil {
		return err
	}
	on, ok, err := a.store.find(ctx, tx, o.ConsumerID)
	if err == nil && !ok {
		err = fmt.Errorf("the account of consumer %s is not open yet", o.ConsumerID)
	}
	if err == nil {
		err = on.covers(accountingapi.Charge{ConsumerID: o.ConsumerID, ConsumerVersion: o.ConsumerVersion})
	}
	if err != nil {
		return err
	}
	opened := authorization{
		id: skald.NewID().String(), orderID: o.OrderID, consumerID: o.ConsumerID, amount: o.Total, state: Pending,
	}
	if err := a.store.addAuthorization(ctx, tx, opened, time.Now().UnixMicro()); err != nil {
		return err
	}
	if err := a.audit.Effect(ctx, tx, o.OrderID, stepOpen, audit.Do); err != nil {
		return err
	}
	if seen != seenAll {
		return nil
	}
	return a.charge(ctx, tx, opened)
}

func (a *accounting) consumerVerified(ctx context.Context, tx *sql.Tx, o orderapi.About) error {
	return a.validated(ctx, tx, o.OrderID, seenConsumer)
}

func (a *accounting) ticketCreated(ctx context.Context, tx *sql.Tx, o orderapi.About) error {
	return a.validated(ctx, tx, o.OrderID, seenTicket)
}

// validated takes one of the two validations; the last of all that there is to see charges the card.
func (a *accounting) validated(ctx context.Context, tx *sql.Tx, order string, by evidence) error {
	seen, err := a.store.see(ctx, tx, order, by)
	if err != nil || seen != seenAll {
		return err
	}
	opened, err := a.store.authorization(ctx, tx, order, Pending)
	if err != nil {
		return err
	}
	return a.charge(ctx, tx, opened)
}

// charge is the pivot: the PENDING authorization becomes live, or is declined for good.
func (a *accounting) charge(ctx context.Context, tx *sql.Tx, opened authorization) error {
	charged := opened
	var err error
	if charged.state, err = a.begin(ctx, tx, opened.orderID, opened.consumerID); err != nil {
		return err
	}
	on, fits, err := a.change(ctx, tx, opened, charged)
	if err != nil {
		return err
	}
	if !fits {
		if err := a.close(ctx, tx, opened); err != nil {
			return err
		}
		if err := a.audit.Effect(ctx, tx, opened.orderID, stepAuthorize, audit.Decline); err != nil {
			return err
		}
		return outbox.Publish(ctx, a.service.Outbox(), tx, accountingapi.CardAuthorizationFailed,
			orderapi.Failed(opened.orderID, overCredit(opened.amount, on.available())))
	}
	if err := a.audit.Effect(ctx, tx, opened.orderID, stepAuthorize, audit.Do); err != nil {
		return err
	}
	return outbox.Publish(ctx, a.service.Outbox(), tx, accountingapi.CardAuthorized, orderapi.About{OrderID: opened.orderID})
}

// failed undoes orderCreated: the card will not be charged.
func (a *accounting) failed(ctx context.Context, tx *sql.Tx, f orderapi.Failure) error {
	opened, err := a.store.authorization(ctx, tx, f.OrderID, Pending)
	if err != nil {
		return err
	}
	return a.close(ctx, tx, opened)
}

// close declines an authorization that was opened, and never was live.
func (a *accounting) close(ctx context.Context, tx *sql.Tx, opened authorization) error {
	opened.state = Declined
	if err := a.store.setAuthorization(ctx, tx, opened, time.Now().UnixMicro()); err != nil {
		return err
	}
	return a.audit.Effect(ctx, tx, opened.orderID, stepOpen, audit.Undo)
}
