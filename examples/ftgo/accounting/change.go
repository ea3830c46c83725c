package accounting

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
)

// reverse gives back what the order's authorization holds.
func (a *accounting) reverse(ctx context.Context, tx *sql.Tx, r accountingapi.Reversal) (accountingapi.Done, error) {
	held, found, err := a.held(ctx, tx, r.ConsumerID, r.OrderID)
	if err != nil {
		return accountingapi.Done{}, err
	}
	reversed := held
	reversed.state = Reversed
	if err := a.change(ctx, tx, found, held, reversed); err != nil {
		return accountingapi.Done{}, err
	}
	return accountingapi.Done{}, a.audit.Effect(ctx, tx, r.Operation, stepReverse, audit.Do)
}

// revise makes the order's authorization hold another amount, or declines and leaves it as it is.
func (a *accounting) revise(ctx context.Context, tx *sql.Tx, r accountingapi.Revision) (accountingapi.Done, error) {
	held, found, err := a.held(ctx, tx, r.ConsumerID, r.OrderID)
	switch {
	case err != nil:
		return accountingapi.Done{}, err
	case r.Amount < 0:
		return accountingapi.Done{}, fmt.Errorf("order %s: the negative amount %s", r.OrderID, r.Amount)
	}
	if available := found.available() + held.amount; available < r.Amount {
		if err := a.audit.Effect(ctx, tx, r.Operation, stepRevise, audit.Decline); err != nil {
			return accountingapi.Done{}, err
		}
		return accountingapi.Done{}, skald.Refusef(accountingapi.RefusedDeclined,
			"the new total of %s is over the available credit of %s", r.Amount, available).Keep()
	}
	revised := held
	revised.amount = r.Amount
	if err := a.change(ctx, tx, found, held, revised); err != nil {
		return accountingapi.Done{}, err
	}
	return accountingapi.Done{}, a.audit.Effect(ctx, tx, r.Operation, stepRevise, audit.Do)
}

// held reads the live authorization of an order, and the account under whose lock it may be
// changed.
func (a *accounting) held(ctx context.Context, tx *sql.Tx, consumer, order string) (authorization, account, error) {
	found, ok, err := a.store.find(ctx, tx, consumer)
	if err == nil && !ok {
		err = fmt.Errorf("consumer %s has no account", consumer)
	}
	if err != nil {
		return authorization{}, account{}, err
	}
	held, err := a.store.authorization(ctx, tx, order, Authorized)
	if err == nil && held.consumerID != consumer {
		err = fmt.Errorf("the authorization of order %s is consumer %s's, not %s's", order, held.consumerID, consumer)
	}
	return held, found, err
}

// change makes another authorization of one, on its account.
func (a *accounting) change(ctx context.Context, tx *sql.Tx, on account, from, to authorization) error {
	at := time.Now().UnixMicro()
	more := to.holds() - from.holds()
	on.authorized += more
	if err := a.store.setAuthorized(ctx, tx, to.consumerID, on); err != nil {
		return err
	}
	if err := a.store.post(ctx, tx, transfer(to, more, on), at); err != nil {
		return err
	}
	return a.store.setAuthorization(ctx, tx, to, at)
}
