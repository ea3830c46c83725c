package order

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/examples/ftgo/replica"
	"github.com/skald-go/skald/examples/ftgo/watch"
	"github.com/skald-go/skald/service"
)

// patience is how long a request waits for a consumer and a restaurant that are not in the
// replicas yet.
const patience = 2 * time.Second

// place answers POST /v1/orders: the order and the start of its saga are one local transaction,
// and everything else is asynchronous.
func (o *orders) place(w http.ResponseWriter, r *http.Request) error {
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	var asked request
	if err := httpkit.Decode(w, r, &asked); err != nil {
		return err
	}
	if err := asked.check(); err != nil {
		return err
	}
	placed, err := o.draft(r.Context(), asked)
	if key != "" {
		hash, fault := asked.hash()
		if fault != nil {
			return fault
		}
		if err != nil { // the menu may have changed since the first request
			if earlier, ok, fault := o.repeated(r.Context(), nil, asked.ConsumerID, key, hash); ok || fault != nil {
				return accept(w, earlier, fault)
			}
		}
		placed.IdempotencyKey, placed.RequestHash = key, hash
	}
	if err != nil {
		return err
	}
	accepted, err := o.start(r.Context(), placed)
	return accept(w, accepted, err)
}

func accept(w http.ResponseWriter, c change, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/orders/"+c.ID)
	return httpkit.Reply(w, http.StatusAccepted, c)
}

// repeated finds the order of an earlier request with the same key; another body under that
// key is a problem.
func (o *orders) repeated(ctx context.Context, tx *sql.Tx, consumer, key string, hash []byte) (change, bool, error) {
	earlier, ok, err := o.store.byKey(ctx, tx, consumer, key)
	if err == nil && ok && !bytes.Equal(earlier.requestHash, hash) {
		p := httpkit.NewProblem(http.StatusUnprocessableEntity, "this idempotency key was used for another order")
		p.Errors = []httpkit.FieldError{{Field: "Idempotency-Key", Detail: "was used with another body"}}
		return change{}, false, p
	}
	return earlier.change, ok, err
}

// draft checks a request against the replicas and prices it.
func (o *orders) draft(ctx context.Context, asked request) (Order, error) {
	ordering, restaurant, err := o.parties(ctx, asked.ConsumerID, asked.RestaurantID)
	if err != nil {
		return Order{}, err
	}
	return draft(asked, ordering, restaurant)
}

// parties finds consumer and restaurant in the replicas, and waits for them.
func (o *orders) parties(ctx context.Context, consumerID, restaurantID string) (consumer, *replica.Restaurant, error) {
	began := time.Now()
	ordering, known, err := watch.Await(ctx, &o.consumers, consumerID, patience,
		func(ctx context.Context) (consumer, bool, error) { return o.store.consumer(ctx, nil, consumerID) })
	if err != nil {
		return consumer{}, nil, err
	}
	var fields httpkit.Fields
	if !known {
		fields.Add("consumerId", "there is no such consumer")
	}
	restaurant, listed, err := o.restaurants.Await(ctx, restaurantID, patience-time.Since(began))
	if err != nil {
		return consumer{}, nil, err
	}
	if !listed {
		fields.Add("restaurantId", "there is no such restaurant")
	}
	return ordering, restaurant, fields.Err()
}

func draft(asked request, ordering consumer, restaurant *replica.Restaurant) (Order, error) {
	var fields httpkit.Fields
	if !restaurant.DeliversTo(asked.DeliveryAddress.Zone) {
		fields.Add("deliveryAddress.zone", "the restaurant does not deliver there")
	}
	items, total := price(&fields, asked.LineItems, ordering, restaurant)
	return Order{
		ID:         skald.NewID().String(),
		ConsumerID: asked.ConsumerID, ConsumerVersion: ordering.version,
		RestaurantID: asked.RestaurantID, RestaurantVersion: restaurant.Version,
		Total: total, LineItems: items,
		DeliveryAddress: asked.DeliveryAddress, Coordination: asked.Coordination,
	}, fields.Err()
}

// price looks the line items up in the menu and applies the rules that need nothing else. What
// they cost counts only when it named no field.
func price(fields *httpkit.Fields, lines []requestItem, ordering consumer, restaurant *replica.Restaurant) ([]orderapi.LineItem, money.Amount) {
	items, total := make([]orderapi.LineItem, 0, len(lines)), money.Amount(0)
	for i, line := range lines {
		item, ok := restaurant.Item(line.MenuItemID)
		if !ok {
			fields.Add(fmt.Sprintf("lineItems[%d].menuItemId", i), "is not on the restaurant's menu")
			continue
		}
		sum, err := item.Price.Times(*line.Quantity)
		if err == nil {
			total, err = total.Plus(sum)
		}
		if err != nil {
			fields.Add(fmt.Sprintf("lineItems[%d].quantity", i), "makes the total too large")
			break
		}
		items = append(items, orderapi.LineItem{MenuItemID: item.ID, Name: item.Name, Quantity: *line.Quantity, Price: item.Price})
	}
	if fields.Err() != nil {
		return nil, 0
	}
	if total < restaurant.MinimumOrder {
		fields.Add("lineItems", "the total of %s is below the restaurant's minimum of %s", total, restaurant.MinimumOrder)
	}
	if limit := ordering.orderLimit; limit != nil && total > *limit {
		fields.Add("lineItems", "the total of %s is over the consumer's order limit of %s", total, *limit)
	}
	return items, total
}

// start stores the order and begins its creation in the style that it asks for, unless another
// request with the same key came first.
func (o *orders) start(ctx context.Context, placed Order) (change, error) {
	var accepted change
	chosen := o.styles[placed.Coordination]
	err := service.Transact(ctx, o.service, func(ctx context.Context, tx *sql.Tx) error {
		accepted = change{ID: placed.ID, State: chosen.placed}
		if placed.IdempotencyKey != "" {
			earlier, ok, err := o.repeated(ctx, tx, placed.ConsumerID, placed.IdempotencyKey, placed.RequestHash)
			if ok || err != nil {
				accepted = earlier
				return err
			}
		}
		return chosen.start(ctx, tx, placed)
	})
	if err != nil { // accepted may still be written: the request may be gone before its batch
		return change{}, err
	}
	return accepted, nil
}
