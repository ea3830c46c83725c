// Package consumer is the consumer service: it registers consumers and says whether one may
// place an order.
package consumer

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/choreographies"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/service"
)

type consumers struct {
	service *service.Service
	logger  *slog.Logger
	store   *store
	audit   *audit.Log
}

// New makes the consumer service on its host and returns its HTTP interface.
func New(ctx context.Context, h host.Host) (http.Handler, error) {
	c, err := open(ctx, h)
	if err != nil {
		return nil, err
	}
	service.HandleCommand(h.Service, consumerapi.VerifyConsumer, c.verify)
	service.React(h.Service, choreographies.CreateOrder, orderapi.OrderCreated, c.orderCreated)
	return c.routes(), nil
}

func open(ctx context.Context, h host.Host) (*consumers, error) {
	log, err := audit.Open(ctx, h)
	if err != nil {
		return nil, err
	}
	s, err := openStore(ctx, h)
	return &consumers{service: h.Service, logger: h.Logger, store: s, audit: log}, err
}

func (c *consumers) routes() http.Handler {
	mux := httpkit.NewMux(c.logger)
	mux.Handle(http.MethodPost, "/v1/consumers", c.register)
	mux.Handle(http.MethodGet, "/v1/consumers/{id}", c.get)
	return mux
}

// verify changes nothing, so that there is nothing to undo.
func (c *consumers) verify(ctx context.Context, tx *sql.Tx, v consumerapi.Verification) (consumerapi.Verified, error) {
	limit, ok, err := c.store.orderLimit(ctx, tx, v.ConsumerID)
	switch {
	case err != nil:
		return consumerapi.Verified{}, err
	case !ok:
		return consumerapi.Verified{}, skald.Refuse(consumerapi.RefusedUnknownConsumer, "there is no such consumer")
	case limit != nil && v.Total > *limit:
		return consumerapi.Verified{}, skald.Refusef(consumerapi.RefusedOverOrderLimit,
			"the total of %s is over the consumer's order limit of %s", v.Total, *limit)
	default:
		return consumerapi.Verified{}, nil
	}
}

const maxName = 200 // bytes

// request is the body of POST /v1/consumers.
type request struct {
	Name        string  `json:"name"`
	OrderLimit  *string `json:"orderLimit"`
	CreditLimit *string `json:"creditLimit"`
}

// consumer checks the request and makes the consumer that it asks for.
func (r request) consumer() (consumerapi.Consumer, error) {
	var fields httpkit.Fields
	fields.Text("name", r.Name, maxName)
	made := consumerapi.Consumer{ID: skald.NewID().String(), Version: 1, Name: r.Name}
	if r.OrderLimit != nil {
		limit, err := money.Parse(*r.OrderLimit)
		if err != nil {
			fields.Add("orderLimit", "%s", err)
		}
		made.OrderLimit = &limit
	}
	if r.CreditLimit == nil {
		fields.Add("creditLimit", "is required")
		return made, fields.Err()
	}
	limit, err := money.Parse(*r.CreditLimit)
	if err != nil {
		fields.Add("creditLimit", "%s", err)
	}
	made.CreditLimit = limit
	return made, fields.Err()
}

// view is a consumer as the HTTP interface shows it.
type view struct {
	consumerapi.Consumer
	CreatedAt string `json:"createdAt"`
}

func (c *consumers) register(w http.ResponseWriter, r *http.Request) error {
	var asked request
	if err := httpkit.Decode(w, r, &asked); err != nil {
		return err
	}
	made, err := asked.consumer()
	if err != nil {
		return err
	}
	at := time.Now().UnixMicro()
	err = service.Transact(r.Context(), c.service, func(ctx context.Context, tx *sql.Tx) error {
		if err := c.store.add(ctx, tx, made, at); err != nil {
			return err
		}
		return outbox.Publish(ctx, c.service.Outbox(), tx, consumerapi.ConsumerRegistered, made)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/consumers/"+made.ID)
	return httpkit.Reply(w, http.StatusCreated, view{made, httpkit.Time(at)})
}

func (c *consumers) get(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "consumer")
	if err != nil {
		return err
	}
	found, at, ok, err := c.store.find(r.Context(), id)
	if err != nil {
		return err
	}
	if !ok {
		return httpkit.NotFound("consumer")
	}
	return httpkit.Reply(w, http.StatusOK, view{found, httpkit.Time(at)})
}
