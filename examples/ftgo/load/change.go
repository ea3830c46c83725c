package load

import (
	"context"
	"errors"
	"net/http"
)

// step is a cancel or a revision of an approved order.
type step struct {
	path    string // behind the order's
	body    []byte
	end     string // the order's state when it is done
	counted func(*Changes) (done, refused *int)
}

func cancelling() step {
	return step{path: "/cancel", end: stateCancelled, counted: func(c *Changes) (done, refused *int) { return &c.Cancelled, &c.CancelRefused }}
}

// revising takes one more of the order's first item.
func revising(i int) step {
	items := lineItems(i)
	items[0].Quantity++
	return step{
		path: "/revise", body: mustJSON(map[string]any{"lineItems": items}), end: stateApproved,
		counted: func(c *Changes) (done, refused *int) { return &c.Revised, &c.ReviseRefused },
	}
}

// onePreparedIn is the share of the orders to be changed that the kitchen prepares first.
const onePreparedIn = 3

// change revises and cancels the order numbered i, the nth of its style that was approved, if the plan
// says so: at once, because who sees it approved may.
func (c *Client) change(ctx context.Context, plan Plan, id string, style, i, n int) {
	var steps []step
	if among(plan.Revise, n, evenly) {
		steps = append(steps, revising(i))
	}
	if among(plan.Cancel, n, between) {
		steps = append(steps, cancelling())
	}
	if len(steps) == 0 {
		return
	}
	prepared := c.tally.changing(style)%onePreparedIn == 0
	var err error
	if prepared {
		err = c.prepare(ctx, "/v1/tickets/"+id)
	}
	for _, s := range steps {
		if err == nil {
			err = c.take(ctx, id, style, s, prepared)
		}
	}
	c.tally.notChanged(id, err)
}

// prepare has the kitchen take a ticket. Where the creation of an order is choreographed, the order may be
// approved a moment before its ticket is confirmed.
func (c *Client) prepare(ctx context.Context, ticket string) error {
	var pause pause
	for {
		var now orderState
		err := c.once(ctx, http.MethodGet, ticket, nil, nil, &now)
		if err == nil && now.State != stateTicketPending {
			return errors.Join(c.ask(ctx, ticket+"/accept", nil), c.ask(ctx, ticket+"/preparing", nil))
		}
		c.tally.retried()
		if !pause.wait(ctx) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// take asks for a step and waits for its end.
func (c *Client) take(ctx context.Context, id string, style int, s step, prepared bool) error {
	if err := c.ask(ctx, "/v1/orders/"+id+s.path, s.body); err != nil {
		return err
	}
	state, err := c.await(ctx, id)
	if err == nil {
		c.tally.changed(style, state, s, prepared)
	}
	return err
}

// ask posts what is to be done once. A conflict is no refusal when an earlier attempt was not
// answered: that one was done.
func (c *Client) ask(ctx context.Context, path string, body []byte) error {
	var answer struct{}
	err := c.post(ctx, path, jsonHeader(""), body, &answer)
	var refused *refusedError
	if errors.As(err, &refused) && refused.repeated && refused.status == http.StatusConflict {
		return nil
	}
	return err
}
