package app_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"
)

// What becomes of an order whose card is not authorized in time. The pivot's bar takes half a minute, and so
// does each of these tests.

// outage changes a service's database behind its back.
func outage(t *testing.T, data, service, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, service+".db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// lines counts lines of the order service's sagas' history.
func lines(t *testing.T, data, what string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, "order.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM skald_history WHERE what = ?", what).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Accounting has not heard of a change that the order relies on: it does not answer. The bar overtakes what
// it holds, and what it holds is refused when it could be done at last.
func TestAnAuthorizationThatComesTooLateIsBarred(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	s := p.shop(t, "100.00")
	p.approved(t, s) // accounting knows the consumer
	outage(t, data, "accounting", "UPDATE accounts SET consumer_version = 0")
	id := p.want(t, 202, "POST", "/v1/orders", s.order(orderOfPies)).field("id")
	p.ends(t, id, "REJECTED")
	if n := lines(t, data, "bar sent"); n != 1 {
		t.Errorf("%d bars were sent", n)
	}
	p.shows(t, "/v1/orders/"+id, "rejectionReason", "not confirmed in time, or cancelled by an operator")
	p.shows(t, "/v1/tickets/"+id, "state", "CREATE_REJECTED")
	outage(t, data, "accounting", "UPDATE accounts SET consumer_version = 1")
	p.approved(t, s) // of the same account: it is in order behind what was held
	p.shows(t, "/v1/consumers/"+s.consumer+"/account", "authorized", "50.00")
	clean(t, data)
}

// The authorization has landed, and its answer is lost: the bar brings it back.
func TestAnAuthorizationWhoseAnswerIsLostIsBroughtBackByTheBar(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	s := p.shop(t, "100.00")
	p.approved(t, s)
	outage(t, data, "accounting", `CREATE TABLE lost (id INTEGER PRIMARY KEY);
CREATE TRIGGER lose BEFORE INSERT ON skald_outbox WHEN NEW.type = 'ftgo.accounting.authorize-card.reply' AND NOT EXISTS (SELECT 1 FROM lost)
BEGIN INSERT INTO lost VALUES (1); SELECT RAISE(IGNORE); END`)
	began := time.Now()
	id := p.approved(t, s)
	if n := lines(t, data, "bar sent"); n != 1 {
		t.Errorf("after %s, %d bars were sent", time.Since(began), n)
	}
	p.shows(t, "/v1/tickets/"+id, "state", "AWAITING_ACCEPTANCE")
	p.shows(t, "/v1/consumers/"+s.consumer+"/account", "authorized", "50.00")
	clean(t, data)
}
