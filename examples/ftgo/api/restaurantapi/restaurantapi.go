// Package restaurantapi is what the restaurant service tells.
package restaurantapi

import (
	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// Events is the channel of what happens to restaurants.
const Events = "ftgo.restaurant.events"

// RestaurantCreated tells of a new restaurant.
var RestaurantCreated = skald.Event[Restaurant]{
	Name: "ftgo.restaurant.restaurant-created", Channel: Events, Key: Restaurant.key,
}

// MenuRevised tells of a restaurant with a new menu. Like RestaurantCreated it carries the whole
// restaurant, so that a subscriber needs the newest one only.
var MenuRevised = skald.Event[Restaurant]{
	Name: "ftgo.restaurant.menu-revised", Channel: Events, Key: Restaurant.key,
}

// Restaurant is a restaurant as it stands at a version, the same in the restaurant service's
// database, in its replicas and in the HTTP API.
type Restaurant struct {
	ID string `json:"id"`
	// Version counts the changes to the restaurant, from 1. Commands to services that replicate
	// restaurants name the version that they rely on.
	Version int    `json:"version"`
	Name    string `json:"name"`
	// MinimumOrder is the smallest total of an order; zero when there is none.
	MinimumOrder money.Amount `json:"minimumOrder"`
	// Zones to which the restaurant delivers.
	Zones []string   `json:"zones"`
	Menu  []MenuItem `json:"menu"`
}

func (r Restaurant) key() string { return r.ID }

// MenuItem is a line of a menu.
type MenuItem struct {
	// ID is the restaurant's own, unique within the menu.
	ID    string       `json:"id"`
	Name  string       `json:"name"`
	Price money.Amount `json:"price"`
}
