package order

import (
	"context"
	"database/sql"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/saga"
)

// style is a way to coordinate the creation of an order.
type style struct {
	// placed is the state in which an order begins.
	placed orderapi.State
	// start stores the order and begins its creation.
	start func(ctx context.Context, tx *sql.Tx, placed Order) error
}

// registerStyles makes the table of [orderapi.Styles].
func (o *orders) registerStyles() error {
	orchestrated, err := o.byValue(orderapi.ApprovalPending)
	o.styles = map[string]style{
		orderapi.Orchestration: orchestrated,
		orderapi.Choreography:  o.choreographed(),
		orderapi.Parallel:      o.orchestrated(orderapi.StatePending, o.createOrderParallelSaga()),
	}
	return err
}

// orchestrated is a style whose orchestrator is one saga.
func (o *orders) orchestrated(placed orderapi.State, definition saga.Definition[creation]) style {
	create := saga.Register(o.service, definition)
	return style{placed, func(ctx context.Context, tx *sql.Tx, order Order) error {
		return create.Start(ctx, tx, order.ID, creation{Order: order, State: placed})
	}}
}
