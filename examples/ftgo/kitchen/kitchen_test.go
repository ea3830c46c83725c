package kitchen

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/examples/ftgo/replica"
	"github.com/skald-go/skald/skaldtest"
)

const ticketID = "01890a5d-ac96-774b-bcce-b302099a8057"

func openKitchen(t *testing.T, on hosttest.Store) (*kitchen, host.Host) {
	t.Helper()
	h := hosttest.New(t, on, "kitchen", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	k, err := open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return k, h
}

func ajanta() *replica.Restaurant {
	return replica.New(restaurantapi.Restaurant{
		ID: "r", Version: 1, Menu: []restaurantapi.MenuItem{{ID: "soup", Name: "Soup", Price: 100}},
	})
}

func TestOnlyWhatIsOnTheMenuIsPrepared(t *testing.T) {
	for name, test := range map[string]struct {
		items []kitchenapi.LineItem
		code  string
	}{
		"on the menu":  {[]kitchenapi.LineItem{{MenuItemID: "soup", Quantity: 2}}, ""},
		"unknown item": {[]kitchenapi.LineItem{{MenuItemID: "soup", Quantity: 1}, {MenuItemID: "pie", Quantity: 1}}, kitchenapi.RefusedUnknownItem},
		"none of it":   {[]kitchenapi.LineItem{{MenuItemID: "soup"}}, kitchenapi.RefusedQuantity},
		"less of it":   {[]kitchenapi.LineItem{{MenuItemID: "soup", Quantity: -1}}, kitchenapi.RefusedQuantity},
		"nothing":      {nil, kitchenapi.RefusedQuantity},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkItems(ajanta(), test.items)
			if refusal, refused := skald.AsRefusal(err); refused != (test.code != "") || refused && refusal.Code != test.code {
				t.Errorf("got %v, want %q", err, test.code)
			}
		})
	}
}

func TestAReplicaThatIsBehindIsNoRefusal(t *testing.T) {
	hosttest.OnEachStore(t, aReplicaThatIsBehindIsNoRefusal)
}

func aReplicaThatIsBehindIsNoRefusal(t *testing.T, on hosttest.Store) {
	t.Helper()
	k, h := openKitchen(t, on)
	for _, version := range []string{"absent", "behind"} {
		err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
			_, err := k.create(ctx, tx, kitchenapi.NewTicket{TicketID: ticketID, RestaurantID: "r", RestaurantVersion: 2})
			return err
		})
		if _, refused := skald.AsRefusal(err); refused || err == nil {
			t.Errorf("%s: %v, want an error that is retried", version, err)
		}
		replicate(t, h, 1)
	}
	replicate(t, h, 2)
	create(t, k, h, 2)
	if n := hosttest.Count(t, h, `SELECT count(*) FROM effects WHERE operation = ?`, ticketID); n != 1 {
		t.Errorf("%d effects", n)
	}
}

// replicate puts a version of the restaurant where the service's replica reads it.
func replicate(t *testing.T, h host.Host, version int) {
	t.Helper()
	hosttest.Exec(t, h, `DELETE FROM restaurant_replica`)
	hosttest.Exec(t, h, `INSERT INTO restaurant_replica VALUES ('r', ?, ?)`,
		version, `{"id":"r","version":`+string(rune('0'+version))+`,"menu":[{"id":"soup","name":"Soup","price":"1.00"}]}`)
}

func create(t *testing.T, k *kitchen, h host.Host, version int) {
	t.Helper()
	err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
		_, err := k.create(ctx, tx, kitchenapi.NewTicket{
			TicketID: ticketID, RestaurantID: "r", RestaurantVersion: version,
			LineItems: []kitchenapi.LineItem{{MenuItemID: "soup", Name: "Soup", Quantity: 2}},
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestATicketIsConfirmedOrRejectedOnce(t *testing.T) {
	hosttest.OnEachStore(t, aTicketIsConfirmedOrRejectedOnce)
}

func aTicketIsConfirmedOrRejectedOnce(t *testing.T, on hosttest.Store) {
	t.Helper()
	k, h := openKitchen(t, on)
	replicate(t, h, 1)
	create(t, k, h, 1)
	ticket := kitchenapi.Ticket{TicketID: ticketID}
	reject := func() error {
		return hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
			_, err := k.reject(ctx, tx, ticket)
			return err
		})
	}
	if err := reject(); err != nil {
		t.Fatal(err)
	}
	if err := reject(); err == nil {
		t.Error("rejected twice")
	}
	err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
		_, err := k.confirm(ctx, tx, ticket)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), string(CreatePending)) {
		t.Errorf("confirmed after it was rejected: %v", err)
	}
}

func TestTheKitchenWorksOnATicketStepByStep(t *testing.T) {
	hosttest.OnEachStore(t, theKitchenWorksOnATicketStepByStep)
}

func theKitchenWorksOnATicketStepByStep(t *testing.T, on hosttest.Store) {
	t.Helper()
	k, h := openKitchen(t, on)
	hosttest.Run(t, h.Service)
	replicate(t, h, 1)
	create(t, k, h, 1)
	routes := k.routes()
	post := func(step string, want int) {
		t.Helper()
		if answer := hosttest.Do(t, routes, http.MethodPost, "/v1/tickets/"+ticketID+"/"+step, ""); answer.Code != want {
			t.Errorf("%s: %d %s, want %d", step, answer.Code, answer.Body, want)
		}
	}
	post("accept", 409) // CREATE_PENDING: the saga holds it
	err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
		_, err := k.confirm(ctx, tx, kitchenapi.Ticket{TicketID: ticketID})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range transitions {
		for j, other := range transitions {
			if i != j {
				post(other.name, 409)
			}
		}
		post(step.name, 200)
		post(step.name, 409)
		answer := hosttest.Do(t, routes, http.MethodGet, "/v1/tickets/"+ticketID, "")
		if !strings.Contains(answer.Body.String(), `"state":"`+string(step.to)+`","lineItems":[{"menuItemId":"soup","name":"Soup","quantity":2}]`) {
			t.Errorf("after %s: %s", step.name, answer.Body)
		}
	}
	for _, path := range []string{"/v1/tickets/none/accept", "/v1/tickets/" + skald.NewID().String() + "/accept"} {
		if answer := hosttest.Do(t, routes, http.MethodPost, path, ""); answer.Code != 404 {
			t.Errorf("%s: %d", path, answer.Code)
		}
	}
	if answer := hosttest.Do(t, routes, http.MethodGet, "/v1/tickets/"+skald.NewID().String(), ""); answer.Code != 404 {
		t.Errorf("an unknown ticket: %d", answer.Code)
	}
}

// do calls a handler in a transaction of its own.
func do[C, R any](t *testing.T, h host.Host, handle func(context.Context, *sql.Tx, C) (R, error), command C) error {
	t.Helper()
	return hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
		_, err := handle(ctx, tx, command)
		return err
	})
}

func TestATicketIsCancelledOrRevisedFromWhatItIs(t *testing.T) {
	hosttest.OnEachStore(t, aTicketIsCancelledOrRevisedFromWhatItIs)
}

func aTicketIsCancelledOrRevisedFromWhatItIs(t *testing.T, on hosttest.Store) {
	t.Helper()
	k, h := openKitchen(t, on)
	hosttest.Run(t, h.Service)
	replicate(t, h, 1)
	cancel := kitchenapi.Change{TicketID: ticketID, Operation: ticketID + "/1"}
	revision := kitchenapi.Revision{
		TicketID: ticketID, Operation: ticketID + "/1", RestaurantID: "r", RestaurantVersion: 1,
		LineItems: []kitchenapi.LineItem{{MenuItemID: "soup", Name: "Soup", Quantity: 5}},
	}
	begin := map[State]func() error{
		CancelPending:   func() error { return do(t, h, k.beginCancel, cancel) },
		RevisionPending: func() error { return do(t, h, k.beginRevise, revision) },
	}
	undo := map[State]func() error{
		CancelPending:   func() error { return do(t, h, k.undoCancel, cancel) },
		RevisionPending: func() error { return do(t, h, k.undoRevise, cancel) },
	}
	confirm := map[State]func() error{
		CancelPending:   func() error { return do(t, h, k.confirmCancel, cancel) },
		RevisionPending: func() error { return do(t, h, k.confirmRevise, cancel) },
	}
	for state, begun := range begin {
		for _, before := range []State{AwaitingAcceptance, Accepted} {
			put(t, h, before)
			sequence(t, k, string(state)+" 2", begun)
			for _, other := range begin {
				if err := other(); err == nil {
					t.Errorf("%s: taken by another", state)
				} else if _, refused := skald.AsRefusal(err); refused {
					t.Errorf("%s: refused, not put off: %v", state, err)
				}
			}
			for _, step := range transitions {
				if answer := hosttest.Do(t, k.routes(), http.MethodPost, "/v1/tickets/"+ticketID+"/"+step.name, ""); answer.Code != 409 {
					t.Errorf("%s of a ticket that is %s: %d", step.name, state, answer.Code)
				}
			}
			sequence(t, k, string(before)+" 2", undo[state])
			if undo[state]() == nil || confirm[state]() == nil {
				t.Errorf("%s: left twice", state)
			}
			after := map[State]string{CancelPending: "CANCELLED 2", RevisionPending: string(before) + " 5"}[state]
			sequence(t, k, after, begun, confirm[state])
		}
		for _, late := range []State{Preparing, ReadyForPickup, PickedUp, Cancelled} {
			put(t, h, late)
			if refusal, refused := skald.AsRefusal(begun()); !refused || refusal.Code != kitchenapi.RefusedTooLate {
				t.Errorf("%s of a ticket that is %s: %v", state, late, refusal)
			}
		}
	}
	if n := hosttest.Count(t, h, `SELECT count(*) FROM effects WHERE operation = ? AND action = 'undo'`, ticketID+"/1"); n != 4 {
		t.Errorf("%d undo effects", n)
	}
}

// put makes the ticket anew, with two of the soup.
func put(t *testing.T, h host.Host, state State) {
	t.Helper()
	hosttest.Exec(t, h, `DELETE FROM tickets`)
	hosttest.Exec(t, h, `INSERT INTO tickets VALUES (?, 'r', ?, '', '[{"menuItemId":"soup","name":"Soup","quantity":2}]', NULL, 1, 1)`, ticketID, string(state))
}

// sequence takes steps, after which the ticket is in a state and has a quantity of soup.
func sequence(t *testing.T, k *kitchen, want string, steps ...func() error) {
	t.Helper()
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("on the way to %s: %v", want, err)
		}
	}
	found, ok, err := k.store.find(t.Context(), nil, ticketID)
	if err != nil || !ok {
		t.Fatalf("%t, %v", ok, err)
	}
	var items []kitchenapi.LineItem
	if err := json.Unmarshal(found.lineItems, &items); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(found.state, " ", items[0].Quantity); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestARevisionIsCheckedAgainstTheMenu(t *testing.T) {
	k, h := openKitchen(t, hosttest.SQLite)
	replicate(t, h, 1)
	replicate(t, h, 2)
	put(t, h, Accepted)
	for _, test := range []struct {
		version int
		item    string
		code    string
	}{{2, "pie", kitchenapi.RefusedUnknownItem}, {1, "soup", kitchenapi.RefusedMenuChanged}, {3, "soup", ""}} {
		err := do(t, h, k.beginRevise, kitchenapi.Revision{
			TicketID: ticketID, RestaurantID: "r", RestaurantVersion: test.version,
			LineItems: []kitchenapi.LineItem{{MenuItemID: test.item, Quantity: 1}},
		})
		if refusal, refused := skald.AsRefusal(err); err == nil || refused != (test.code != "") || refused && refusal.Code != test.code {
			t.Errorf("%s at version %d: %v", test.item, test.version, err)
		}
	}
	sequence(t, k, "ACCEPTED 2")
}
