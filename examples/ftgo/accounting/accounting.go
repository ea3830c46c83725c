// Package accounting is the accounting service: it opens an account for each consumer,
// authorizes cards against it and keeps a double-entry ledger of what is authorized.
package accounting

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/examples/ftgo/watch"
	"github.com/skald-go/skald/service"
)

// The names of the sagas' steps in the record of effects.
const (
	stepAuthorize = "authorize card"
	stepOpen      = "open authorization" // choreography only
	stepReverse   = "reverse authorization"
	stepRevise    = "revise authorization"
)

// patience is how long a request waits for an account that is not open yet: the consumer may
// have been registered a moment ago.
const patience = 2 * time.Second

type accounting struct {
	service *service.Service
	logger  *slog.Logger
	store   *store
	audit   *audit.Log
	opened  watch.Hub[struct{}]
}

// New makes the accounting service on its host and returns its HTTP interface.
func New(ctx context.Context, h host.Host) (http.Handler, error) {
	a, err := open(ctx, h)
	if err != nil {
		return nil, err
	}
	service.HandleEvent(h.Service, consumerapi.ConsumerRegistered, a.openAccount)
	service.HandleCommand(h.Service, accountingapi.AuthorizeCard, a.authorize)
	service.HandleCommand(h.Service, accountingapi.ReverseAuthorization, a.reverse)
	service.HandleCommand(h.Service, accountingapi.ReviseAuthorization, a.revise)
	a.react()
	return a.routes(), nil
}

func open(ctx context.Context, h host.Host) (*accounting, error) {
	a := &accounting{service: h.Service, logger: h.Logger}
	var err error
	if a.audit, err = audit.Open(ctx, h); err != nil {
		return nil, err
	}
	if a.store, err = openStore(ctx, h); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *accounting) routes() http.Handler {
	mux := httpkit.NewMux(a.logger)
	mux.Handle(http.MethodGet, "/v1/consumers/{id}/account", a.get)
	return mux
}

func (a *accounting) openAccount(ctx context.Context, tx *sql.Tx, c consumerapi.Consumer) error {
	at := time.Now().UnixMicro()
	opened, err := a.store.open(ctx, tx, c, at)
	if err != nil || !opened {
		return err
	}
	if err := a.store.post(ctx, tx, grant(c.ID, c.CreditLimit), at); err != nil {
		return err
	}
	service.OnCommit(ctx, func() { a.opened.Tell(c.ID, struct{}{}) })
	return nil
}

// authorize reserves the amount, or declines for good. One whose reversal came first reserves nothing.
func (a *accounting) authorize(ctx context.Context, tx *sql.Tx, c accountingapi.Charge) (accountingapi.Authorized, error) {
	if c.Amount < 0 {
		return accountingapi.Authorized{}, fmt.Errorf("order %s: the negative amount %s", c.OrderID, c.Amount)
	}
	charged := authorization{id: skald.NewID().String(), orderID: c.OrderID, consumerID: c.ConsumerID, amount: c.Amount}
	var err error
	if charged.state, err = a.begin(ctx, tx, c.OrderID, c.ConsumerID); err != nil {
		return accountingapi.Authorized{}, err
	}
	on, fits, err := a.hold(ctx, tx, c.ConsumerID, charged.holds())
	if err == nil {
		err = on.covers(c)
	}
	switch {
	case err != nil:
		return accountingapi.Authorized{}, err
	case !fits:
		charged.state = Declined
		if err := a.decline(ctx, tx, charged); err != nil {
			return accountingapi.Authorized{}, err
		}
		return accountingapi.Authorized{}, overCredit(c.Amount, on.available()).Keep()
	}
	return accountingapi.Authorized{AuthorizationID: charged.id}, a.reserve(ctx, tx, charged, on)
}

func overCredit(amount, available money.Amount) *skald.Refusal {
	return skald.Refusef(accountingapi.RefusedDeclined, "the total of %s is over the available credit of %s", amount, available)
}

// hold has an account hold so much more, or less if that is negative, and returns it as it is then. When its credit does
// not suffice, fits is false and it is as it was.
func (a *accounting) hold(ctx context.Context, tx *sql.Tx, consumer string, more money.Amount) (on account, fits bool, err error) {
	for {
		if fits, err = a.store.authorize(ctx, tx, consumer, more); err != nil {
			return on, false, err
		}
		on, _, err = a.store.find(ctx, tx, consumer) // it is there: its row has just been looked for
		if err != nil || fits || on.available() < more {
			return on, fits, err
		}
		// Somebody gave credit back between the refusal and the look. Now the row is locked: it fits.
	}
}

// covers is an error when the account is older than the version of the consumer which the order relies on: it cannot tell,
// which is no refusal but a reason to wait.
func (a account) covers(c accountingapi.Charge) error {
	if a.consumerVersion < c.ConsumerVersion {
		return fmt.Errorf("the account of consumer %s knows version %d, the order relies on %d",
			c.ConsumerID, a.consumerVersion, c.ConsumerVersion)
	}
	return nil
}

func (a *accounting) decline(ctx context.Context, tx *sql.Tx, declined authorization) error {
	if err := a.store.addAuthorization(ctx, tx, declined, time.Now().UnixMicro()); err != nil {
		return err
	}
	return a.audit.Effect(ctx, tx, declined.orderID, stepAuthorize, audit.Decline)
}

// reserve records an authorization that the account, as it is now, holds already.
func (a *accounting) reserve(ctx context.Context, tx *sql.Tx, charged authorization, after account) error {
	at := time.Now().UnixMicro()
	if err := a.store.addAuthorization(ctx, tx, charged, at); err != nil {
		return err
	}
	if err := a.store.post(ctx, tx, transfer(charged, charged.holds(), after), at); err != nil {
		return err
	}
	return a.audit.Effect(ctx, tx, charged.orderID, stepAuthorize, audit.Do)
}

// view is an account as the HTTP interface shows it.
type view struct {
	CreditLimit money.Amount `json:"creditLimit"`
	Authorized  money.Amount `json:"authorized"`
	Available   money.Amount `json:"available"`
}

func (a *accounting) get(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "account")
	if err != nil {
		return err
	}
	found, ok, err := watch.Await(r.Context(), &a.opened, id, patience,
		func(ctx context.Context) (account, bool, error) { return a.store.find(ctx, nil, id) })
	if err != nil {
		return err
	}
	if !ok {
		return httpkit.NotFound("account")
	}
	return httpkit.Reply(w, http.StatusOK, view{found.creditLimit, found.authorized, found.available()})
}
