package accounting

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// heard are the events about an order of an amount that lead to its charge, as the handlers take them.
func heard(a *accounting, order string, amount money.Amount) map[string]func(context.Context, *sql.Tx) error {
	about := orderapi.About{OrderID: order}
	return map[string]func(context.Context, *sql.Tx) error{
		"order": func(ctx context.Context, tx *sql.Tx) error {
			return a.orderCreated(ctx, tx, orderapi.Created{OrderID: order, ConsumerID: consumerID, ConsumerVersion: 2, Total: amount})
		},
		"consumer": func(ctx context.Context, tx *sql.Tx) error { return a.consumerVerified(ctx, tx, about) },
		"ticket":   func(ctx context.Context, tx *sql.Tx) error { return a.ticketCreated(ctx, tx, about) },
	}
}

var everyOrder = [][]string{
	{"order", "consumer", "ticket"},
	{"order", "ticket", "consumer"},
	{"consumer", "order", "ticket"},
	{"consumer", "ticket", "order"},
	{"ticket", "order", "consumer"},
	{"ticket", "consumer", "order"},
}

func TestACardIsChargedOnceEverythingIsSeenInWhateverOrder(t *testing.T) {
	hosttest.OnEachStore(t, aCardIsChargedOnceEverythingIsSeen)
}

func aCardIsChargedOnceEverythingIsSeen(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	openFor(t, a, h, 600)
	for _, amount := range []money.Amount{100, 1} { // the account pays for the first six
		for i, names := range everyOrder {
			order := fmt.Sprintf("%d of %d", i, amount)
			events := heard(a, order, amount)
			for n, name := range names {
				if state := stateOf(t, h, order); n > slices.Index(names, "order") && state != Pending {
					t.Errorf("%s: %s before %s", order, state, name)
				}
				if err := hosttest.InTx(t, h, events[name]); err != nil {
					t.Fatal(err)
				}
			}
			want := map[money.Amount]State{100: Authorized, 1: Declined}[amount]
			if state := stateOf(t, h, order); state != want {
				t.Errorf("%v: %s, want %s", names, state, want)
			}
		}
	}
	told := map[string]int{}
	for _, m := range hosttest.Sent(t, h, accountingapi.Events) {
		told[m.Type]++
	}
	if told[accountingapi.CardAuthorized.Name] != 6 || told[accountingapi.CardAuthorizationFailed.Name] != 6 {
		t.Errorf("told %v", told)
	}
	for query, want := range map[string]int{
		`SELECT authorized FROM accounts`:                                                 600,
		`SELECT sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) FROM ledger`:     0,
		`SELECT count(*) FROM ledger`:                                                     14,
		`SELECT count(*) FROM effects WHERE step = 'authorize card' AND action = 'do'`:    6,
		`SELECT count(*) FROM effects WHERE action = 'decline'`:                           6,
		`SELECT count(*) FROM effects WHERE step = 'open authorization'`:                  18,
		`SELECT count(*) FROM effects WHERE operation LIKE '%of 100' AND action = 'undo'`: 0,
	} {
		if got := hosttest.Count(t, h, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}

// stateOf is the state of an order's authorization; empty when there is none.
func stateOf(t *testing.T, h host.Host, order string) State {
	t.Helper()
	for _, state := range []State{Pending, Authorized, Declined, Reversed} {
		if hosttest.Count(t, h, `SELECT count(*) FROM authorizations WHERE order_id = ? AND state = ?`, order, string(state)) == 1 {
			return state
		}
	}
	return ""
}

// Two instances of the service may hear of one order at the same time: the last of them charges the card.
func TestInstancesThatHearOfAnOrderAtOnceChargeItOnce(t *testing.T) {
	a, h := openAccounting(t, hosttest.PostgreSQL)
	openFor(t, a, h, 100_000)
	const orders = 30
	for i := range orders {
		var hearing sync.WaitGroup
		for _, handle := range heard(a, fmt.Sprint(i), 100) {
			hearing.Go(func() {
				if err := hosttest.InTx(t, h, handle); err != nil {
					t.Error(err)
				}
			})
		}
		hearing.Wait()
	}
	if n := hosttest.Count(t, h, `SELECT count(*) FROM authorizations WHERE state = 'AUTHORIZED'`); n != orders {
		t.Errorf("%d of %d orders are charged", n, orders)
	}
	if sent := hosttest.Sent(t, h, accountingapi.Events); len(sent) != orders {
		t.Errorf("%d events", len(sent))
	}
}

func TestAFailureDeclinesWhatWasOpened(t *testing.T) {
	hosttest.OnEachStore(t, aFailureDeclinesWhatWasOpened)
}

func aFailureDeclinesWhatWasOpened(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	openFor(t, a, h, 100)
	events := heard(a, "o", 100)
	events["failure"] = func(ctx context.Context, tx *sql.Tx) error {
		return a.failed(ctx, tx, orderapi.Failed("o", skald.Refuse(kitchenapi.RefusedUnknownItem, "no")))
	}
	for _, name := range []string{"order", "consumer", "failure"} {
		if err := hosttest.InTx(t, h, events[name]); err != nil {
			t.Fatal(err)
		}
	}
	if state := stateOf(t, h, "o"); state != Declined {
		t.Errorf("%s", state)
	}
	if sent := hosttest.Sent(t, h, accountingapi.Events); len(sent) != 0 {
		t.Errorf("told %v", sent)
	}
}

func TestWithoutTheAccountAnOrderWaits(t *testing.T) {
	hosttest.OnEachStore(t, withoutTheAccountAnOrderWaits)
}

func withoutTheAccountAnOrderWaits(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	events := heard(a, "o", 100)
	for _, name := range []string{"consumer", "ticket"} {
		if err := hosttest.InTx(t, h, events[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := hosttest.InTx(t, h, events["order"]); err == nil {
		t.Error("an order was opened for an account that is not there")
	}
	openFor(t, a, h, 100)
	if err := hosttest.InTx(t, h, events["order"]); err != nil {
		t.Fatal(err)
	}
	if state := stateOf(t, h, "o"); state != Authorized {
		t.Errorf("%s", state)
	}
}
