package order

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
)

// approved places an order and waits until it is approved.
func (w *world) approved(t *testing.T) (id string) {
	t.Helper()
	w.tell(t)
	id = w.place(t)
	if states := w.states(t, id); !strings.HasSuffix(states, "APPROVED") {
		t.Fatalf("states %s", states)
	}
	w.others.forget()
	return id
}

func (o *others) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = nil
}

func (w *world) post(t *testing.T, want int, path, body string) {
	t.Helper()
	if answer := hosttest.Do(t, w, http.MethodPost, path, body); answer.Code != want {
		t.Fatalf("%s: %d %s, want %d", path, answer.Code, answer.Body, want)
	}
}

// operations are those on an order, in the order in which they began.
func (w *world) operations(t *testing.T, id string) []string {
	t.Helper()
	rows, err := w.host.DB.QueryContext(t.Context(), `SELECT operation FROM effects WHERE operation LIKE '`+id+`/%' GROUP BY operation ORDER BY operation`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// effects are those of an operation on an order.
func (w *world) effects(t *testing.T, operation, action string) int {
	t.Helper()
	return hosttest.Count(t, w.host, `SELECT count(*) FROM effects WHERE operation = ? AND action = ?`, operation, action)
}

func TestAnOrderIsCancelledStepByStep(t *testing.T) {
	hosttest.OnEachStore(t, anOrderIsCancelledStepByStep)
}

func anOrderIsCancelledStepByStep(t *testing.T, on hosttest.Store) {
	t.Helper()
	w := newWorld(t, on, nil)
	id := w.approved(t)
	w.post(t, 202, "/v1/orders/"+id+"/cancel", "")
	if states := w.states(t, id); !strings.HasSuffix(states, "CANCELLED") {
		t.Errorf("states %s", states)
	}
	want := "kitchen.begin-cancel-ticket, accounting.reverse-authorization, kitchen.confirm-cancel-ticket"
	if got := w.others.String(); got != want {
		t.Errorf("calls %s, want %s", got, want)
	}
	cancel := w.operations(t, id)[0]
	if done, undone := w.effects(t, cancel, "do"), w.effects(t, cancel, "undo"); done != 2 || undone != 0 {
		t.Errorf("%d effects done, %d undone", done, undone)
	}
	w.post(t, 409, "/v1/orders/"+id+"/cancel", "")
}

func TestARefusedRevisionIsUndoneAndTheNextOneIsNot(t *testing.T) {
	hosttest.OnEachStore(t, aRefusedRevisionIsUndoneAndTheNextOneIsNot)
}

func aRefusedRevisionIsUndoneAndTheNextOneIsNot(t *testing.T, on hosttest.Store) {
	t.Helper()
	w := newWorld(t, on, nil)
	id := w.approved(t)
	for _, step := range []struct{ quantity, total, refusal, calls string }{
		{"100", "27.10", "card_declined: no credit", "kitchen.begin-revise-ticket, accounting.revise-authorization, kitchen.undo-revise-ticket"},
		{"3", "21.90", "", "kitchen.begin-revise-ticket, accounting.revise-authorization, kitchen.confirm-revise-ticket"},
	} {
		w.post(t, 202, "/v1/orders/"+id+"/revise", `{"lineItems":[{"menuItemId":"soup","quantity":`+step.quantity+`}]}`)
		w.states(t, id)
		shown := w.get(t, id)
		refusal, _ := shown["lastRefusal"].(string)
		if shown["state"] != "APPROVED" || shown["total"] != step.total || refusal != step.refusal {
			t.Errorf("%s: %v", step.quantity, shown)
		}
		if got := w.others.String(); got != step.calls {
			t.Errorf("calls %s, want %s", got, step.calls)
		}
		w.others.forget()
	}
	for i, operation := range w.operations(t, id) {
		if n := w.effects(t, operation, "undo"); n != 1-i {
			t.Errorf("%d undo effects of revision %d", n, i+1)
		}
	}
}

// An order that is changed shows that it no longer knows why an earlier change was refused.
func TestTheLastRefusalIsClearedByTheNextChange(t *testing.T) {
	release := make(chan struct{})
	w := newWorldWith(t, hosttest.SQLite, answers{reverse: func(accountingapi.Reversal) error { <-release; return nil }})
	id := w.approved(t)
	w.post(t, 202, "/v1/orders/"+id+"/revise", `{"lineItems":[{"menuItemId":"soup","quantity":100}]}`)
	w.states(t, id)
	if w.get(t, id)["lastRefusal"] == nil {
		t.Error("no refusal")
	}
	w.post(t, 202, "/v1/orders/"+id+"/cancel", "")
	if refusal := w.get(t, id)["lastRefusal"]; refusal != nil {
		t.Errorf("pending, and still %v", refusal)
	}
	close(release)
	w.states(t, id)
}

func TestAStreamTellsACancelsChanges(t *testing.T) {
	release := make(chan struct{})
	w := newWorldWith(t, hosttest.SQLite, answers{reverse: func(accountingapi.Reversal) error { <-release; return nil }})
	id := w.approved(t)
	if states := w.states(t, id); states != "APPROVED" {
		t.Errorf("states %s", states)
	}
	w.post(t, 202, "/v1/orders/"+id+"/cancel", "")
	answer := &listening{httptest.NewRecorder(), sync.OnceFunc(func() { close(release) })}
	w.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/orders/"+id+"/events", nil))
	if states := statesIn(t, answer.Body, id); states != "CANCEL_PENDING CANCELLED" {
		t.Errorf("states %s", states)
	}
}

func TestARevisionIsCheckedAgainstTheReplicas(t *testing.T) {
	w := newWorld(t, hosttest.SQLite, nil)
	id := w.approved(t)
	for body, field := range map[string]string{
		`{}`: "lineItems",
		`{"lineItems":[{"menuItemId":"soup","quantity":0}]}`:     "lineItems[0].quantity",
		`{"lineItems":[{"menuItemId":"fugu","quantity":1}]}`:     "lineItems[0].menuItemId",
		`{"lineItems":[{"menuItemId":"soup","quantity":1}]}`:     "lineItems", // below the minimum
		`{"lineItems":[{"menuItemId":"soup","quantity":"two"}]}`: "lineItems.quantity",
	} {
		answer := hosttest.Do(t, w, http.MethodPost, "/v1/orders/"+id+"/revise", body)
		if answer.Code != 422 || !strings.Contains(answer.Body.String(), `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s", body, answer.Code, answer.Body)
		}
	}
	if n := hosttest.Count(t, w.host, `SELECT operations FROM orders`); n != 0 {
		t.Errorf("%d operations", n)
	}
}

// Two instances of the service may be asked at the same time, where the database has more than one
// writer: one of them locks the order, and the others are told that it has.
//
// Faults: 64.
func TestInstancesDoNotHoldAnOrderTwice(t *testing.T) {
	release := make(chan struct{})
	w := newWorldWith(t, hosttest.PostgreSQL, answers{reverse: func(accountingapi.Reversal) error { <-release; return nil }})
	id := w.approved(t)
	const askers = 16
	outcomes := make(chan error, askers)
	for range askers {
		go func() {
			outcomes <- hosttest.InTx(t, w.host, func(ctx context.Context, tx *sql.Tx) error {
				begun := standing{consumerID: consumerID}.operation(id)
				return w.orders.cancelOrder.Start(ctx, tx, begun.Operation, cancellation{begun})
			})
		}()
	}
	won := 0
	for range askers {
		err := <-outcomes
		refusal, refused := skald.AsRefusal(err)
		switch {
		case err == nil:
			won++
		case !refused || refusal.Code != skald.RefusedLocked:
			t.Error(err)
		}
	}
	if n := hosttest.Count(t, w.host, `SELECT operations FROM orders`); won != 1 || n != 1 {
		t.Errorf("%d won, %d operations", won, n)
	}
	close(release)
	if states := w.states(t, id); !strings.HasSuffix(states, "CANCELLED") {
		t.Errorf("states %s", states)
	}
}
