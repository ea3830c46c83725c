package accounting

import (
	"context"
	"database/sql"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/skaldtest"
)

const consumerID = "01890a5d-ac96-774b-bcce-b302099a8057"

func openAccounting(t *testing.T, on hosttest.Store) (*accounting, host.Host) {
	t.Helper()
	h := hosttest.New(t, on, "accounting", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	a, err := open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return a, h
}

func openFor(t *testing.T, a *accounting, h host.Host, limit int64) {
	t.Helper()
	c := consumerapi.Consumer{ID: consumerID, Version: 2, Name: "Ada"}
	*(*int64)(&c.CreditLimit) = limit
	err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error { return a.openAccount(ctx, tx, c) })
	if err != nil {
		t.Fatal(err)
	}
}

// charge authorizes and keeps the handler's writes where the runtime would.
func charge(t *testing.T, a *accounting, h host.Host, c accountingapi.Charge) error {
	t.Helper()
	return keeping(t, h, func(ctx context.Context, tx *sql.Tx) error {
		_, err := a.authorize(ctx, tx, c)
		return err
	})
}

// keeping calls fn in a transaction, whose writes stay with a refusal that keeps them.
func keeping(t *testing.T, h host.Host, fn func(ctx context.Context, tx *sql.Tx) error) error {
	t.Helper()
	var outcome error
	err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
		outcome = fn(ctx, tx)
		if refusal, ok := skald.AsRefusal(outcome); ok && refusal.Keeps() {
			return nil
		}
		return outcome
	})
	if outcome == nil {
		return err
	}
	return outcome
}

func TestCardsAreAuthorizedUpToTheCreditLimit(t *testing.T) {
	hosttest.OnEachStore(t, cardsAreAuthorizedUpToTheCreditLimit)
}

func cardsAreAuthorizedUpToTheCreditLimit(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	openFor(t, a, h, 1000)
	for i, step := range []struct {
		amount   int64
		declined bool
	}{{400, false}, {700, true}, {600, false}, {1, true}, {0, false}} {
		c := accountingapi.Charge{OrderID: string(rune('a' + i)), ConsumerID: consumerID, ConsumerVersion: 2}
		*(*int64)(&c.Amount) = step.amount
		err := charge(t, a, h, c)
		refusal, declined := skald.AsRefusal(err)
		if declined != step.declined || !declined && err != nil {
			t.Fatalf("charge %d of %d: %v", i, step.amount, err)
		}
		if declined && (refusal.Code != accountingapi.RefusedDeclined || !refusal.Keeps()) {
			t.Errorf("refusal %+v", refusal)
		}
	}
	answer := hosttest.Do(t, a.routes(), "GET", "/v1/consumers/"+consumerID+"/account", "")
	if want := `{"creditLimit":"10.00","authorized":"10.00","available":"0.00"}` + "\n"; answer.Body.String() != want {
		t.Errorf("got %d %s", answer.Code, answer.Body)
	}
	for query, want := range map[string]int{
		`SELECT count(*) FROM authorizations WHERE state = 'AUTHORIZED'`:                           3,
		`SELECT count(*) FROM authorizations WHERE state = 'DECLINED'`:                             2,
		`SELECT count(*) FROM effects WHERE step = 'authorize card' AND action = 'do'`:             3,
		`SELECT count(*) FROM effects WHERE action = 'decline'`:                                    2,
		`SELECT count(*) FROM ledger`:                                                              8,
		`SELECT sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) FROM ledger`:              0,
		`SELECT balance FROM ledger WHERE account = 'limit' ORDER BY entry DESC`:                   1000,
		`SELECT balance FROM ledger WHERE account = 'available' ORDER BY entry DESC`:               0,
		`SELECT balance FROM ledger WHERE account = 'authorized' ORDER BY entry DESC`:              1000,
		`SELECT count(*) FROM (SELECT 1 FROM ledger GROUP BY posting HAVING count(*) <> 2) AS odd`: 0,
	} {
		if got := hosttest.Count(t, h, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}

func TestAnAccountThatIsNotThereOrIsBehindIsNoRefusal(t *testing.T) {
	hosttest.OnEachStore(t, anAccountThatIsNotThereOrIsBehindIsNoRefusal)
}

func anAccountThatIsNotThereOrIsBehindIsNoRefusal(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	c := accountingapi.Charge{OrderID: "o", ConsumerID: consumerID, ConsumerVersion: 3, Amount: 100}
	for _, state := range []string{"absent", "behind"} {
		err := charge(t, a, h, c)
		if _, refused := skald.AsRefusal(err); refused || err == nil {
			t.Errorf("%s: %v, want an error that is retried", state, err)
		}
		if state == "absent" {
			openFor(t, a, h, 1000)
		}
	}
	if n := hosttest.Count(t, h, `SELECT count(*) FROM authorizations`); n != 0 {
		t.Errorf("%d authorizations", n)
	}
}

// Two instances of the service may charge one account at the same time, where the database has
// more than one writer.
func TestInstancesDoNotOverdrawAnAccount(t *testing.T) {
	a, h := openAccounting(t, hosttest.PostgreSQL)
	openFor(t, a, h, 1000)
	const charges = 16
	outcomes := make(chan error, charges)
	for i := range charges {
		go func() {
			c := accountingapi.Charge{OrderID: string(rune('a' + i)), ConsumerID: consumerID, ConsumerVersion: 2, Amount: 100}
			outcomes <- charge(t, a, h, c)
		}()
	}
	authorized := 0
	for range charges {
		if err := <-outcomes; err == nil {
			authorized++
		} else if _, declined := skald.AsRefusal(err); !declined {
			t.Error(err)
		}
	}
	if n := hosttest.Count(t, h, `SELECT authorized FROM accounts`); authorized != 10 || n != 1000 {
		t.Errorf("%d authorizations, and the account says %d", authorized, n)
	}
}

func TestAnAccountIsOpenedOnce(t *testing.T) { hosttest.OnEachStore(t, anAccountIsOpenedOnce) }

func anAccountIsOpenedOnce(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	openFor(t, a, h, 1000)
	openFor(t, a, h, 1000)
	if n := hosttest.Count(t, h, `SELECT count(*) FROM ledger`); n != 2 {
		t.Errorf("%d entries", n)
	}
}

func TestAnUnknownAccountIsNotFound(t *testing.T) {
	a, _ := openAccounting(t, hosttest.SQLite)
	if answer := hosttest.Do(t, a.routes(), "GET", "/v1/consumers/nobody/account", ""); answer.Code != 404 {
		t.Errorf("got %d %s", answer.Code, answer.Body)
	}
}

func TestAnAuthorizationIsRevisedAndReversed(t *testing.T) {
	hosttest.OnEachStore(t, anAuthorizationIsRevisedAndReversed)
}

func anAuthorizationIsRevisedAndReversed(t *testing.T, on hosttest.Store) {
	t.Helper()
	a, h := openAccounting(t, on)
	openFor(t, a, h, 1000)
	for order, amount := range map[string]money.Amount{"o": 400, "other": 100} {
		if err := charge(t, a, h, accountingapi.Charge{OrderID: order, ConsumerID: consumerID, ConsumerVersion: 2, Amount: amount}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		operation  string
		amount     money.Amount
		authorized int
		declined   bool
		versions   orderapi.Versions
	}{
		{"o/1", 900, 1000, false, orderapi.Versions{From: 1, To: 2}},
		{"o/2", 901, 1000, true, orderapi.Versions{From: 2, To: 3}},
		{"o/3", 900, 1000, false, orderapi.Versions{From: 2, To: 4}}, // a declined one makes no version
		{"o/4", 0, 100, false, orderapi.Versions{From: 4, To: 5}},
		{"o/5", 300, 400, false, orderapi.Versions{From: 5, To: 6}},
	} {
		_, declined := skald.AsRefusal(revise(t, a, h, accountingapi.Revision{
			OrderID: "o", ConsumerID: consumerID, Operation: step.operation, Versions: step.versions, Amount: step.amount,
		}))
		if n := hosttest.Count(t, h, `SELECT authorized FROM accounts`); n != step.authorized || declined != step.declined {
			t.Errorf("%s: %d authorized, declined: %t", step.operation, n, declined)
		}
	}
	if err := reverse(t, a, h, "somebody", 6, 7); err == nil {
		t.Error("somebody else's authorization was reversed")
	}
	if refusal, refused := skald.AsRefusal(reverse(t, a, h, consumerID, 4, 7)); !refused || refusal.Code != accountingapi.RefusedOrderChanged {
		t.Error("reversed as it was before it was revised")
	}
	if err := reverse(t, a, h, consumerID, 6, 7); err != nil {
		t.Fatal(err)
	}
	if err := reverse(t, a, h, consumerID, 6, 7); err == nil {
		t.Error("reversed twice")
	}
	for query, want := range map[string]int{
		`SELECT authorized FROM accounts`:                                                          100,
		`SELECT amount FROM authorizations WHERE order_id = 'o' AND state = 'REVERSED'`:            300, // what it was is on record
		`SELECT count(*) FROM effects WHERE action = 'decline' AND operation = 'o/2'`:              1,
		`SELECT count(*) FROM effects WHERE step = 'revise authorization' AND action = 'do'`:       4,
		`SELECT count(*) FROM effects WHERE step = 'reverse authorization' AND operation = 'o/6'`:  1,
		`SELECT sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) FROM ledger`:              0,
		`SELECT balance FROM ledger WHERE account = 'available' ORDER BY entry DESC`:               900,
		`SELECT balance FROM ledger WHERE account = 'authorized' ORDER BY entry DESC`:              100,
		`SELECT count(*) FROM (SELECT 1 FROM ledger GROUP BY posting HAVING count(*) <> 2) AS odd`: 0,
		`SELECT count(DISTINCT posting) FROM ledger`:                                               8,
	} {
		if got := hosttest.Count(t, h, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}

// reverse reverses order o's authorization.
func reverse(t *testing.T, a *accounting, h host.Host, consumer string, from, to int64) error {
	t.Helper()
	return hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
		_, err := a.reverse(ctx, tx, accountingapi.Reversal{
			OrderID: "o", ConsumerID: consumer, Operation: "o/6", Versions: orderapi.Versions{From: from, To: to},
		})
		return err
	})
}

// revise revises and keeps the handler's writes where the runtime would.
func revise(t *testing.T, a *accounting, h host.Host, r accountingapi.Revision) error {
	t.Helper()
	return keeping(t, h, func(ctx context.Context, tx *sql.Tx) error {
		_, err := a.revise(ctx, tx, r)
		return err
	})
}
