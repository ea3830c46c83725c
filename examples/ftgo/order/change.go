package order

import (
	"context"
	"database/sql"
	"net/http"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/service"
)

// operation is a cancel or a revision of an order, as its saga remembers it.
type operation struct {
	Operation  string `json:"operation"` // see [orderapi.Operation]
	OrderID    string `json:"orderId"`
	ConsumerID string `json:"consumerId"`
	// Versions of the order: From is read when the saga takes hold of it, and again whenever it has to start again.
	orderapi.Versions
	refused
}

// cancel answers POST /v1/orders/{id}/cancel.
func (o *orders) cancel(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "order")
	if err != nil {
		return err
	}
	err = o.begin(r.Context(), id, func(ctx context.Context, tx *sql.Tx, begun operation) error {
		return o.cancelOrder.Start(ctx, tx, begun.Operation, cancellation{begun})
	})
	return accept(w, change{ID: id, State: orderapi.CancelPending}, err)
}

// revise answers POST /v1/orders/{id}/revise.
func (o *orders) revise(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "order")
	if err != nil {
		return err
	}
	var asked revisionRequest
	if err := httpkit.Decode(w, r, &asked); err != nil {
		return err
	}
	if err := asked.check(); err != nil {
		return err
	}
	revised, err := o.draftRevision(r.Context(), id, asked)
	if err != nil {
		return err
	}
	err = o.begin(r.Context(), id, func(ctx context.Context, tx *sql.Tx, begun operation) error {
		revised.operation = begun
		return o.reviseOrder.Start(ctx, tx, begun.Operation, revised)
	})
	if refusal, refused := skald.AsRefusal(err); refused { // a moment ago the menu was another
		err = httpkit.NewProblem(http.StatusUnprocessableEntity, "%s", refusal.Message)
	}
	return accept(w, change{ID: id, State: orderapi.RevisionPending}, err)
}

// draftRevision checks the new line items against the replicas, as for a new order. The saga prices them.
func (o *orders) draftRevision(ctx context.Context, id string, asked revisionRequest) (revision, error) {
	now, ok, err := o.store.standing(ctx, nil, id)
	if err := now.changeable(ok, err); err != nil {
		return revision{}, err
	}
	ordering, restaurant, err := o.parties(ctx, now.consumerID, now.restaurantID)
	if err != nil {
		return revision{}, err
	}
	var fields httpkit.Fields
	price(&fields, asked.LineItems, ordering, restaurant)
	return revision{RestaurantID: restaurant.ID, Asked: asked.LineItems}, fields.Err()
}

// begin starts a saga on an order, unless another one holds it: the order's state is looked at and
// changed in one transaction.
func (o *orders) begin(ctx context.Context, id string, start func(context.Context, *sql.Tx, operation) error) error {
	return service.Transact(ctx, o.service, func(ctx context.Context, tx *sql.Tx) error {
		now, ok, err := o.store.standing(ctx, tx, id)
		if err := now.changeable(ok, err); err != nil {
			return err
		}
		return start(ctx, tx, operation{
			Operation: orderapi.Operation(id, now.operations+1), OrderID: id, ConsumerID: now.consumerID,
			Versions: orderapi.Versions{To: orderapi.FirstVersion + int64(now.operations) + 1},
		})
	})
}

// changeable takes what reading an order has brought, and is a problem unless the order may be
// cancelled and revised.
func (s standing) changeable(found bool, err error) error {
	switch {
	case err != nil:
		return err
	case !found:
		return httpkit.NotFound("order")
	case s.state == orderapi.StateApproved:
		return nil
	case s.state.Pending():
		return httpkit.NewProblem(http.StatusConflict, "the order is %s: a saga holds it; try again later", s.state)
	default:
		return httpkit.NewProblem(http.StatusConflict, "the order is %s, and stays so", s.state)
	}
}

// hold is the first step of an operation: the order enters the pending state that keeps all others
// off it, and the saga reads the version that all of it is decided on. There are no streams to tell: an approved order has none.
func (o *orders) hold(ctx context.Context, tx *sql.Tx, begun *operation, in orderapi.State, step string) (err error) {
	begun.From, err = o.store.hold(ctx, tx, change{ID: begun.OrderID, State: in, at: time.Now().UnixMicro()})
	if err != nil {
		return err
	}
	return o.audit.Effect(ctx, tx, begun.Operation, step, audit.Do)
}

// release undoes hold: the order is as it was, and shows why.
func (o *orders) release(ctx context.Context, tx *sql.Tx, undone operation, from orderapi.State, step string) error {
	if err := o.audit.Effect(ctx, tx, undone.Operation, step, audit.Undo); err != nil {
		return err
	}
	return o.leave(ctx, tx, from, change{ID: undone.OrderID, State: orderapi.StateApproved, LastRefusal: undone.reason()})
}
