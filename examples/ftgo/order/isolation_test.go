package order

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/isolation"
	"github.com/skald-go/skald/saga"
)

// Nothing is given to others before it is decided, and no order of the steps is better than the one that they have.
func TestEverySagaHasTheOrderOfTheLeastRisk(t *testing.T) {
	o := &orders{}
	best(t, o.createOrderSaga())
	best(t, o.createOrderParallelSaga())
	best(t, o.cancelOrderSaga())
	best(t, o.reviseOrderSaga())

	// The last look at the menu is meant to be late, though a ticket may be undone for it.
	report, err := isolation.Review(o.createLargeOrderSaga())
	if err != nil || report.Given.Risk != (saga.Risk{Lowered: 2}) {
		t.Errorf("%v, %s", err, report)
	}
}

func best[S any](t *testing.T, definition saga.Definition[S]) {
	t.Helper()
	report, err := isolation.Review(definition)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Best() || len(report.Reasons) > 0 {
		t.Errorf("%s", report)
	}
}

// Of a large order the restaurant itself is asked right before the card is charged; of others it is not.
func TestALargeOrderIsValidatedOnceMore(t *testing.T) {
	hosttest.OnEachStore(t, aLargeOrderIsValidatedOnceMore)
}

func aLargeOrderIsValidatedOnceMore(t *testing.T, on hosttest.Store) {
	t.Helper()
	w := newWorldWith(t, on, answers{details: func(d restaurantapi.OrderDetails) error {
		if d.Total > 2*largeOrder {
			return skald.Refuse(restaurantapi.RefusedUnknownItem, "not any more")
		}
		return nil
	}})
	w.tell(t)
	const before, after = "consumer.verify-consumer, kitchen.create-ticket", "accounting.authorize-card, kitchen.confirm-ticket"
	for _, c := range []struct{ soups, saga, calls, reason string }{ // at 7.30, and a pie at 12.50
		{"66", "order.create", before + ", " + after, ""}, // 494.30
		{"67", "order.create-large", before + ", restaurant.validate-order-details, " + after, ""},
		{"200", "order.create-large", before + ", restaurant.validate-order-details, kitchen.reject-ticket", "unknown_item: not any more"},
	} {
		w.others.forget()
		id := w.placed(t, strings.Replace(goodOrder, `"quantity":2`, `"quantity":`+c.soups, 1)).ID
		states, want := w.states(t, id), "APPROVED"
		if c.reason != "" {
			want = "REJECTED"
		}
		reason, _ := w.get(t, id)["rejectionReason"].(string)
		if calls := w.others.String(); !strings.HasSuffix(states, want) || calls != c.calls || reason != c.reason {
			t.Errorf("%s soups: states %s, calls %s, reason %s", c.soups, states, calls, reason)
		}
		if n := hosttest.Count(t, w.host, `SELECT count(*) FROM skald_sagas WHERE key = ? AND name = ?`, id, c.saga); n != 1 {
			t.Errorf("%s soups: %d sagas %s", c.soups, n, c.saga)
		}
	}
}

// A revision is computed from one version of the order and one of the menu, and says so to whoever writes it. Where that is
// not what is there any more, it starts again.
func TestARevisionThatReadWhatHasChangedStartsAgain(t *testing.T) {
	hosttest.OnEachStore(t, aRevisionThatReadWhatHasChangedStartsAgain)
}

func aRevisionThatReadWhatHasChangedStartsAgain(t *testing.T, on hosttest.Store) {
	t.Helper()
	var (
		w    *world
		told log
		once = map[int]*sync.Once{9: {}, 8: {}, 7: {}, 0: {}}
	)
	change := func(of int, first func()) (changed bool) { // says no once
		if one := once[of]; one != nil {
			one.Do(func() { changed = true; first() })
		}
		return changed
	}
	w = newWorldWith(t, on, answers{
		ticket: func(r kitchenapi.Revision) error {
			told.note("menu %d", r.RestaurantVersion)
			soups, menu := r.LineItems[0].Quantity, ajanta()
			switch menu.Version = r.RestaurantVersion + 1; soups {
			case 9:
				menu.Menu[0].Price = 7_50
			case 7:
				menu.Menu = menu.Menu[1:]
			default:
				return nil
			}
			if change(soups, func() { w.replicate(t, menu) }) {
				return skald.Refuse(kitchenapi.RefusedMenuChanged, "another menu")
			}
			return nil
		},
		revise: func(r accountingapi.Revision) error {
			told.note("from %d to %d", r.From, r.To)
			if r.Amount == 8*7_50 && change(8, func() {}) {
				return skald.Refuse(accountingapi.RefusedOrderChanged, "another order")
			}
			return nil
		},
		reverse: func(r accountingapi.Reversal) error {
			told.note("reversed from %d to %d", r.From, r.To)
			if change(0, func() {}) {
				return skald.Refuse(accountingapi.RefusedOrderChanged, "another order")
			}
			return nil
		},
	})
	id := w.approved(t)
	for _, c := range []struct {
		soups, total, refusal string
		again                 int
	}{
		{"4", "29.20", "", 0},
		{"100", "29.20", "card_declined: no credit", 0},
		{"9", "67.50", "", 1},
		{"8", "60.00", "", 1},
		{"7", "60.00", "menu_changed: by the menu as it is now: lineItems[0].menuItemId is not on the restaurant's menu", 1},
	} {
		w.post(t, 202, "/v1/orders/"+id+"/revise", soups(c.soups))
		w.states(t, id)
		shown := w.get(t, id)
		if refusal, _ := shown["lastRefusal"].(string); refusal != c.refusal || shown["state"] != "APPROVED" || shown["total"] != c.total {
			t.Errorf("%s soups: %v", c.soups, shown)
		}
		if n := w.startedAgain(t); n != c.again {
			t.Errorf("%s soups: started again %d times", c.soups, n)
		}
	}
	w.post(t, 202, "/v1/orders/"+id+"/cancel", "")
	if states := w.states(t, id); !strings.HasSuffix(states, "CANCELLED") || w.startedAgain(t) != 1 {
		t.Errorf("states %s, started again %d times", states, w.startedAgain(t))
	}
	want := []string{
		"menu 3", "from 1 to 2", // the creation is version 1
		"menu 3", // declined here: no version is made
		"menu 3", "menu 4", "from 2 to 5",
		"menu 4", "from 5 to 6", "menu 4", "from 5 to 7",
		"menu 4", // and by the next one there is no soup
		"reversed from 7 to 9", "reversed from 7 to 10",
	}
	if !slices.Equal(told.lines, want) {
		t.Errorf("told %q\nwant %q", told.lines, want)
	}
	if version := hosttest.Count(t, w.host, `SELECT version FROM orders`); version != 7 {
		t.Errorf("version %d", version)
	}
}

func soups(n string) string { return `{"lineItems":[{"menuItemId":"soup","quantity":` + n + `}]}` }

// startedAgain is how often the saga that was started last has started again.
func (w *world) startedAgain(t *testing.T) int {
	t.Helper()
	return hosttest.Count(t, w.host, `SELECT count(*) FROM skald_history WHERE what = ? AND saga = (SELECT id FROM skald_sagas ORDER BY id DESC LIMIT 1)`, saga.HistoryAgain)
}

// replicate gives the order service another version of the restaurant.
func (w *world) replicate(t *testing.T, r restaurantapi.Restaurant) {
	t.Helper()
	content, err := json.Marshal(r)
	if err != nil {
		t.Error(err)
	}
	hosttest.Exec(t, w.host, `UPDATE restaurant_replica SET version = ?, content = ?`, r.Version, string(content))
}

// log is what happens on several goroutines, one after the other.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// Between its rounds a saga has released the order for a moment that nobody sees.
func TestAStreamDoesNotEndWhenASagaStartsAgain(t *testing.T) {
	watched, first := make(chan struct{}), true
	w := newWorldWith(t, hosttest.SQLite, answers{ticket: func(kitchenapi.Revision) error {
		<-watched
		if first {
			first = false
			return skald.Refuse(kitchenapi.RefusedMenuChanged, "another menu")
		}
		return nil
	}})
	id := w.approved(t)
	w.post(t, 202, "/v1/orders/"+id+"/revise", soups("3"))
	answer := &listening{httptest.NewRecorder(), sync.OnceFunc(func() { close(watched) })}
	w.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/orders/"+id+"/events", nil))
	if states := statesIn(t, answer.Body, id); states != "REVISION_PENDING REVISION_PENDING APPROVED" {
		t.Errorf("states %s", states)
	}
	if shown := w.get(t, id); shown["total"] != "21.90" || shown["lastRefusal"] != nil {
		t.Errorf("%v", shown)
	}
}

// Whoever only refuses at a lock never starts again, and keeps nothing to do so with.
func TestOnlyWhatMayStartAgainKeepsItsBeginning(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	wait := func() error { <-release; return nil }
	w := newWorldWith(t, hosttest.SQLite, answers{
		charge: func(c accountingapi.Charge) error {
			if c.Amount > 30_00 {
				return wait()
			}
			return nil
		},
		revise: func(accountingapi.Revision) error { return wait() },
	})
	id := w.approved(t)
	w.post(t, 202, "/v1/orders/"+id+"/revise", soups("4"))
	placed := []string{id}
	for _, body := range []string{strings.Replace(goodOrder, `"quantity":2`, `"quantity":9`, 1), strings.Replace(goodOrder, `"quantity":2`, `"quantity":90`, 1)} {
		placed = append(placed, w.placed(t, body).ID, w.placed(t, strings.Replace(body, "{", `{"coordination":"parallel",`, 1)).ID)
	}
	for name, want := range map[string]int{"order.create": 0, "order.create-large": 0, "order.create-parallel": 0, "order.revise": 1} {
		kept := hosttest.Count(t, w.host, `SELECT count(*) FROM skald_sagas WHERE status = 'running' AND name = ? AND instr(CAST(progress AS TEXT), '"beginning"') > 0`, name)
		if running := hosttest.Count(t, w.host, `SELECT count(*) FROM skald_sagas WHERE status = 'running' AND name = ?`, name); kept != want*running || running == 0 {
			t.Errorf("%s: %d of %d keep their beginning (%v)", name, kept, running, placed)
		}
	}
}
