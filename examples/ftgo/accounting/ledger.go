package accounting

import (
	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// account is a consumer's account.
type account struct {
	consumerVersion         int
	creditLimit, authorized money.Amount
}

// available is what can still be authorized.
func (a account) available() money.Amount { return a.creditLimit - a.authorized }

// authorization is the outcome of charging a card for an order.
type authorization struct {
	id, orderID, consumerID string
	amount                  money.Amount
	state                   State
}

// holds is what cannot be authorized again while the authorization is live. One that is reversed
// keeps its amount on record and holds nothing.
func (a authorization) holds() money.Amount {
	if a.state != Authorized {
		return 0
	}
	return a.amount
}

// State of a card authorization.
type State string

// The states of a card authorization.
const (
	Pending    State = "PENDING"    // choreography only: not charged yet
	Authorized State = "AUTHORIZED" // live
	Declined   State = "DECLINED"
	Reversed   State = "REVERSED"
)

// book is one of a consumer's accounts in the ledger.
type book string

const (
	limitBook      book = "limit"      // what was granted; grows by credit
	availableBook  book = "available"  // what can still be authorized; grows by debit
	authorizedBook book = "authorized" // what the live authorizations hold; grows by debit
)

// posting moves an amount between two books of a consumer.
type posting struct {
	id, consumerID, orderID string
	amount                  money.Amount
	debit, credit           entry
}

// entry is one side of a posting: the book, and its balance after it.
type entry struct {
	account book
	balance money.Amount
}

// grant is the posting that opens an account.
func grant(consumer string, limit money.Amount) posting {
	return posting{
		id: skald.NewID().String(), consumerID: consumer, amount: limit,
		debit: entry{availableBook, limit}, credit: entry{limitBook, limit},
	}
}

// transfer is the posting that leaves the account as it is after an authorization holds so much
// more, or so much less if that is negative.
func transfer(a authorization, more money.Amount, after account) posting {
	p := posting{
		id: skald.NewID().String(), consumerID: a.consumerID, orderID: a.orderID, amount: more,
		debit: entry{authorizedBook, after.authorized}, credit: entry{availableBook, after.available()},
	}
	if more < 0 {
		p.amount, p.debit, p.credit = -more, p.credit, p.debit
	}
	return p
}
