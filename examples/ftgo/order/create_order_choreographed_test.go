package order

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/skaldtest"
)

func openOrders(t *testing.T, on hosttest.Store) (*orders, host.Host) {
	t.Helper()
	h := hosttest.New(t, on, "order", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	o, err := open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return o, h
}

func choreographedOrder() Order {
	return Order{
		ID: skald.NewID().String(), ConsumerID: consumerID, ConsumerVersion: 1, RestaurantID: restaurantID, RestaurantVersion: 3, Total: 1250,
		LineItems:    []orderapi.LineItem{{MenuItemID: "pie", Name: "Pie", Quantity: 1, Price: 1250}},
		Coordination: orderapi.Choreography,
	}
}

func TestAnOrderAndItsEventAreOneTransaction(t *testing.T) {
	hosttest.OnEachStore(t, anOrderAndItsEventAreOneTransaction)
}

func anOrderAndItsEventAreOneTransaction(t *testing.T, on hosttest.Store) {
	t.Helper()
	o, h := openOrders(t, on)
	start, lost := o.choreographed().start, errors.New("lost")
	placed := choreographedOrder()
	for _, end := range []error{lost, nil} {
		err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
			return errors.Join(start(ctx, tx, placed), end)
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
		want := map[error]int{lost: 0, nil: 1}[end]
		for _, query := range []string{
			`SELECT count(*) FROM orders WHERE state = 'APPROVAL_PENDING'`,
			`SELECT count(*) FROM skald_sagas WHERE name = 'order.create-choreographed' AND status = 'running'`,
			`SELECT count(*) FROM effects WHERE step = 'create order'`,
		} {
			if n := hosttest.Count(t, h, query); n != want {
				t.Errorf("%s: %d, want %d", query, n, want)
			}
		}
		if sent := hosttest.Sent(t, h, orderapi.Events); len(sent) != want {
			t.Errorf("sent %v, want %d", sent, want)
		}
	}
	told := hosttest.Sent(t, h, orderapi.Events)[0]
	want := `{"orderId":"` + placed.ID + `","consumerId":"` + consumerID + `","consumerVersion":1,"restaurantId":"` + restaurantID +
		`","restaurantVersion":3,"total":"12.50","lineItems":[{"menuItemId":"pie","name":"Pie","quantity":1,"price":"12.50"}]}`
	if string(told.Payload) != want || told.Key != placed.ID || told.Type != orderapi.OrderCreated.Name {
		t.Errorf("told %s, want %s", told.Payload, want)
	}
}

// Instances of the service may hear of several failures of one order at the same time.
func TestTheFirstFailureRejectsTheOrderAndTheOthersDoNothing(t *testing.T) {
	o, h := openOrders(t, hosttest.PostgreSQL)
	start := o.choreographed().start
	for range 20 {
		placed := choreographedOrder()
		if err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error { return start(ctx, tx, placed) }); err != nil {
			t.Fatal(err)
		}
		var hearing sync.WaitGroup
		for _, code := range []string{consumerapi.RefusedOverOrderLimit, kitchenapi.RefusedUnknownItem} {
			hearing.Go(func() {
				err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
					return o.failed(ctx, tx, orderapi.Failed(placed.ID, skald.Refuse(code, "no")))
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		hearing.Wait()
		now, _, err := o.store.change(t.Context(), placed.ID)
		if err != nil || now.State != orderapi.StateRejected || !strings.HasSuffix(now.RejectionReason, ": no") {
			t.Errorf("%+v, %v", now, err)
		}
		if n := hosttest.Count(t, h, `SELECT count(*) FROM effects WHERE operation = ? AND action = 'undo'`, placed.ID); n != 1 {
			t.Errorf("rejected %d times", n)
		}
	}
	if sent := hosttest.Sent(t, h, orderapi.Events); len(sent) != 40 { // created and rejected
		t.Errorf("%d events", len(sent))
	}
}
