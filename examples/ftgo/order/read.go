package order

import (
	"encoding/json"
	"net/http"

	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// view is an order as GET /v1/orders/{id} shows it.
type view struct {
	change
	ConsumerID      string          `json:"consumerId"`
	RestaurantID    string          `json:"restaurantId"`
	Total           money.Amount    `json:"total"`
	LineItems       json.RawMessage `json:"lineItems"` // as stored
	DeliveryAddress Address         `json:"deliveryAddress"`
	Coordination    string          `json:"coordination"`
	CreatedAt       string          `json:"createdAt"`
	UpdatedAt       string          `json:"updatedAt"`

	createdAt int64 // microseconds since 1970
}

func (o *orders) get(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "order")
	if err != nil {
		return err
	}
	v, ok, err := o.store.find(r.Context(), id)
	if err != nil {
		return err
	}
	if !ok {
		return httpkit.NotFound("order")
	}
	v.CreatedAt, v.UpdatedAt = httpkit.Time(v.createdAt), httpkit.Time(v.at)
	return httpkit.Reply(w, http.StatusOK, v)
}
