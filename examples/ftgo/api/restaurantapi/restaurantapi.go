// Package restaurantapi is what the restaurant service is asked for, answers and tells.
package restaurantapi

import (
	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// The channels of the restaurant service.
const (
	Commands = "ftgo.restaurant"
	Events   = "ftgo.restaurant.events"
)

// The codes with which the details of an order are refused.
const (
	RefusedUnknownRestaurant = "unknown_restaurant"
	RefusedUnknownItem       = "unknown_item"
	RefusedOutsideZones      = "outside_delivery_zones"
	RefusedBelowMinimum      = "below_minimum_order"
)

// Restaurants are what offers and delivers.
const Restaurants skald.Resource = "ftgo.restaurant.restaurant"

// ValidateOrderDetails asks whether a restaurant takes an order as it is. It changes nothing.
var ValidateOrderDetails = skald.Command[OrderDetails, Validated]{
	Name:     "ftgo.restaurant.validate-order-details",
	Channel:  Commands,
	Key:      func(d OrderDetails) string { return d.RestaurantID },
	Refusals: []string{RefusedUnknownRestaurant, RefusedUnknownItem, RefusedOutsideZones, RefusedBelowMinimum},
}

// OrderDetails are the parts of an order that a restaurant has a say in. They name no version of the
// restaurant: who is asked owns it, and has the newest.
type OrderDetails struct {
	OrderID      string       `json:"orderId"`
	RestaurantID string       `json:"restaurantId"`
	MenuItemIDs  []string     `json:"menuItemIds"`
	Zone         string       `json:"zone"` // of the delivery address
	Total        money.Amount `json:"total"`
}

// Validated says that the restaurant does.
type Validated struct{}

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
