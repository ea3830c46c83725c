package restaurant

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// Limits on a request.
const (
	maxText  = 200 // bytes
	maxZones = 200
	maxMenu  = 1000
	// maxContent bounds a restaurant as JSON, in bytes: its events must stay below
	// skald.MaxPayload.
	maxContent = 900 << 10
)

// request is the body of POST /v1/restaurants.
type request struct {
	Name         string     `json:"name"`
	MinimumOrder *string    `json:"minimumOrder"`
	Zones        []string   `json:"zones"`
	Menu         []menuItem `json:"menu"`
}

// menuRequest is the body of PUT /v1/restaurants/{id}/menu.
type menuRequest struct {
	Menu []menuItem `json:"menu"`
}

type menuItem struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Price string `json:"price"`
}

// restaurant checks the request and makes the restaurant that it asks for.
func (r request) restaurant() (restaurantapi.Restaurant, error) {
	var fields httpkit.Fields
	fields.Text("name", r.Name, maxText)
	made := restaurantapi.Restaurant{ID: skald.NewID().String(), Version: 1, Name: r.Name, Zones: r.Zones}
	if r.MinimumOrder != nil {
		var err error
		if made.MinimumOrder, err = money.Parse(*r.MinimumOrder); err != nil {
			fields.Add("minimumOrder", "%s", err)
		}
	}
	switch {
	case r.Zones == nil:
		fields.Add("zones", "is required")
	case len(r.Zones) > maxZones:
		fields.Add("zones", "are %d, more than %d", len(r.Zones), maxZones)
	default:
		for i, zone := range r.Zones {
			fields.Text(fmt.Sprintf("zones[%d]", i), zone, maxText)
		}
	}
	made.Menu = menu(&fields, r.Menu)
	return made, fields.Err()
}

// encode makes the stored form of a restaurant, which is also what its events carry; one that
// is too large for an event is a problem.
func encode(r restaurantapi.Restaurant) ([]byte, error) {
	content, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode restaurant %s: %w", r.ID, err)
	}
	if len(content) > maxContent {
		return nil, httpkit.NewProblem(http.StatusRequestEntityTooLarge, "the restaurant with its menu is larger than %d bytes", maxContent)
	}
	return content, nil
}

// menu checks the menu's items; an empty menu is one, an absent one is not.
func menu(fields *httpkit.Fields, items []menuItem) []restaurantapi.MenuItem {
	switch {
	case items == nil:
		fields.Add("menu", "is required")
		return nil
	case len(items) > maxMenu:
		fields.Add("menu", "has %d items, more than %d", len(items), maxMenu)
		return nil
	}
	checked := make([]restaurantapi.MenuItem, len(items))
	seen := make(map[string]bool, len(items))
	for i, item := range items {
		field := fmt.Sprintf("menu[%d].", i)
		fields.Text(field+"id", item.ID, maxText)
		fields.Text(field+"name", item.Name, maxText)
		price, err := money.Parse(item.Price)
		if err != nil {
			fields.Add(field+"price", "%s", err)
		}
		if seen[item.ID] {
			fields.Add(field+"id", "is on the menu twice")
		}
		seen[item.ID] = true
		checked[i] = restaurantapi.MenuItem{ID: item.ID, Name: item.Name, Price: price}
	}
	return checked
}
