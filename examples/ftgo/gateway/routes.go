package gateway

import "net/http"

// The services that own public paths.
const (
	Order      = "order"
	Consumer   = "consumer"
	Restaurant = "restaurant"
	Kitchen    = "kitchen"
	Accounting = "accounting"
)

// route says which service answers a public path, and to which methods.
type route struct {
	path    string // a pattern of [http.ServeMux]
	service string
	methods []string
}

var (
	read  = []string{http.MethodGet, http.MethodHead}
	write = []string{http.MethodPost}
	put   = []string{http.MethodPut}
)

var routes = []route{
	{"/v1/consumers", Consumer, write},
	{"/v1/consumers/{id}", Consumer, read},
	{"/v1/consumers/{id}/account", Accounting, read},
	{"/v1/restaurants", Restaurant, write},
	{"/v1/restaurants/{id}", Restaurant, read},
	{"/v1/restaurants/{id}/menu", Restaurant, put},
	{"/v1/orders", Order, write},
	{"/v1/orders/{id}", Order, read},
	{"/v1/orders/{id}/events", Order, read},
	{"/v1/orders/{id}/cancel", Order, write},
	{"/v1/orders/{id}/revise", Order, write},
	{"/v1/tickets/{id}", Kitchen, read},
	{"/v1/tickets/{id}/accept", Kitchen, write},
	{"/v1/tickets/{id}/preparing", Kitchen, write},
	{"/v1/tickets/{id}/ready", Kitchen, write},
	{"/v1/tickets/{id}/picked-up", Kitchen, write},
}
