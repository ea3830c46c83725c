package order

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
)

var parallelOrder = strings.Replace(goodOrder, "{", `{"coordination":"parallel",`, 1)

// validations are the calls of the group, in either order.
func validations(calls string) []string {
	names := strings.Split(calls, ", ")[:2]
	slices.Sort(names)
	return names
}

var bothValidations = []string{"consumer.verify-consumer", "restaurant.validate-order-details"}

func TestInParallelAnOrderIsValidatedThenApproved(t *testing.T) {
	hosttest.OnEachStore(t, inParallelAnOrderIsValidatedThenApproved)
}

func inParallelAnOrderIsValidatedThenApproved(t *testing.T, on hosttest.Store) {
	t.Helper()
	w := newWorld(t, on, nil)
	w.tell(t)
	c := w.placed(t, parallelOrder)
	if c.State != orderapi.StatePending {
		t.Errorf("accepted as %s", c.State)
	}
	if states := w.states(t, c.ID); !strings.HasSuffix(states, "APPROVED") {
		t.Errorf("states %s", states)
	}
	calls := w.others.String()
	if then := ", kitchen.create-ticket, accounting.authorize-card, kitchen.confirm-ticket"; !slices.Equal(validations(calls), bothValidations) ||
		!strings.HasSuffix(calls, then) || strings.Count(calls, ", ") != 4 {
		t.Errorf("calls %s", calls)
	}
	for _, step := range []string{stepCreate, stepValidateOrder, stepApprove} {
		if n := hosttest.Count(t, w.host, `SELECT count(*) FROM effects WHERE operation = ? AND step = ? AND action = 'do'`, c.ID, step); n != 1 {
			t.Errorf("%d effects of %q", n, step)
		}
	}
	if n := hosttest.Count(t, w.host, `SELECT count(*) FROM skald_sagas WHERE key = ? AND name = 'order.create-parallel'`, c.ID); n != 1 {
		t.Errorf("%d sagas", n)
	}
	if shown := w.get(t, c.ID); shown["coordination"] != "parallel" || shown["state"] != "APPROVED" {
		t.Errorf("%v", shown)
	}
}

// An order is rejected from either of its pending states.
func TestInParallelARefusalRejectsTheOrder(t *testing.T) {
	hosttest.OnEachStore(t, inParallelARefusalRejectsTheOrder)
}

func inParallelARefusalRejectsTheOrder(t *testing.T, on hosttest.Store) {
	t.Helper()
	w := newWorldWith(t, on, answers{
		details: func(d restaurantapi.OrderDetails) error {
			if d.Total == 2710 {
				return nil
			}
			return skald.Refuse(restaurantapi.RefusedOutsideZones, "not there")
		},
		charge: func(accountingapi.Charge) error {
			return skald.Refuse(accountingapi.RefusedDeclined, "no credit").Keep()
		},
	})
	w.tell(t)
	for quantity, want := range map[string]struct{ reason, then string }{
		"3": {"outside_delivery_zones: not there", ""},
		"2": {"card_declined: no credit", ", kitchen.create-ticket, accounting.authorize-card, kitchen.reject-ticket"},
	} {
		w.others.forget()
		id := w.placed(t, strings.Replace(parallelOrder, `"quantity":2`, `"quantity":`+quantity, 1)).ID
		if states := w.states(t, id); !strings.HasSuffix(states, "REJECTED") {
			t.Errorf("states %s", states)
		}
		if reason := w.get(t, id)["rejectionReason"]; reason != want.reason {
			t.Errorf("reason %v", reason)
		}
		if n := hosttest.Count(t, w.host, `SELECT count(*) FROM effects WHERE operation = ? AND step = ? AND action = 'undo'`, id, stepCreate); n != 1 {
			t.Errorf("%d undo effects", n)
		}
		if calls := w.others.String(); !strings.HasSuffix(calls, want.then) || strings.Contains(calls, "kitchen") != (want.then != "") {
			t.Errorf("calls %s", calls)
		}
	}
}

// telling passes each event on when it is written.
type telling struct {
	*httptest.ResponseRecorder
	told chan string
}

func (t telling) Write(b []byte) (int, error) {
	t.told <- string(b)
	return len(b), nil
}

// Both validations are asked for before either has answered. The order waits for both, and is held in
// PENDING until they are in, and then in VALIDATED.
//
// Faults: 62, 63.
func TestInParallelAnOrderIsHeldUntilBothHaveAnswered(t *testing.T) {
	verify, authorize := make(chan struct{}), make(chan struct{})
	w := newWorldWith(t, hosttest.SQLite, answers{
		verify: func(consumerapi.Verification) error { <-verify; return nil },
		charge: func(accountingapi.Charge) error { <-authorize; return nil },
	})
	w.tell(t)
	id := w.placed(t, parallelOrder).ID
	for _, channel := range []string{consumerapi.Commands, restaurantapi.Commands} {
		if sent := hosttest.Sent(t, w.host, channel); len(sent) != 1 {
			t.Errorf("sent to %s: %v", channel, sent)
		}
	}
	held := func(state string) {
		t.Helper()
		if got := w.get(t, id)["state"]; got != state {
			t.Errorf("state %v, want %s", got, state)
		}
		for what, body := range map[string]string{"/cancel": "", "/revise": soups("3")} {
			answer := hosttest.Do(t, w, http.MethodPost, "/v1/orders/"+id+what, body)
			want := "the order is " + state + ", and is locked by saga order.create-parallel ("
			if answer.Code != 409 || !strings.Contains(answer.Body.String(), want) {
				t.Errorf("%s: %d %s", what, answer.Code, answer.Body)
			}
		}
	}
	events := telling{httptest.NewRecorder(), make(chan string, 8)}
	var following sync.WaitGroup
	following.Go(func() {
		w.ServeHTTP(events, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/orders/"+id+"/events", nil))
	})
	for _, step := range []struct {
		state   string
		release chan struct{}
	}{{"PENDING", verify}, {"VALIDATED", authorize}, {"APPROVED", nil}} {
		if event := <-events.told; !strings.Contains(event, `"state":"`+step.state+`"`) {
			t.Errorf("event %s, want %s", event, step.state)
		}
		if step.release != nil {
			held(step.state)
			close(step.release)
		}
	}
	following.Wait()
}
