package restaurant

import (
	"context"
	"database/sql"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
)

// validate changes nothing, so that there is nothing to undo. It does not lock the restaurant either: a
// menu that is revised a moment later would not have kept the order from it.
func (s *restaurants) validate(ctx context.Context, tx *sql.Tx, d restaurantapi.OrderDetails) (restaurantapi.Validated, error) {
	found, ok, err := s.store.find(ctx, tx, d.RestaurantID)
	if err == nil && !ok {
		err = skald.Refuse(restaurantapi.RefusedUnknownRestaurant, "there is no such restaurant")
	}
	if err != nil {
		return restaurantapi.Validated{}, err
	}
	return restaurantapi.Validated{}, takes(found, d)
}

// takes refuses what the restaurant does not offer, deliver to, or find worth while.
func takes(r restaurantapi.Restaurant, d restaurantapi.OrderDetails) error {
	for _, id := range d.MenuItemIDs {
		if !slices.ContainsFunc(r.Menu, func(item restaurantapi.MenuItem) bool { return item.ID == id }) {
			return skald.Refusef(restaurantapi.RefusedUnknownItem, "%q is not on the restaurant's menu", id)
		}
	}
	if !slices.Contains(r.Zones, d.Zone) {
		return skald.Refusef(restaurantapi.RefusedOutsideZones, "the restaurant does not deliver to %q", d.Zone)
	}
	if d.Total < r.MinimumOrder {
		return skald.Refusef(restaurantapi.RefusedBelowMinimum,
			"the total of %s is below the restaurant's minimum of %s", d.Total, r.MinimumOrder)
	}
	return nil
}
