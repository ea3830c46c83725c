// Package order is the order service: it takes orders, checks them against its replicas of
// restaurants and consumers, and runs the sagas that create, cancel and revise them.
package order

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"

	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/examples/ftgo/replica"
	"github.com/skald-go/skald/examples/ftgo/watch"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// Order is an order as it was placed: priced, and checked against the replicas at the versions
// that it names.
type Order struct {
	ID                string              `json:"id"`
	ConsumerID        string              `json:"consumerId"`
	ConsumerVersion   int                 `json:"consumerVersion"`
	RestaurantID      string              `json:"restaurantId"`
	RestaurantVersion int                 `json:"restaurantVersion"`
	Total             money.Amount        `json:"total"`
	LineItems         []orderapi.LineItem `json:"lineItems"`
	DeliveryAddress   Address             `json:"deliveryAddress"`
	Coordination      string              `json:"coordination"`
	// IdempotencyKey and RequestHash are empty when the request had no key.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	RequestHash    []byte `json:"requestHash,omitempty"`
}

// Address is where the order goes.
type Address struct {
	Zone   string `json:"zone"`
	Street string `json:"street"`
}

// change is what a change leaves an order in.
type change struct {
	ID              string         `json:"id"`
	State           orderapi.State `json:"state"`
	RejectionReason string         `json:"rejectionReason,omitempty"`
	// LastRefusal says why the last cancel or revision was undone. The next one that is accepted
	// clears it: what it says is then no longer the last.
	LastRefusal string `json:"lastRefusal,omitempty"`

	at int64 // microseconds since 1970
}

type orders struct {
	service     *service.Service
	logger      *slog.Logger
	store       *store
	audit       *audit.Log
	restaurants *replica.Restaurants
	consumers   watch.Hub[struct{}]
	changes     watch.Hub[change]
	styles      map[string]style // by the name in the request
	cancelOrder *saga.Saga[cancellation]
	reviseOrder *saga.Saga[revision]
}

// New makes the order service on its host and returns its HTTP interface.
func New(ctx context.Context, h host.Host) (http.Handler, error) {
	o, err := register(ctx, h)
	if err != nil {
		return nil, err
	}
	return o.routes(), nil
}

func register(ctx context.Context, h host.Host) (*orders, error) {
	o, err := open(ctx, h)
	if err != nil {
		return nil, err
	}
	o.restaurants.Register(h.Service)
	service.HandleEvent(h.Service, consumerapi.ConsumerRegistered, o.replicateConsumer)
	service.HandleCommand(h.Service, orderapi.ApproveOrder, o.approve)
	service.HandleCommand(h.Service, orderapi.ConfirmCancelOrder, o.confirmCancel)
	service.HandleCommand(h.Service, orderapi.ConfirmReviseOrder, o.confirmRevise)
	if err := o.registerStyles(); err != nil {
		return nil, err
	}
	o.cancelOrder = saga.Register(h.Service, o.cancelOrderSaga())
	o.reviseOrder = saga.Register(h.Service, o.reviseOrderSaga())
	return o, nil
}

func open(ctx context.Context, h host.Host) (*orders, error) {
	o := &orders{service: h.Service, logger: h.Logger}
	var err error
	if o.audit, err = audit.Open(ctx, h); err != nil {
		return nil, err
	}
	if o.restaurants, err = replica.OpenRestaurants(ctx, h); err != nil {
		return nil, err
	}
	if o.store, err = openStore(ctx, h); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *orders) routes() http.Handler {
	mux := httpkit.NewMux(o.logger)
	mux.Handle(http.MethodPost, "/v1/orders", o.place)
	mux.Handle(http.MethodGet, "/v1/orders/{id}", o.get)
	mux.Handle(http.MethodGet, "/v1/orders/{id}/events", o.stream)
	mux.Handle(http.MethodPost, "/v1/orders/{id}/cancel", o.cancel)
	mux.Handle(http.MethodPost, "/v1/orders/{id}/revise", o.revise)
	return mux
}

func (o *orders) replicateConsumer(ctx context.Context, tx *sql.Tx, c consumerapi.Consumer) error {
	if err := o.store.saveConsumer(ctx, tx, c); err != nil {
		return err
	}
	service.OnCommit(ctx, func() { o.consumers.Tell(c.ID, struct{}{}) })
	return nil
}
