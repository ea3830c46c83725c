package app_test

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/app"
	"github.com/skald-go/skald/examples/ftgo/check"
	"github.com/skald-go/skald/examples/ftgo/databases"
)

// clean fails the test unless every invariant holds on the data folder.
func clean(t *testing.T, data string) {
	t.Helper()
	cleanOn(t, databases.SQLite(data))
}

func cleanOn(t *testing.T, from databases.Databases) {
	t.Helper()
	report, err := check.Settled(t.Context(), from, patience)
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range report.Violations {
		t.Error(violation)
	}
}

func TestAnOrderIsApprovedAndPrepared(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	s := p.shop(t, "100.00")
	placed := p.want(t, 202, "POST", "/v1/orders", s.order(orderOfPies))
	id := placed.field("id")
	if placed.field("state") != "APPROVAL_PENDING" || placed.header.Get("Location") != "/v1/orders/"+id {
		t.Errorf("%s %v", placed.body, placed.header)
	}
	if states := p.states(t, id); states[len(states)-1] != "APPROVED" {
		t.Errorf("states %v", states)
	}
	got := p.want(t, 200, "GET", "/v1/orders/"+id, "")
	if got.field("total") != "25.00" || got.field("coordination") != "orchestration" {
		t.Errorf("order %s", got.body)
	}
	account := p.want(t, 200, "GET", "/v1/consumers/"+s.consumer+"/account", "")
	if account.field("authorized") != "25.00" || account.field("available") != "75.00" {
		t.Errorf("account %s", account.body)
	}
	ticket := "/v1/tickets/" + id
	if got := p.want(t, 200, "GET", ticket, ""); got.field("state") != "AWAITING_ACCEPTANCE" {
		t.Errorf("ticket %s", got.body)
	}
	p.want(t, 409, "POST", ticket+"/ready", "")
	for _, transition := range []string{"accept", "preparing", "ready", "picked-up"} {
		p.want(t, 200, "POST", ticket+"/"+transition, "")
	}
	if got := p.want(t, 200, "GET", ticket, ""); got.field("state") != "PICKED_UP" {
		t.Errorf("ticket %s", got.body)
	}
	clean(t, data)
}

func TestADeclinedCardUndoesTheTicketThenTheOrder(t *testing.T) {
	t.Parallel()
	for _, style := range orderapi.Styles {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			aDeclinedCardUndoesTheTicketThenTheOrder(t, style)
		})
	}
}

func aDeclinedCardUndoesTheTicketThenTheOrder(t *testing.T, style string) {
	t.Helper()
	data := t.TempDir()
	p := start(t, data)
	s := p.shop(t, "24.99")
	id := p.want(t, 202, "POST", "/v1/orders", s.order(inStyle(style, orderOfPies))).field("id")
	if states := p.states(t, id); states[len(states)-1] != "REJECTED" {
		t.Errorf("states %v", states)
	}
	if got := p.want(t, 200, "GET", "/v1/orders/"+id, ""); !strings.Contains(got.field("rejectionReason"), "card_declined") {
		t.Errorf("order %s", got.body)
	}
	eventually(t, "the ticket is rejected", func() bool { // in the choreography it may be so after the order
		return p.want(t, 200, "GET", "/v1/tickets/"+id, "").field("state") == "CREATE_REJECTED"
	})
	if account := p.want(t, 200, "GET", "/v1/consumers/"+s.consumer+"/account", ""); account.field("available") != "24.99" {
		t.Errorf("account %s", account.body)
	}
	clean(t, data)
	var want []string
	if style != orderapi.Choreography { // which has no order of undoing
		want = []string{"create ticket", "create order"}
	}
	if undone := undoneSteps(t, data, id); !slices.Equal(undone, want) {
		t.Errorf("undone in the order %q", undone)
	}
}

// undoneSteps reads the recorded history of the order's saga.
func undoneSteps(t *testing.T, data, order string) []string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, "order.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), `SELECT h.step FROM skald_history h JOIN skald_sagas s ON s.id = h.saga
		WHERE s.key = ? AND h.what = 'undone' ORDER BY h.number`, order)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var step string
		if err := rows.Scan(&step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}

// Faults: 78.
func TestAnIdempotencyKeyIsOneOrder(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	s := p.shop(t, "100.00")
	body := s.order(orderOfPies)
	first := p.want(t, 202, "POST", "/v1/orders", body, "Idempotency-Key", "k").field("id")
	if again := p.want(t, 202, "POST", "/v1/orders", body, "Idempotency-Key", "k").field("id"); again != first {
		t.Errorf("the same key and body: orders %s and %s", first, again)
	}
	other := p.want(t, 422, "POST", "/v1/orders", strings.Replace(body, `"quantity":2`, `"quantity":1`, 1), "Idempotency-Key", "k")
	if !slices.Equal(other.fields(), []string{"Idempotency-Key"}) {
		t.Errorf("the same key and another body: %s", other.body)
	}
	if another := p.want(t, 202, "POST", "/v1/orders", body, "Idempotency-Key", "k2").field("id"); another == first {
		t.Errorf("another key: the same order %s", first)
	}
	p.states(t, first)
	clean(t, data)
}

// Bad input is answered with a problem that names the field, and leaves nothing behind.
func TestBadInputIsAProblem(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	s := p.shop(t, "100.00")
	const unknown = "01890000-0000-7000-8000-000000000000"
	with := func(old, replacement string) string {
		return s.order(strings.Replace(orderOfPies, old, replacement, 1))
	}
	cases := []struct {
		name, method, path, body string
		status                   int
		field                    string
	}{
		{"malformed JSON", "POST", "/v1/orders", `{"consumerId":`, 400, ""},
		{"no body", "POST", "/v1/orders", ``, 400, ""},
		{"two values", "POST", "/v1/orders", `{} {}`, 400, ""},
		{"an array", "POST", "/v1/orders", `[]`, 422, "body"},
		{"quantity of the wrong type", "POST", "/v1/orders", with(`:2`, `:"two"`), 422, "lineItems.quantity"},
		{"id of the wrong type", "POST", "/v1/orders", with(`"CONSUMER"`, `7`), 422, "consumerId"},
		{"negative quantity", "POST", "/v1/orders", with(`:2`, `:-2`), 422, "lineItems[0].quantity"},
		{"no quantity", "POST", "/v1/orders", with(`,"quantity":2`, ``), 422, "lineItems[0].quantity"},
		{"a fraction", "POST", "/v1/orders", with(`:2`, `:0.5`), 422, "lineItems.quantity"},
		{"no items", "POST", "/v1/orders", with(`{"menuItemId":"pie","quantity":2}`, ``), 422, "lineItems"},
		{"no UUID", "POST", "/v1/orders", with(`CONSUMER`, `me`), 422, "consumerId"},
		{"unknown consumer", "POST", "/v1/orders", with(`CONSUMER`, unknown), 422, "consumerId"},
		{"unknown restaurant", "POST", "/v1/orders", with(`RESTAURANT`, unknown), 422, "restaurantId"},
		{"unknown item", "POST", "/v1/orders", with(`pie`, `fugu`), 422, "lineItems[0].menuItemId"},
		{"outside the zones", "POST", "/v1/orders", with(`"centre"`, `"moon"`), 422, "deliveryAddress.zone"},
		{"below the minimum", "POST", "/v1/orders", with(`"pie","quantity":2`, `"skyr","quantity":1`), 422, "lineItems"},
		{"unknown style", "POST", "/v1/orders", with(`{`, `{"coordination":"prayer",`), 422, "coordination"},
		{"oversized", "POST", "/v1/orders", `{"x":"` + strings.Repeat("x", 1<<20) + `"}`, 413, ""},
		{"no name", "POST", "/v1/consumers", `{"creditLimit":"1.00"}`, 422, "name"},
		{"money that is none", "POST", "/v1/consumers", `{"name":"a","creditLimit":"1.5"}`, 422, "creditLimit"},
		{"money as a number", "POST", "/v1/consumers", `{"name":"a","creditLimit":1.5}`, 422, "creditLimit"},
		{"negative money", "POST", "/v1/consumers", `{"name":"a","creditLimit":"-1.50"}`, 422, "creditLimit"},
		{"negative price", "POST", "/v1/restaurants", strings.Replace(restaurantBody, "12.50", "-2.50", 1), 422, "menu[0].price"},
		{"unknown order", "GET", "/v1/orders/" + unknown, "", 404, ""},
		{"unknown order's stream", "GET", "/v1/orders/" + unknown + "/events", "", 404, ""},
		{"unknown consumer", "GET", "/v1/consumers/" + unknown, "", 404, ""},
		{"unknown account", "GET", "/v1/consumers/" + unknown + "/account", "", 404, ""},
		{"unknown restaurant", "GET", "/v1/restaurants/" + unknown, "", 404, ""},
		{"unknown ticket", "POST", "/v1/tickets/" + unknown + "/accept", "", 404, ""},
		{"no UUID in the path", "GET", "/v1/orders/me", "", 404, ""},
		{"no such path", "GET", "/v3/orders", "", 404, ""},
		{"no such method", "DELETE", "/v1/orders/" + unknown, "", 405, ""},
		{"no such method of a probe", "POST", "/healthz", "", 405, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := p.send(t, c.method, c.path, c.body)
			if got.status != c.status || got.header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%d %v %s, want %d", got.status, got.header, got.body, c.status)
			}
			if c.field != "" && !slices.Equal(got.fields(), []string{c.field}) {
				t.Errorf("names %q, want %q: %s", got.fields(), c.field, got.body)
			}
			if bytes.Contains(got.body, []byte("goroutine")) {
				t.Errorf("a stack trace: %s", got.body)
			}
		})
	}
}

// The consumer service may be down when orders are placed: they are accepted, and end when
// it runs again, in another process.
func TestAnAbsentServiceDelaysAndLosesNothing(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	first := start(t, data)
	s := first.shop(t, "10000.00")
	first.states(t, first.want(t, 202, "POST", "/v1/orders", s.order(orderOfPies)).field("id"))
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	most := start(t, data, "order", "restaurant", "kitchen", "accounting", "gateway")
	var placed []string
	for range 100 {
		placed = append(placed, most.want(t, 202, "POST", "/v1/orders", s.order(orderOfPies)).field("id"))
	}
	down := most.want(t, 503, "GET", "/v1/consumers/"+s.consumer, "")
	if !bytes.Contains(down.body, []byte("consumer")) || down.header.Get("Retry-After") == "" {
		t.Errorf("%v %s", down.header, down.body)
	}
	if state := most.want(t, 200, "GET", "/v1/orders/"+placed[99], "").field("state"); state != "APPROVAL_PENDING" {
		t.Errorf("without the consumer service: %s", state)
	}

	start(t, data, "consumer")
	for _, id := range placed {
		if states := most.states(t, id); states[len(states)-1] != "APPROVED" {
			t.Errorf("order %s: %v", id, states)
		}
	}
	most.want(t, 200, "GET", "/v1/consumers/"+s.consumer, "")
	clean(t, data)
}

func TestEachServiceInAProcessOfItsOwn(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	for _, name := range app.Services {
		if name != app.Gateway {
			start(t, data, name)
		}
	}
	front := start(t, data, app.Gateway)
	// The processes write their addresses when they run.
	eventually(t, "all services announced", func() bool {
		announced, _ := filepath.Glob(filepath.Join(data, "*.addr"))
		return len(announced) == len(app.Services)
	})
	for _, style := range orderapi.Styles {
		s := front.shop(t, "30.00")
		for _, end := range []string{"APPROVED", "REJECTED"} {
			id := front.want(t, 202, "POST", "/v1/orders", s.order(inStyle(style, orderOfPies))).field("id")
			if states := front.states(t, id); states[len(states)-1] != end {
				t.Errorf("states %v, want %s in the end", states, end)
			}
		}
	}
	front.want(t, 413, "POST", "/v1/orders", strings.Repeat("x", 1<<20+1))
	clean(t, data)
}

// externalBroker runs a NATS server that the application does not know as its own.
func externalBroker(t *testing.T) (url string) {
	t.Helper()
	external, err := embedded.Start(embedded.Config{StoreDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := external.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return external.URL()
}

// A service that cannot run ends the process, which says which one and why.
func TestAServiceThatFailsIsNamed(t *testing.T) {
	t.Parallel()
	url := externalBroker(t)
	other, err := nats.Connect(t.Context(), nats.Config{URL: url, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Partitions(t.Context(), consumerapi.Commands); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := app.New(t.Context(), app.Config{Data: t.TempDir(), Addr: "127.0.0.1:0", BrokerURL: url, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = p.Run(ctx)
	if err == nil || !strings.Contains(err.Error(), "service consumer") || !strings.Contains(err.Error(), "partitions") {
		t.Errorf("%v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnExternalBroker(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := startWith(t, app.Config{Data: data, BrokerURL: externalBroker(t)})
	s := p.shop(t, "100.00")
	id := p.want(t, 202, "POST", "/v1/orders", s.order(orderOfPies)).field("id")
	if states := p.states(t, id); states[len(states)-1] != "APPROVED" {
		t.Errorf("states %v", states)
	}
	if _, err := os.Stat(filepath.Join(data, "broker")); err == nil {
		t.Error("a broker was embedded all the same")
	}
	clean(t, data)
}

func TestHealth(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	p.want(t, 200, "GET", "/healthz", "")
	eventually(t, "ready", func() bool { return p.send(t, "GET", "/readyz", "").status == http.StatusOK })
	metrics := string(p.want(t, 200, "GET", "/metrics", "").body)
	for _, line := range []string{"# TYPE skald_relay_lag_seconds gauge", `skald_ready{service="order"} 1`, `skald_parked_messages{service="kitchen"} 0`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no line %q in\n%s", line, metrics)
		}
	}
}

// Draining ends open streams, so that it does not wait for clients.
func TestDrainingEndsStreams(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	first := start(t, data)
	s := first.shop(t, "100.00")
	first.states(t, first.want(t, 202, "POST", "/v1/orders", s.order(orderOfPies)).field("id"))
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	p := start(t, data, "order", "gateway") // nobody answers: the order stays pending
	id := p.want(t, 202, "POST", "/v1/orders", s.order(orderOfPies)).field("id")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"/v1/orders/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	began := time.Now()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("draining took %s", took)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "*.addr")); len(left) > 0 {
		t.Errorf("addresses left behind: %v", left)
	}
}

func TestWhatCannotBeOpenedIsSaidClearly(t *testing.T) {
	t.Parallel()
	taken := start(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "kitchen.db"), bytes.Repeat([]byte("no database "), 500), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		config app.Config
		say    []string
	}{
		{"port in use", app.Config{Data: t.TempDir(), Addr: strings.TrimPrefix(taken.URL(), "http://")}, []string{"in use", "--addr"}},
		{"no address", app.Config{Data: t.TempDir(), Addr: "here"}, []string{"here", "--addr"}},
		{"a file as data folder", app.Config{Data: file}, []string{file, "--data"}},
		{"a folder that cannot be made", app.Config{Data: filepath.Join(file, "below")}, []string{file, "--data"}},
		{"a damaged database", app.Config{Data: damaged}, []string{"kitchen", filepath.Join(damaged, "kitchen.db")}},
		{"no data folder", app.Config{}, []string{"no data folder"}},
		{"unknown service", app.Config{Data: t.TempDir(), Services: []string{"order", "orders"}}, []string{`"orders"`, "kitchen"}},
		{"a service twice", app.Config{Data: t.TempDir(), Services: []string{"order", "order"}}, []string{"twice"}},
		{"a peer without scheme", app.Config{Data: t.TempDir(), Peers: map[string]string{"order": "localhost:1"}}, []string{"order", "http://HOST:PORT"}},
		{"an unknown peer", app.Config{Data: t.TempDir(), Peers: map[string]string{"x": "http://localhost:1"}}, []string{`"x"`}},
		{"a service that is still to come", app.Config{Data: t.TempDir(), Services: []string{"history"}}, []string{"history does not work yet", "kitchen"}},
		{"a broker that is not there", app.Config{Data: t.TempDir(), BrokerURL: "nats://user:secret@127.0.0.1:1"}, []string{"nats://127.0.0.1:1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.config.Addr == "" {
				c.config.Addr = "127.0.0.1:0"
			}
			c.config.Logger = slog.New(slog.DiscardHandler)
			opened, err := app.New(t.Context(), c.config)
			if err == nil {
				t.Fatal("opened", opened.Close())
			}
			for _, part := range c.say {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\ndoes not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%v\ntells a secret", err)
			}
		})
	}
}
