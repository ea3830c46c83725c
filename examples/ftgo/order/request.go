package order

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
)

// Limits on a request.
const (
	maxLineItems      = 100
	maxQuantity       = 10_000
	maxText           = 200 // bytes
	maxIdempotencyKey = 255 // bytes
)

// request is the body of POST /v1/orders.
type request struct {
	ConsumerID      string        `json:"consumerId"`
	RestaurantID    string        `json:"restaurantId"`
	DeliveryAddress Address       `json:"deliveryAddress"`
	LineItems       []requestItem `json:"lineItems"`
	Coordination    string        `json:"coordination"`
}

type requestItem struct {
	MenuItemID string `json:"menuItemId"`
	Quantity   *int   `json:"quantity"`
}

// check brings the request into its normal form and names what is wrong with it by itself.
func (r *request) check() error {
	var fields httpkit.Fields
	r.ConsumerID = checkID(&fields, "consumerId", r.ConsumerID)
	r.RestaurantID = checkID(&fields, "restaurantId", r.RestaurantID)
	fields.Text("deliveryAddress.zone", r.DeliveryAddress.Zone, maxText)
	fields.Text("deliveryAddress.street", r.DeliveryAddress.Street, maxText)
	checkItems(&fields, r.LineItems)
	r.Coordination = checkStyle(&fields, r.Coordination)
	return fields.Err()
}

func checkStyle(fields *httpkit.Fields, style string) string {
	if style == "" {
		return orderapi.Styles[0]
	}
	if !slices.Contains(orderapi.Styles, style) {
		fields.Add("coordination", "there is no %.40q; there are %s", style, strings.Join(orderapi.Styles, ", "))
	}
	return style
}

// revisionRequest is the body of POST /v1/orders/{id}/revise.
type revisionRequest struct {
	LineItems []requestItem `json:"lineItems"`
}

func (r *revisionRequest) check() error {
	var fields httpkit.Fields
	checkItems(&fields, r.LineItems)
	return fields.Err()
}

func checkItems(fields *httpkit.Fields, items []requestItem) {
	if n := len(items); n < 1 || n > maxLineItems {
		fields.Add("lineItems", "must be 1 to %d, not %d", maxLineItems, n)
	}
	for i, item := range items {
		fields.Text(fmt.Sprintf("lineItems[%d].menuItemId", i), item.MenuItemID, maxText)
		if quantity := fmt.Sprintf("lineItems[%d].quantity", i); item.Quantity == nil {
			fields.Add(quantity, "is required")
		} else if n := *item.Quantity; n < 1 || n > maxQuantity {
			fields.Add(quantity, "must be 1 to %d, not %d", maxQuantity, n)
		}
	}
}

func checkID(fields *httpkit.Fields, field, value string) string {
	id, ok := httpkit.ParseID(value)
	switch {
	case value == "":
		fields.Add(field, "is required")
	case !ok:
		fields.Add(field, "is not a UUID")
	}
	return id
}

// hash identifies what is asked for: two bodies that differ in white space or in fields that are
// ignored ask for the same.
func (r *request) hash() ([]byte, error) {
	normal, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	sum := sha256.Sum256(normal)
	return sum[:], nil
}

// idempotencyKey reads the header Idempotency-Key; empty when there is none.
func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	outside := strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' })
	if len(values) > 1 || key == "" || len(key) > maxIdempotencyKey || outside {
		p := httpkit.NewProblem(http.StatusBadRequest, "a request header is wrong")
		p.Errors = []httpkit.FieldError{{
			Field:  "Idempotency-Key",
			Detail: fmt.Sprintf("must be one value of 1 to %d printable ASCII characters", maxIdempotencyKey),
		}}
		return "", p
	}
	return key, nil
}
