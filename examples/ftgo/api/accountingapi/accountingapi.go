// Package accountingapi is what the accounting service is asked for and answers.
package accountingapi

import (
	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// Commands is the channel of the accounting service's commands.
const Commands = "ftgo.accounting"

// RefusedDeclined is the code with which a card is declined.
const RefusedDeclined = "card_declined"

// AuthorizeCard reserves an order's total on the consumer's account. Commands of one account
// are handled in order. A declined card is a committed fact: the refusal is on record.
var AuthorizeCard = skald.Command[Charge, Authorized]{
	Name:     "ftgo.accounting.authorize-card",
	Channel:  Commands,
	Key:      func(c Charge) string { return c.ConsumerID },
	Refusals: []string{RefusedDeclined},
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
