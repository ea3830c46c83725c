package restaurant

import (
	"context"
	"database/sql"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/skaldtest"
)

func TestAnOrderIsHeldAgainstMenuZonesAndMinimum(t *testing.T) {
	hosttest.OnEachStore(t, anOrderIsHeldAgainstMenuZonesAndMinimum)
}

func anOrderIsHeldAgainstMenuZonesAndMinimum(t *testing.T, on hosttest.Store) {
	t.Helper()
	h := hosttest.New(t, on, "restaurant", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	s, err := openStore(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	owner := &restaurants{store: s}
	err = hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
		return s.add(ctx, tx, restaurantapi.Restaurant{
			ID: "r", Version: 1, MinimumOrder: 1000, Zones: []string{"north"},
			Menu: []restaurantapi.MenuItem{{ID: "soup", Price: 500}, {ID: "pie", Price: 700}},
		}, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		d    restaurantapi.OrderDetails
		code string
	}{
		"good":              {restaurantapi.OrderDetails{RestaurantID: "r", MenuItemIDs: []string{"pie", "soup"}, Zone: "north", Total: 1000}, ""},
		"unknown":           {restaurantapi.OrderDetails{RestaurantID: "x", MenuItemIDs: []string{"pie"}, Zone: "north", Total: 1000}, restaurantapi.RefusedUnknownRestaurant},
		"not on the menu":   {restaurantapi.OrderDetails{RestaurantID: "r", MenuItemIDs: []string{"pie", "fugu"}, Zone: "north", Total: 1000}, restaurantapi.RefusedUnknownItem},
		"outside the zones": {restaurantapi.OrderDetails{RestaurantID: "r", MenuItemIDs: []string{"pie"}, Zone: "south", Total: 1000}, restaurantapi.RefusedOutsideZones},
		"below the minimum": {restaurantapi.OrderDetails{RestaurantID: "r", MenuItemIDs: []string{"pie"}, Zone: "north", Total: 999}, restaurantapi.RefusedBelowMinimum},
	} {
		err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
			_, err := owner.validate(ctx, tx, test.d)
			return err
		})
		refusal, refused := skald.AsRefusal(err)
		if refused != (test.code != "") || !refused && err != nil || refused && refusal.Code != test.code {
			t.Errorf("%s: %v, want %q", name, err, test.code)
		}
		if refused && !restaurantapi.ValidateOrderDetails.Refuses(refusal.Code) {
			t.Errorf("%s: the code is not declared", name)
		}
	}
}
