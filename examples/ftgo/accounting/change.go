package accounting

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// reverse gives back what the order's authorization holds, or will hold: one that is not there yet is reversed when it comes.
func (a *accounting) reverse(ctx context.Context, tx *sql.Tx, r accountingapi.Reversal) (accountingapi.Done, error) {
	recorded, err := a.record(ctx, tx, r.OrderID, later(r.Versions, act{reversing, r.ConsumerID}))
	if err == nil {
		err = a.keep(ctx, tx, recorded)
	}
	if err == nil && len(recorded.due) > 0 {
		err = a.release(ctx, tx, r)
	}
	if err != nil {
		return accountingapi.Done{}, err
	}
	return accountingapi.Done{}, a.audit.Effect(ctx, tx, r.Operation, stepReverse, audit.Do)
}

func (a *accounting) release(ctx context.Context, tx *sql.Tx, r accountingapi.Reversal) error {
	held, err := a.held(ctx, tx, r.ConsumerID, r.OrderID)
	if err != nil {
		return err
	}
	reversed := held
	reversed.state = Reversed
	_, fits, err := a.change(ctx, tx, held, reversed)
	if err == nil && !fits {
		err = fmt.Errorf("consumer %s has less authorized than order %s holds", r.ConsumerID, r.OrderID)
	}
	return err
}

// revise makes the order's authorization hold another amount, or declines and leaves it as it is. Whether the card pays cannot be
// told before what comes before: such a revision is tried again.
func (a *accounting) revise(ctx context.Context, tx *sql.Tx, r accountingapi.Revision) (accountingapi.Done, error) {
	if r.Amount < 0 {
		return accountingapi.Done{}, fmt.Errorf("order %s: the negative amount %s", r.OrderID, r.Amount)
	}
	recorded, err := a.record(ctx, tx, r.OrderID, later(r.Versions, act{revising, r.ConsumerID}))
	if err == nil && len(recorded.due) == 0 {
		err = fmt.Errorf("order %s: the authorization is not yet at version %d, which the revision follows", r.OrderID, r.From)
	}
	if err != nil {
		return accountingapi.Done{}, err
	}
	held, err := a.held(ctx, tx, r.ConsumerID, r.OrderID)
	if err != nil {
		return accountingapi.Done{}, err
	}
	revised := held
	revised.amount, revised.state = r.Amount, recorded.state()
	on, fits, err := a.change(ctx, tx, held, revised)
	switch {
	case err != nil:
		return accountingapi.Done{}, err
	case !fits:
		return accountingapi.Done{}, a.declineRevision(ctx, tx, r, on.available()+held.amount)
	}
	if err := a.keep(ctx, tx, recorded); err != nil {
		return accountingapi.Done{}, err
	}
	return accountingapi.Done{}, a.audit.Effect(ctx, tx, r.Operation, stepRevise, audit.Do)
}

// declineRevision makes no version of the authorization: the order stays at the one that it has.
func (a *accounting) declineRevision(ctx context.Context, tx *sql.Tx, r accountingapi.Revision, available money.Amount) error {
	if err := a.audit.Effect(ctx, tx, r.Operation, stepRevise, audit.Decline); err != nil {
		return err
	}
	return skald.Refusef(accountingapi.RefusedDeclined, "the new total of %s is over the available credit of %s", r.Amount, available).Keep()
}

// held reads the live authorization of an order.
func (a *accounting) held(ctx context.Context, tx *sql.Tx, consumer, order string) (authorization, error) {
	held, err := a.store.authorization(ctx, tx, order, Authorized)
	if err == nil && held.consumerID != consumer {
		err = fmt.Errorf("the authorization of order %s is consumer %s's, not %s's", order, held.consumerID, consumer)
	}
	return held, err
}

// change makes another authorization of one, on its account, and returns that as it is then. When the credit does not
// suffice, fits is false and nothing has changed.
func (a *accounting) change(ctx context.Context, tx *sql.Tx, from, to authorization) (on account, fits bool, err error) {
	at := time.Now().UnixMicro()
	more := to.holds() - from.holds()
	if on, fits, err = a.hold(ctx, tx, to.consumerID, more); err != nil || !fits {
		return on, false, err
	}
	if err := a.store.post(ctx, tx, transfer(to, more, on), at); err != nil {
		return on, false, err
	}
	return on, true, a.store.setAuthorization(ctx, tx, to, at)
}
