// Package accountingapi is what the accounting service is asked for, answers and tells.
package accountingapi

import (
	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// The channels of the accounting service.
const (
	Commands = "ftgo.accounting"
	Events   = "ftgo.accounting.events"
)

// The codes with which the service says no.
const (
	RefusedDeclined = "card_declined"
	// RefusedOrderChanged says that another operation has changed the authorization since the version of the order that
	// this one was decided on: whoever reads the order again may try again.
	RefusedOrderChanged = "order_changed"
)

// Accounts are what is authorized against.
const Accounts skald.Resource = "ftgo.accounting.account"

// AuthorizeCard reserves an order's total on the consumer's account. Commands of one account
// are handled in order. A declined card is a committed fact: the refusal is on record.
var AuthorizeCard = skald.Command[Charge, Authorized]{
	Name:     "ftgo.accounting.authorize-card",
	Channel:  Commands,
	Key:      func(c Charge) string { return c.ConsumerID },
	Refusals: []string{RefusedDeclined},
}

// ReverseAuthorization gives back what an order's authorization holds: AUTHORIZED becomes REVERSED. One that comes before the
// order's AuthorizeCard is recorded, and that authorizes nothing then. It is refused only when the order has changed.
var ReverseAuthorization = skald.Command[Reversal, Done]{
	Name:     "ftgo.accounting.reverse-authorization",
	Channel:  Commands,
	Key:      func(r Reversal) string { return r.ConsumerID },
	Refusals: []string{RefusedOrderChanged},
}

// ReviseAuthorization changes what an order's authorization holds to another amount. A refusal
// leaves it as it is; that of a declined card is on record. One that comes before what it follows waits.
var ReviseAuthorization = skald.Command[Revision, Done]{
	Name:     "ftgo.accounting.revise-authorization",
	Channel:  Commands,
	Key:      func(r Revision) string { return r.ConsumerID },
	Refusals: []string{RefusedDeclined, RefusedOrderChanged},
}

// CardAuthorized tells that an order's total is reserved, where its creation is choreographed.
var CardAuthorized = skald.Event[orderapi.About]{
	Name: "ftgo.accounting.card-authorized", Channel: Events, Key: orderapi.About.Key,
}

// CardAuthorizationFailed tells that it is not, with a code as AuthorizeCard's.
var CardAuthorizationFailed = skald.Event[orderapi.Failure]{
	Name: "ftgo.accounting.card-authorization-failed", Channel: Events, Key: orderapi.Failure.Key,
}

// Charge is what is to be authorized.
type Charge struct {
	OrderID    string `json:"orderId"`
	ConsumerID string `json:"consumerId"`
	// ConsumerVersion is the version of the consumer that the order relies on; an accounting
	// service that has an older one, or no account yet, waits for it.
	ConsumerVersion int          `json:"consumerVersion"`
	Amount          money.Amount `json:"amount"`
}

// Authorized says that the amount is reserved.
type Authorized struct {
	AuthorizationID string `json:"authorizationId"`
}

// Reversal names the order whose authorization is reversed.
type Reversal struct {
	OrderID    string `json:"orderId"`
	ConsumerID string `json:"consumerId"`
	// Operation is the business key of the cancel's or revision's saga: effects are recorded under it.
	Operation string `json:"operation"`
	orderapi.Versions
}

// Revision is the amount that is to be authorized instead.
type Revision struct {
	OrderID    string `json:"orderId"`
	ConsumerID string `json:"consumerId"`
	Operation  string `json:"operation"` // as in Reversal
	orderapi.Versions
	Amount money.Amount `json:"amount"`
}

// Done says that an authorization changed as asked.
type Done struct{}
