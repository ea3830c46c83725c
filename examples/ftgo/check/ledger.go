package check

import "github.com/skald-go/skald/examples/ftgo/money"

// The accounts and sides of a consumer's ledger.
const (
	limitAccount      = "limit" // grows by credit
	availableAccount  = "available"
	authorizedAccount = "authorized"
	debit             = "debit"
	credit            = "credit"
)

// ledgerBalances is invariant 1.
func ledgerBalances(s *snapshot, report report) {
	balances := postings(s, report)
	live := map[string]money.Amount{} // by consumer
	for _, a := range s.authorizations {
		if a.live() {
			live[a.consumer] += a.amount
		}
	}
	for id, account := range s.accounts {
		limit, available, authorized := balances[book{id, limitAccount}], balances[book{id, availableAccount}], balances[book{id, authorizedAccount}]
		if account.authorized != live[id] {
			report("account %s says %s authorized, its live authorizations are %s", id, account.authorized, live[id])
		}
		if authorized != live[id] {
			report("account %s: the ledger's %s authorized differ from %s of live authorizations", id, authorized, live[id])
		}
		if limit != account.creditLimit {
			report("account %s: the ledger's limit %s is not the account's %s", id, limit, account.creditLimit)
		}
		if available != account.creditLimit-live[id] || available < 0 {
			report("account %s: %s available, but limit %s less live authorizations %s is %s", id, available, account.creditLimit, live[id], account.creditLimit-live[id])
		}
	}
	for consumer := range live {
		if _, ok := s.accounts[consumer]; !ok {
			report("consumer %s has live authorizations of %s and no account", consumer, live[consumer])
		}
	}
}

// book is one account of one consumer.
type book struct{ consumer, account string }

// postings verifies entry by entry, in the order in which they were written, and returns the
// final balances.
func postings(s *snapshot, report report) map[book]money.Amount {
	balances := map[book]money.Amount{}
	sums := map[string]posting{}
	for _, e := range s.ledger {
		change, ok := e.change()
		if !ok {
			report("ledger entry %d: %q on the account %q is neither a debit nor a credit of a known account", e.number, e.side, e.account)
			continue
		}
		b := book{e.consumer, e.account}
		balances[b] += change
		if balances[b] != e.balance {
			report("ledger entry %d of consumer %s: balance %s of %s, the entries make it %s", e.number, e.consumer, e.balance, e.account, balances[b])
			balances[b] = e.balance // one fault, one line
		}
		if e.balance < 0 || e.amount < 0 {
			report("ledger entry %d of consumer %s: amount %s, balance %s of %s: negative", e.number, e.consumer, e.amount, e.balance, e.account)
		}
		sums[e.posting] = sums[e.posting].with(e)
	}
	for id, p := range sums {
		if p.debits != p.credits || p.entries != 2 || p.mixed {
			report("posting %s: %d entries, debits %s, credits %s; it takes one debit and one credit of the same amount and consumer", id, p.entries, p.debits, p.credits)
		}
	}
	return balances
}

// change is what an entry does to its account's balance.
func (e entry) change() (money.Amount, bool) {
	grows := debit
	switch e.account {
	case limitAccount:
		grows = credit
	case availableAccount, authorizedAccount:
	default:
		return 0, false
	}
	switch {
	case e.side == grows:
		return e.amount, true
	case e.side == debit, e.side == credit:
		return -e.amount, true
	default:
		return 0, false
	}
}

// posting sums up the entries that share an id.
type posting struct {
	consumer        string
	debits, credits money.Amount
	entries         int
	mixed           bool // of several consumers
}

func (p posting) with(e entry) posting {
	if p.entries > 0 && p.consumer != e.consumer {
		p.mixed = true
	}
	p.consumer = e.consumer
	p.entries++
	if e.side == debit {
		p.debits += e.amount
	} else {
		p.credits += e.amount
	}
	return p
}
