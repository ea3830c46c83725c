// Package createorder is the createOrder benchmark: one saga of six local transactions over four
// databases, through the library as a user would write it, on SQLite or on PostgreSQL; and, on
// PostgreSQL, beside the same statements without any library.
package createorder

import (
	"context"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

const (
	consumers      = 10_000
	initialBalance = 1_000_000_000
	details        = `{"restaurant":"Ajanta","items":[{"sku":"chicken-vindaloo","qty":2},{"sku":"naan","qty":4}],"address":"1 High St, Oakland CA"}`
)

// names are the services', and their databases'.
var names = []string{"order", "consumer", "kitchen", "accounting"}

// order is the saga's input and state, and what each command carries of it.
type order struct {
	ID       int64 `json:"id"`
	Consumer int64 `json:"consumer"`
	Amount   int64 `json:"amount"`
	Decline  bool  `json:"decline,omitempty"`
}

func (o order) key() string { return strconv.FormatInt(o.ID, 10) }

// cardState is what the authorization is to come out as.
func (o order) cardState() string {
	if o.Decline {
		return "DECLINED"
	}
	return "APPROVED"
}

type done struct{}

type command = skald.Command[order, done]

// contract is the commands that the services take.
type contract struct {
	verifyConsumer, createTicket, rejectTicket, confirmTicket, authorize, approveOrder command
}

// What is locked, where the saga locks: from the creation to the decision.
const (
	orders  skald.Resource = "bench.order"
	tickets skald.Resource = "bench.ticket"
)

func contractOf(f form) contract {
	to := func(name, channel string, refusals ...string) command {
		return command{Name: "bench." + name, Channel: "bench." + channel, Refusals: refusals, Key: order.key}
	}
	c := contract{
		verifyConsumer: to("verify-consumer", "consumer", "over_limit"),
		createTicket:   to("create-ticket", "kitchen"),
		rejectTicket:   to("reject-ticket", "kitchen"),
		confirmTicket:  to("confirm-ticket", "kitchen"),
		authorize:      to("authorize", "accounting", "declined"),
		approveOrder:   to("approve-order", "order"),
	}
	if f.locks != "" {
		c.createTicket.Locks, c.rejectTicket.Unlocks, c.confirmTicket.Unlocks = tickets, tickets, tickets
		c.approveOrder.Unlocks = orders
	}
	return c
}

var (
	errOverLimit = skald.Refuse("over_limit", "over the credit limit")
	errDeclined  = skald.Refuse("declined", "card declined").Keep()
)

func itself(o order) order { return o }

// local is a step in the orders' own database.
type local[T any] func(ctx context.Context, tx T, o *order) error

// definition is the saga. Its last step is local, like the first; byCommand, the orders' service
// sends a command for it to itself.
func definition[T any](h handlers[T], f form) saga.Definition[order] {
	type compensatable = saga.Compensatable[order]
	c := contractOf(f)
	create, reject, approve := saga.Local(h.create), saga.Local(h.reject), saga.Local(h.approve)
	if f.locks != "" {
		create, reject, approve = create.Locks(orders, order.key), reject.Unlocks(orders, order.key), approve.Unlocks(orders, order.key)
	}
	verify := compensatable{Name: "verify consumer", Do: saga.Call(c.verifyConsumer, itself)}
	ticket := compensatable{Name: "create ticket", Do: saga.Call(c.createTicket, itself), Undo: saga.Call(c.rejectTicket, itself), Locked: f.locks}
	prepare := []compensatable{verify, ticket}
	if f.style == Parallel {
		prepare = []compensatable{{Name: "prepare", Parallel: [][]compensatable{{verify}, {ticket}}}}
	}
	last := saga.Step[order]{Name: "approve order", Do: approve}
	if f.byCommand {
		last.Do = saga.Call(c.approveOrder, itself)
	}
	return saga.Definition[order]{
		Name:          "bench.create-order",
		Compensatable: append([]compensatable{{Name: "create order", Do: create, Undo: reject, Locked: f.locks}}, prepare...),
		Pivot:         saga.Step[order]{Name: "authorize card", Do: saga.Call(c.authorize, itself)},
		Retriable:     []saga.Step[order]{{Name: "confirm ticket", Do: saga.Call(c.confirmTicket, itself)}, last},
	}
}
