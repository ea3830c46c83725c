package load

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
)

// shop is what the client has created to order from and with.
type shop struct {
	payers, decliners []string // consumers' ids
	restaurants       []string
}

const (
	shopRestaurants = 4
	ordersPerPayer  = 50
	mostPayers      = 200
	// dearest is more than any order of this client costs, in whole units.
	dearest = 100
	zone    = "centre"
)

type menuItem struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Price string `json:"price"`
}

var menu = []menuItem{
	{ID: "soup", Name: "Fish soup", Price: "7.30"},
	{ID: "pie", Name: "Leek pie", Price: "12.50"},
	{ID: "skyr", Name: "Skyr with berries", Price: "4.90"},
}

// Prepare creates restaurants and enough consumers for the orders: those who can pay for
// all that they are going to order, and those whose credit is below any order's total.
func (c *Client) Prepare(ctx context.Context, orders int) error {
	created := shop{}
	payers := min(max(orders/ordersPerPayer, 4), mostPayers)
	credit := dearest * (orders/payers + 1)
	for i := range shopRestaurants {
		id, err := c.create(ctx, "/v1/restaurants", map[string]any{
			"name": fmt.Sprintf("Load restaurant %d", i+1), "zones": []string{zone}, "menu": menu,
		})
		if err != nil {
			return err
		}
		created.restaurants = append(created.restaurants, id)
	}
	for i := range payers {
		id, err := c.createConsumer(ctx, fmt.Sprintf("Payer %d", i+1), credit)
		if err != nil {
			return err
		}
		created.payers = append(created.payers, id)
	}
	for i := range max(payers/4, 1) {
		id, err := c.createConsumer(ctx, fmt.Sprintf("Decliner %d", i+1), 1)
		if err != nil {
			return err
		}
		created.decliners = append(created.decliners, id)
	}
	c.shop = created
	return nil
}

func (c *Client) createConsumer(ctx context.Context, name string, credit int) (string, error) {
	return c.create(ctx, "/v1/consumers", map[string]any{
		"name": name, "orderLimit": strconv.Itoa(dearest) + ".00", "creditLimit": strconv.Itoa(credit) + ".00",
	})
}

func (c *Client) create(ctx context.Context, path string, content any) (string, error) {
	var answer struct {
		ID string `json:"id"`
	}
	err := c.post(ctx, path, jsonHeader(""), mustJSON(content), &answer)
	if err == nil && answer.ID == "" {
		err = fmt.Errorf("POST %s: the answer names no id", path)
	}
	if err != nil {
		return "", fmt.Errorf("load: create what orders need: %w", err)
	}
	return answer.ID, nil
}

func jsonHeader(idempotencyKey string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	if idempotencyKey != "" {
		h["Idempotency-Key"] = []string{idempotencyKey}
	}
	return h
}
