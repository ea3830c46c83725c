package order

import (
	"fmt"
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

// A revision is computed from one version of the order and one of the menu, and says so to whoever writes it.
func TestARevisionCarriesWhatItIsDecidedOn(t *testing.T) {
	hosttest.OnEachStore(t, aRevisionCarriesWhatItIsDecidedOn)
}

func aRevisionCarriesWhatItIsDecidedOn(t *testing.T, on hosttest.Store) {
	t.Helper()
	var (
		mu   sync.Mutex
		told []string
	)
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf(format, args...))
	}
	w := newWorldWith(t, on, answers{
		ticket: func(r kitchenapi.Revision) error {
			note("menu %d", r.RestaurantVersion)
			if r.LineItems[0].Quantity == 9 {
				return skald.Refuse(kitchenapi.RefusedMenuChanged, "another menu")
			}
			return nil
		},
		revise: func(r accountingapi.Revision) error {
			note("from %d to %d", r.From, r.To)
			if r.Amount == 8*730 {
				return skald.Refuse(accountingapi.RefusedOrderChanged, "another order")
			}
			return nil
		},
		reverse: func(r accountingapi.Reversal) error { note("reversed from %d to %d", r.From, r.To); return nil },
	})
	id := w.approved(t)
	for _, c := range []struct{ soups, refusal string }{
		{"4", ""}, {"100", "card_declined: no credit"}, {"9", "menu_changed: another menu"}, {"8", "order_changed: another order"}, {"5", ""},
	} {
		w.post(t, 202, "/v1/orders/"+id+"/revise", `{"lineItems":[{"menuItemId":"soup","quantity":`+c.soups+`}]}`)
		w.states(t, id)
		shown := w.get(t, id)
		if refusal, _ := shown["lastRefusal"].(string); refusal != c.refusal || shown["state"] != "APPROVED" {
			t.Errorf("%s soups: %v", c.soups, shown)
		}
	}
	w.post(t, 202, "/v1/orders/"+id+"/cancel", "")
	w.states(t, id)
	want := []string{
		"menu 3", "from 1 to 2", // the creation is version 1
		"menu 3", // declined here: no version is made
		"menu 3", // refused by the kitchen
		"menu 3", "from 2 to 5", "menu 3", "from 2 to 6", "reversed from 6 to 7",
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(told, want) {
		t.Errorf("told %q\nwant %q", told, want)
	}
	if version := hosttest.Count(t, w.host, `SELECT version FROM orders`); version != 6 {
		t.Errorf("version %d", version)
	}
}
