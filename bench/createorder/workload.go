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

func command(name, channel string, refusals ...string) skald.Command[order, done] {
	return skald.Command[order, done]{Name: "bench." + name, Channel: "bench." + channel, Refusals: refusals, Key: order.key}
}

var (
	verifyConsumer = command("verify-consumer", "consumer", "over_limit")
	createTicket   = command("create-ticket", "kitchen")
	rejectTicket   = command("reject-ticket", "kitchen")
	confirmTicket  = command("confirm-ticket", "kitchen")
	authorize      = command("authorize", "accounting", "declined")
	approveOrder   = command("approve-order", "order")
)

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
	verify := compensatable{Name: "verify consumer", Do: saga.Call(verifyConsumer, itself)}
	ticket := compensatable{Name: "create ticket", Do: saga.Call(createTicket, itself), Undo: saga.Call(rejectTicket, itself)}
	prepare := []compensatable{verify, ticket}
	if f.style == Parallel {
		prepare = []compensatable{{Name: "prepare", Parallel: [][]compensatable{{verify}, {ticket}}}}
	}
	approve := saga.Step[order]{Name: "approve order", Do: saga.Local(h.approve)}
	if f.byCommand {
		approve.Do = saga.Call(approveOrder, itself)
	}
	return saga.Definition[order]{
		Name:          "bench.create-order",
		Compensatable: append([]compensatable{{Name: "create order", Do: saga.Local(h.create), Undo: saga.Local(h.reject)}}, prepare...),
		Pivot:         saga.Step[order]{Name: "authorize card", Do: saga.Call(authorize, itself)},
		Retriable:     []saga.Step[order]{{Name: "confirm ticket", Do: saga.Call(confirmTicket, itself)}, approve},
	}
}
