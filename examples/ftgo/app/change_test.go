package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
)

// approved places an order and waits until it is approved.
func (p process) approved(t *testing.T, s shop) (id string) {
	t.Helper()
	id = p.want(t, 202, "POST", "/v1/orders", s.order(orderOfPies)).field("id")
	p.ends(t, id, "APPROVED")
	return id
}

// ends follows the order's stream to its end, and wants that to be a state.
func (p process) ends(t *testing.T, id, state string) {
	t.Helper()
	if states := p.states(t, id); states[len(states)-1] != state {
		t.Fatalf("order %s: states %v, want %s in the end", id, states, state)
	}
}

const cancel, revise = "/cancel", "/revise"

// change asks for a cancel or a revision that is accepted.
func (p process) change(t *testing.T, id, what, body string) {
	t.Helper()
	pending := map[string]string{cancel: "CANCEL_PENDING", revise: "REVISION_PENDING"}
	got := p.want(t, 202, "POST", "/v1/orders/"+id+what, body)
	if got.field("id") != id || got.field("state") != pending[what] || got.header.Get("Location") != "/v1/orders/"+id {
		t.Errorf("%s: %s %v", what, got.body, got.header)
	}
}

// conflict asks for what is refused with 409, in words that name the state, and more.
func (p process) conflict(t *testing.T, path, body string, words ...string) {
	t.Helper()
	got := p.want(t, 409, "POST", path, body)
	for _, word := range words {
		if got.header.Get("Content-Type") != "application/problem+json" || !strings.Contains(got.field("detail"), word) {
			t.Errorf("%s: %s %v, want a problem that says %q", path, got.body, got.header, word)
		}
	}
}

// unchangeable asks for a cancel and a revision of an order, which are conflicts.
func (p process) unchangeable(t *testing.T, id string, words ...string) {
	t.Helper()
	p.conflict(t, "/v1/orders/"+id+cancel, "", words...)
	p.conflict(t, "/v1/orders/"+id+revise, pies("1"), words...)
}

// shows waits until fields of an answer are as wanted: name, value, name, value. A relay that reads the
// write-ahead log may tell others of a commit a moment before PostgreSQL lets readers see it.
func (p process) shows(t *testing.T, path string, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s shows %q", path, want), func() bool {
		got := p.want(t, 200, "GET", path, "")
		for pair := range slices.Chunk(want, 2) {
			if got.field(pair[0]) != pair[1] {
				return false
			}
		}
		return true
	})
}

func pies(n string) string { return `{"lineItems":[{"menuItemId":"pie","quantity":` + n + `}]}` }

// inEachStyle runs a test on a process of its own for each style, and checks what it leaves behind.
func inEachStyle(t *testing.T, test func(t *testing.T, p process)) {
	t.Helper()
	for _, style := range orderapi.Styles {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			test(t, start(t, data).in(style))
			clean(t, data)
		})
	}
}

// accept has the kitchen accept the ticket of an order. In the choreography the order may be approved a moment
// before its ticket is confirmed.
func (p process) accept(t *testing.T, id string) {
	t.Helper()
	ticket := "/v1/tickets/" + id
	eventually(t, "the ticket is confirmed", func() bool { return p.want(t, 200, "GET", ticket, "").field("state") != "CREATE_PENDING" })
	p.want(t, 200, "POST", ticket+"/accept", "")
}

// A cancel is refused once the kitchen prepares, and then nothing has changed; before that it gives
// everything back. After that there is nothing more to cancel.
//
// Faults: 63.
func TestAnOrderIsCancelledUntilItIsPrepared(t *testing.T) {
	t.Parallel()
	inEachStyle(t, anOrderIsCancelledUntilItIsPrepared)
}

func anOrderIsCancelledUntilItIsPrepared(t *testing.T, p process) {
	t.Helper()
	s := p.shop(t, "100.00")
	account := "/v1/consumers/" + s.consumer + "/account"
	for _, taken := range []bool{false, true} {
		id := p.approved(t, s)
		if taken {
			p.accept(t, id)
		}
		p.change(t, id, cancel, "")
		p.ends(t, id, "CANCELLED")
		p.shows(t, "/v1/tickets/"+id, "state", "CANCELLED")
		p.shows(t, account, "authorized", "0.00", "available", "100.00")
		p.unchangeable(t, id, "CANCELLED")
		p.want(t, 409, "POST", "/v1/tickets/"+id+"/accept", "")
	}

	id := p.approved(t, s)
	ticket := "/v1/tickets/" + id
	p.accept(t, id)
	p.want(t, 200, "POST", ticket+"/preparing", "")
	for range 2 { // refused as often as it is asked for
		p.change(t, id, cancel, "")
		p.ends(t, id, "APPROVED")
		p.shows(t, "/v1/orders/"+id, "lastRefusal", "ticket_in_preparation: the ticket is PREPARING")
	}
	p.shows(t, ticket, "state", "PREPARING")
	p.shows(t, account, "authorized", "25.00", "available", "75.00")
	p.want(t, 200, "POST", ticket+"/ready", "")
}

// A revision is undone when the card does not pay for it or the kitchen prepares, and then nothing
// has changed; otherwise the kitchen and the account know of it.
func TestAnOrderIsRevisedWhenTheCardPaysForIt(t *testing.T) {
	t.Parallel()
	inEachStyle(t, anOrderIsRevisedWhenTheCardPaysForIt)
}

func anOrderIsRevisedWhenTheCardPaysForIt(t *testing.T, p process) {
	t.Helper()
	s := p.shop(t, "60.00")
	id := p.approved(t, s)
	order, ticket, account := "/v1/orders/"+id, "/v1/tickets/"+id, "/v1/consumers/"+s.consumer+"/account"
	p.accept(t, id)
	for _, step := range []struct{ quantity, total, available, refusal string }{
		{"3", "37.50", "22.50", ""},
		{"5", "37.50", "22.50", "card_declined: the new total of 62.50 is over the available credit of 60.00"},
		{"4", "50.00", "10.00", ""},
		{"4", "50.00", "10.00", ""}, // to what it is
		{"1", "12.50", "47.50", ""},
	} {
		p.change(t, id, revise, pies(step.quantity))
		p.ends(t, id, "APPROVED")
		p.shows(t, order, "total", step.total, "lastRefusal", step.refusal)
		p.shows(t, account, "available", step.available, "authorized", step.total)
		p.shows(t, ticket, "state", "ACCEPTED")
	}
	if got := p.want(t, 200, "GET", order, ""); !strings.Contains(string(got.body), `"lineItems":[{"menuItemId":"pie","name":"Pie","quantity":1,"price":"12.50"}]`) {
		t.Errorf("order %s", got.body)
	}
	if got := p.want(t, 200, "GET", ticket, ""); !strings.Contains(string(got.body), `"lineItems":[{"menuItemId":"pie","name":"Pie","quantity":1}]`) {
		t.Errorf("ticket %s", got.body)
	}
	p.want(t, 200, "POST", ticket+"/preparing", "")
	p.change(t, id, revise, pies("2"))
	p.ends(t, id, "APPROVED")
	p.shows(t, order, "total", "12.50", "lastRefusal", "ticket_in_preparation: the ticket is PREPARING")
	p.shows(t, ticket, "state", "PREPARING")
}

func TestARevisionIsCheckedAsAnOrderIs(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	id := p.approved(t, p.shop(t, "100.00"))
	for body, want := range map[string]struct {
		status int
		field  string
	}{
		``:              {400, ""},
		`{"lineItems":`: {400, ""},
		`[]`:            {422, "body"},
		`{}`:            {422, "lineItems"},
		pies(`0`):       {422, "lineItems[0].quantity"},
		pies(`-1`):      {422, "lineItems[0].quantity"},
		pies(`"two"`):   {422, "lineItems.quantity"},
		`{"lineItems":[{"menuItemId":"fugu","quantity":1}]}`: {422, "lineItems[0].menuItemId"},
		`{"lineItems":[{"menuItemId":"skyr","quantity":1}]}`: {422, "lineItems"}, // below the minimum
		`{"x":"` + strings.Repeat("x", 1<<20) + `"}`:         {413, ""},
	} {
		got := p.send(t, "POST", "/v1/orders/"+id+revise, body)
		if got.status != want.status || want.field != "" && !slices.Equal(got.fields(), []string{want.field}) {
			t.Errorf("%.60s: %d %s, want %d %s", body, got.status, got.body, want.status, want.field)
		}
	}
	for _, unknown := range []string{"me", "01890000-0000-7000-8000-000000000000"} {
		p.want(t, 404, "POST", "/v1/orders/"+unknown+cancel, "")
		p.want(t, 404, "POST", "/v1/orders/"+unknown+revise, pies("1"))
	}
	p.shows(t, "/v1/orders/"+id, "state", "APPROVED", "total", "25.00", "lastRefusal", "")
}

func TestARejectedOrderIsNotChanged(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	id := p.want(t, 202, "POST", "/v1/orders", p.shop(t, "24.99").order(orderOfPies)).field("id")
	p.ends(t, id, "REJECTED")
	p.unchangeable(t, id, "REJECTED")
}

// While a saga has locked an order, and the ticket, whoever wants to change either is told so at once, and by whom.
// Nobody has locked an order whose creation is choreographed: then its state says it.
//
// Faults: 63.
func TestWhatASagaHoldsIsAConflict(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	before := start(t, data)
	s := before.shop(t, "1000.00")
	cancelled, revised := before.approved(t, s), before.approved(t, s)
	if err := before.stop(); err != nil {
		t.Fatal(err)
	}
	p := start(t, data, "order", "kitchen", "gateway") // accounting does not answer
	placed := func(style string) string {
		return p.want(t, 202, "POST", "/v1/orders", s.order(inStyle(style, orderOfPies))).field("id")
	}
	created, parallel, choreographed := placed("orchestration"), placed("parallel"), placed("choreography")
	p.change(t, cancelled, cancel, "")
	p.change(t, revised, revise, pies("3"))
	p.unchangeable(t, choreographed, "APPROVAL_PENDING")
	for id, held := range map[string]struct{ state, saga string }{
		created: {"APPROVAL_PENDING", "order.create"}, parallel: {"PENDING", "order.create-parallel"},
		cancelled: {"CANCEL_PENDING", "order.cancel"}, revised: {"REVISION_PENDING", "order.revise"},
	} {
		p.unchangeable(t, id, held.state, "locked by saga "+held.saga+" (", "since 20")
		if id == created || id == parallel {
			continue
		}
		ticket := "/v1/tickets/" + id
		eventually(t, "the ticket is held", func() bool { return p.want(t, 200, "GET", ticket, "").field("state") == held.state })
		for _, step := range []string{"accept", "preparing", "ready", "picked-up"} {
			p.conflict(t, ticket+"/"+step, "", held.state, "locked by saga "+held.saga+" (")
		}
	}
	start(t, data, "consumer", "restaurant")
	eventually(t, "validated", func() bool { return p.want(t, 200, "GET", "/v1/orders/"+parallel, "").field("state") == "VALIDATED" })
	p.unchangeable(t, parallel, "VALIDATED", "locked by saga order.create-parallel (")
	eventually(t, "the ticket is made", func() bool { return p.send(t, "GET", "/v1/tickets/"+parallel, "").status == 200 })
	p.conflict(t, "/v1/tickets/"+parallel+"/accept", "", "CREATE_PENDING", "locked by saga order.create-parallel (")
	start(t, data, "accounting")
	for _, id := range []string{created, parallel, choreographed, revised} {
		p.ends(t, id, "APPROVED")
	}
	p.ends(t, cancelled, "CANCELLED")
	p.shows(t, "/v1/orders/"+revised, "total", "37.50")
	clean(t, data)
}

// Of those who cancel and revise one order at the same time, one is accepted.
//
// Faults: 64.
func TestOfACancelAndARevisionOneWins(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	ofACancelAndARevisionOneWins(t, p, 30)
	clean(t, data)
}

func ofACancelAndARevisionOneWins(t *testing.T, p process, races int) {
	t.Helper()
	s := p.shop(t, "10000.00")
	for range races {
		id := p.approved(t, s)
		var statuses [4]int
		var racing sync.WaitGroup
		for i := range statuses {
			racing.Go(func() {
				what, body := cancel, ""
				if i%2 == 1 {
					what, body = revise, pies("3")
				}
				statuses[i] = p.send(t, "POST", "/v1/orders/"+id+what, body).status
			})
		}
		racing.Wait()
		// A revision may have ended before the last of them asks.
		cancelled := statuses[0] == http.StatusAccepted || statuses[2] == http.StatusAccepted
		end := map[bool]string{true: "CANCELLED", false: "APPROVED"}[cancelled]
		accepted := 0
		for _, status := range statuses {
			switch status {
			case http.StatusAccepted:
				accepted++
			case http.StatusConflict:
			default:
				t.Errorf("statuses %v", statuses)
			}
		}
		if accepted == 0 {
			t.Errorf("nobody won: %v", statuses)
		}
		p.ends(t, id, end)
	}
}

// The step that ends a saga releases the order with it: who sees APPROVED may change the order at
// once, although the saga itself has not yet had that step's answer.
func TestWhoSeesApprovedMayChangeTheOrderAtOnce(t *testing.T) {
	t.Parallel()
	inEachStyle(t, func(t *testing.T, p process) {
		t.Helper()
		whoSeesApprovedMayChangeTheOrderAtOnce(t, p, 100)
	})
}

func whoSeesApprovedMayChangeTheOrderAtOnce(t *testing.T, p process, times int) {
	t.Helper()
	s := p.shop(t, "100.00")
	for i := range times {
		id := p.approved(t, s)
		if i%4 == 0 { // revised, revised in vain, and revised
			for _, quantity := range []string{"3", "9", "1"} {
				p.change(t, id, revise, pies(quantity))
				p.ends(t, id, "APPROVED")
			}
		}
		p.change(t, id, cancel, "")
		p.ends(t, id, "CANCELLED")
	}
}
