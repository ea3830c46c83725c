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
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
)

// asked are the operations on an order's authorization in their order, as the handlers take them: 400 are
// authorized, revised to 700, and reversed.
func asked(t *testing.T, a *accounting, h host.Host, order string) []func() error {
	t.Helper()
	do := func(fn func(ctx context.Context, tx *sql.Tx) error) func() error {
		return func() error { return keeping(t, h, fn) }
	}
	return []func() error{
		do(func(ctx context.Context, tx *sql.Tx) error {
			_, err := a.authorize(ctx, tx, accountingapi.Charge{OrderID: order, ConsumerID: consumerID, ConsumerVersion: 2, Amount: 400})
			return err
		}),
		do(func(ctx context.Context, tx *sql.Tx) error {
			_, err := a.revise(ctx, tx, accountingapi.Revision{
				OrderID: order, ConsumerID: consumerID, Operation: order + "/1", Versions: orderapi.Versions{From: 1, To: 2}, Amount: 700,
			})
			return err
		}),
		do(func(ctx context.Context, tx *sql.Tx) error {
			_, err := a.reverse(ctx, tx, accountingapi.Reversal{
				OrderID: order, ConsumerID: consumerID, Operation: order + "/2", Versions: orderapi.Versions{From: 2, To: 3},
			})
			return err
		}),
	}
}

// Whatever the order in which an order's operations arrive, its authorization ends the same, and the ledger with it. An
// operation whose handler returns an error is tried again, as the runtime does.
func TestOperationsOnAnAuthorizationArriveInAnyOrder(t *testing.T) {
	hosttest.OnEachStore(t, operationsArriveInAnyOrder)
}

func operationsArriveInAnyOrder(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	openFor(t, a, h, 700)
	for i, arrival := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		order := fmt.Sprint("order-", i)
		operations := asked(t, a, h, order)
		for waiting := slices.Clone(arrival); len(waiting) > 0; {
			waiting = slices.DeleteFunc(waiting, func(n int) bool {
				err := operations[n]()
				if _, refused := skald.AsRefusal(err); refused {
					t.Fatalf("%v: operation %d: %v", arrival, n, err)
				}
				return err == nil
			})
			if len(waiting) == len(arrival) {
				t.Fatalf("%v: nothing goes on", arrival)
			}
		}
		if state := stateOf(t, h, order); state != Reversed {
			t.Errorf("%v: %s", arrival, state)
		}
		soundLedger(t, h, 0)
	}
	for query, want := range map[string]int{
		`SELECT count(*) FROM authorizations WHERE state = 'REVERSED'`:                              6,
		`SELECT count(*) FROM effects WHERE step = 'authorize card' AND action = 'do'`:              6,
		`SELECT count(*) FROM effects WHERE step = 'revise authorization' AND action = 'do'`:        6,
		`SELECT count(*) FROM effects WHERE step = 'reverse authorization' AND action = 'do'`:       6,
		`SELECT count(*) FROM effects WHERE action = 'decline'`:                                     0,
		`SELECT count(*) FROM versions WHERE file = '{"version":3,"applied":[1,2,3]}'`:              6,
		`SELECT count(*) FROM (SELECT 1 FROM authorizations GROUP BY order_id HAVING count(*) > 1)`: 0,
	} {
		if h.Dialect == host.PostgreSQL && query[len(query)-1] == ')' {
			query += " AS many"
		}
		if got := hosttest.Count(t, h, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}

// soundLedger wants the account, its live authorizations and its ledger to agree on what is authorized.
func soundLedger(t *testing.T, h host.Host, authorized int) {
	t.Helper()
	for _, query := range []string{
		`SELECT authorized FROM accounts`,
		`SELECT coalesce(sum(amount), 0) FROM authorizations WHERE state = 'AUTHORIZED'`,
		`SELECT coalesce(sum(CASE side WHEN 'debit' THEN amount ELSE -amount END), 0) FROM ledger WHERE account = 'authorized'`,
		`SELECT coalesce((SELECT balance FROM ledger WHERE account = 'authorized' ORDER BY entry DESC LIMIT 1), 0)`,
	} {
		if got := hosttest.Count(t, h, query); got != authorized {
			t.Errorf("%s: %d, want %d", query, got, authorized)
		}
	}
}

// A reverse that comes first is recorded: the late authorize holds nothing, though there is no credit for it either.
func TestAnAuthorizeThatWasReversedBeforeItCameHoldsNothing(t *testing.T) {
	hosttest.OnEachStore(t, anAuthorizeThatWasReversedHoldsNothing)
}

func anAuthorizeThatWasReversedHoldsNothing(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	if err := reverse(t, a, h, consumerID, 1, 2); err != nil {
		t.Fatal(err)
	}
	if err := reverse(t, a, h, consumerID, 1, 2); err == nil {
		t.Error("reversed twice")
	}
	openFor(t, a, h, 100)
	somebodys := accountingapi.Charge{OrderID: "o", ConsumerID: "somebody", Amount: 400}
	if err := charge(t, a, h, somebodys); err == nil {
		t.Error("authorized for another consumer than it was reversed for")
	}
	if err := charge(t, a, h, accountingapi.Charge{OrderID: "o", ConsumerID: consumerID, ConsumerVersion: 2, Amount: 400}); err != nil {
		t.Fatal(err)
	}
	if state := stateOf(t, h, "o"); state != Reversed {
		t.Errorf("%s", state)
	}
	soundLedger(t, h, 0)
	if n := hosttest.Count(t, h, `SELECT count(*) FROM effects WHERE step = 'authorize card' AND action = 'do'`); n != 1 {
		t.Errorf("%d effects", n)
	}
}

// The same where nobody orchestrates.
func TestAChargeThatWasReversedBeforeItCameHoldsNothing(t *testing.T) {
	hosttest.OnEachStore(t, aChargeThatWasReversedHoldsNothing)
}

func aChargeThatWasReversedHoldsNothing(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	openFor(t, a, h, 1000)
	events := heard(a, "o", 400)
	for _, name := range []string{"order", "consumer"} {
		if err := hosttest.InTx(t, h, events[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := reverse(t, a, h, consumerID, 1, 2); err != nil {
		t.Fatal(err)
	}
	if state := stateOf(t, h, "o"); state != Pending {
		t.Errorf("%s", state)
	}
	if err := hosttest.InTx(t, h, events["ticket"]); err != nil {
		t.Fatal(err)
	}
	if state := stateOf(t, h, "o"); state != Reversed {
		t.Errorf("%s", state)
	}
	soundLedger(t, h, 0)
}

// Instances that change what is authorized on one account at the same time write over nothing of each other's, and the
// balances of the ledger follow one another.
func TestInstancesThatAuthorizeAndReverseAddUp(t *testing.T) {
	a, h := openAccounting(t, hosttest.PostgreSQL)
	openFor(t, a, h, 1500)
	var asking sync.WaitGroup
	for i := range 12 {
		asking.Go(func() {
			order := fmt.Sprint("order-", i)
			operations := asked(t, a, h, order)
			if err := operations[0](); err != nil {
				if _, declined := skald.AsRefusal(err); !declined {
					t.Error(err)
				}
				return
			}
			revised := operations[1]() == nil // or declined
			if revised && i%2 == 0 {
				if err := operations[2](); err != nil {
					t.Error(err)
				}
			}
		})
	}
	asking.Wait()
	soundLedger(t, h, hosttest.Count(t, h, `SELECT authorized FROM accounts`))
	gaps := hosttest.Count(t, h, `
		SELECT count(*) FROM (
			SELECT balance - lag(balance, 1, 0) OVER (ORDER BY entry) - CASE side WHEN 'debit' THEN amount ELSE -amount END AS gap
			FROM ledger WHERE account = 'authorized') AS entries WHERE gap <> 0`)
	if gaps != 0 {
		t.Errorf("%d balances do not follow from the one before", gaps)
	}
}
