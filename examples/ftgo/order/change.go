package order

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/service"
)

// operation is a cancel or a revision of an order, as its saga remembers it.
type operation struct {
	Operation  string `json:"operation"` // see [orderapi.NewOperation]
	OrderID    string `json:"orderId"`
	ConsumerID string `json:"consumerId"`
	// Versions of the order: they are read when the saga takes hold of it, and again whenever it has to start again.
	orderapi.Versions
	refused
}

// refusedState is the code with which a local step refuses an order that is not APPROVED, though nobody has locked it.
const refusedState = "order_state"

// cancel answers POST /v1/orders/{id}/cancel.
func (o *orders) cancel(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "order")
	if err != nil {
		return err
	}
	now, err := o.changeable(r.Context(), id)
	if err != nil {
		return err
	}
	begun := now.operation(id)
	err = service.Transact(r.Context(), o.service, func(ctx context.Context, tx *sql.Tx) error {
		return o.cancelOrder.Start(ctx, tx, begun.Operation, cancellation{begun})
	})
	return accept(w, change{ID: id, State: orderapi.CancelPending}, now.problem(err))
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
	now, err := o.changeable(r.Context(), id)
	if err != nil {
		return err
	}
	if err := o.checkRevision(r.Context(), now, asked); err != nil {
		return err
	}
	begun := revision{operation: now.operation(id), RestaurantID: now.restaurantID, Asked: asked.LineItems}
	err = service.Transact(r.Context(), o.service, func(ctx context.Context, tx *sql.Tx) error {
		return o.reviseOrder.Start(ctx, tx, begun.Operation, begun)
	})
	return accept(w, change{ID: id, State: orderapi.RevisionPending}, now.problem(err))
}

// checkRevision checks the new line items against the replicas, as for a new order. The saga prices them.
func (o *orders) checkRevision(ctx context.Context, of standing, asked revisionRequest) error {
	ordering, restaurant, err := o.parties(ctx, of.consumerID, of.restaurantID)
	if err != nil {
		return err
	}
	var fields httpkit.Fields
	price(&fields, asked.LineItems, ordering, restaurant)
	return fields.Err()
}

// changeable finds an order that may be cancelled and revised, now or some time. Whether it may be now, the saga's first
// step decides, by the order's lock.
func (o *orders) changeable(ctx context.Context, id string) (standing, error) {
	now, found, err := o.store.standing(ctx, nil, id)
	switch {
	case err != nil:
	case !found:
		err = httpkit.NotFound("order")
	case now.state != orderapi.StateApproved && !now.state.Pending():
		err = httpkit.NewProblem(http.StatusConflict, "the order is %s, and stays so", now.state)
	}
	return now, err
}

func (s standing) operation(id string) operation {
	return operation{Operation: orderapi.NewOperation(id), OrderID: id, ConsumerID: s.consumerID}
}

// problem is what a client is told that asks for what a saga's first step refuses.
func (s standing) problem(err error) error {
	refusal, refused := skald.AsRefusal(err)
	switch {
	case !refused:
		return err
	case refusal.Code == skald.RefusedLocked:
		var held lock.Denial
		if err := json.Unmarshal(refusal.Detail, &held); err != nil {
			return fmt.Errorf("decode who holds the order: %w", err)
		}
		state := s.state
		if !state.Pending() { // then it was read before the lock was taken
			state = ""
		}
		return httpkit.Held("order", string(state), held.Name, held.Holder, held.Since)
	case refusal.Code == refusedState:
		return httpkit.NewProblem(http.StatusConflict, "%s", refusal.Message)
	default: // a moment ago the menu was another
		return httpkit.NewProblem(http.StatusUnprocessableEntity, "%s", refusal.Message)
	}
}

// hold is the first step of an operation: the order, which the step has locked, enters a pending state, and the saga reads the
// version that all of it is decided on. There are no streams to tell: an approved order has none. An order that is created
// without an orchestrator is not locked, and yet not APPROVED.
func (o *orders) hold(ctx context.Context, tx *sql.Tx, begun *operation, in orderapi.State, step string) error {
	decided, ok, err := o.store.hold(ctx, tx, change{ID: begun.OrderID, State: in, at: time.Now().UnixMicro()})
	if err != nil {
		return err
	}
	if !ok {
		now, _, err := o.store.standing(ctx, tx, begun.OrderID)
		if err != nil {
			return err
		}
		return skald.Refusef(refusedState, "the order is %s: try again once it is %s", now.state, orderapi.StateApproved)
	}
	begun.Versions = decided
	return o.audit.Effect(ctx, tx, begun.Operation, step, audit.Do)
}

// release undoes hold: the order is as it was, and shows why.
func (o *orders) release(ctx context.Context, tx *sql.Tx, undone operation, from orderapi.State, step string) error {
	if err := o.audit.Effect(ctx, tx, undone.Operation, step, audit.Undo); err != nil {
		return err
	}
	return o.leave(ctx, tx, from, change{ID: undone.OrderID, State: orderapi.StateApproved, LastRefusal: undone.reason()})
}
