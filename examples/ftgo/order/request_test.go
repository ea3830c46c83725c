package order

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/examples/ftgo/replica"
)

const (
	consumerID   = "01890a5d-ac96-774b-bcce-b302099a8057"
	restaurantID = "01890a5d-ac96-774b-bcce-b302099a8058"

	goodOrder = `{"consumerId":"` + consumerID + `","restaurantId":"` + restaurantID + `",
		"deliveryAddress":{"zone":"north","street":"Harbour Road 7"},
		"lineItems":[{"menuItemId":"soup","quantity":2},{"menuItemId":"pie","quantity":1}]}`
)

func parse(t *testing.T, body string) request {
	t.Helper()
	var r request
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// fieldsOf lists the fields that a problem names.
func fieldsOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var p *httpkit.Problem
	if !errors.As(err, &p) || p.Status != 422 {
		t.Fatalf("got %v, want a problem with status 422", err)
	}
	names := make([]string, len(p.Errors))
	for i, e := range p.Errors {
		names[i] = e.Field
	}
	return strings.Join(names, " ")
}

func TestARequestIsCheckedFieldByField(t *testing.T) {
	for name, test := range map[string]struct {
		old, new string
		fields   string
	}{
		"good":                 {"", "", ""},
		"orchestration":        {`"lineItems"`, `"coordination":"orchestration","lineItems"`, ""},
		"parallel":             {`"lineItems"`, `"coordination":"parallel","lineItems"`, ""},
		"choreography":         {`"lineItems"`, `"coordination":"choreography","lineItems"`, ""},
		"no style":             {`"lineItems"`, `"coordination":"prayer","lineItems"`, "coordination"},
		"no consumer":          {`"consumerId"`, `"consumer"`, "consumerId"},
		"no UUID":              {consumerID, "7", "consumerId"},
		"no zone":              {`"north"`, `""`, "deliveryAddress.zone"},
		"no address":           {`"deliveryAddress"`, `"address"`, "deliveryAddress.zone deliveryAddress.street"},
		"a negative quantity":  {`"quantity":2`, `"quantity":-2`, "lineItems[0].quantity"},
		"a quantity of zero":   {`"quantity":1`, `"quantity":0`, "lineItems[1].quantity"},
		"no quantity":          {`"quantity":1`, `"count":1`, "lineItems[1].quantity"},
		"an enormous quantity": {`"quantity":1`, `"quantity":10001`, "lineItems[1].quantity"},
		"no item id":           {`"menuItemId":"pie"`, `"menuItemId":""`, "lineItems[1].menuItemId"},
		"no items":             {`"lineItems"`, `"items"`, "lineItems"},
	} {
		t.Run(name, func(t *testing.T) {
			r := parse(t, strings.Replace(goodOrder, test.old, test.new, 1))
			if got := fieldsOf(t, r.check()); got != test.fields {
				t.Errorf("named %q, want %q", got, test.fields)
			}
		})
	}
}

func TestWhoNamesNoStyleIsToldWhichThereAre(t *testing.T) {
	var fields httpkit.Fields
	checkStyle(&fields, "prayer")
	if told := fields.Err().Error(); !strings.Contains(told, strings.Join(orderapi.Styles, ", ")) {
		t.Error(told)
	}
}

func TestTheHashIsThatOfWhatIsAskedFor(t *testing.T) {
	hash := func(body string) string {
		r := parse(t, body)
		if err := r.check(); err != nil {
			t.Fatal(err)
		}
		sum, err := r.hash()
		if err != nil {
			t.Fatal(err)
		}
		return string(sum)
	}
	first := hash(goodOrder)
	for name, same := range map[string]string{
		"white space":     strings.ReplaceAll(goodOrder, "\n", ""),
		"an unknown name": strings.Replace(goodOrder, "{", `{"note":"ring twice",`, 1),
		"the default":     strings.Replace(goodOrder, "{", `{"coordination":"orchestration",`, 1),
		"upper case id":   strings.Replace(goodOrder, consumerID, strings.ToUpper(consumerID), 1),
	} {
		if hash(same) != first {
			t.Errorf("%s makes another request of it", name)
		}
	}
	for name, other := range map[string]string{
		"quantity": strings.Replace(goodOrder, `"quantity":2`, `"quantity":3`, 1),
		"street":   strings.Replace(goodOrder, "Road 7", "Road 8", 1),
		"style":    strings.Replace(goodOrder, "{", `{"coordination":"parallel",`, 1),
	} {
		if hash(other) == first {
			t.Errorf("another %s is the same request", name)
		}
	}
}

func TestIdempotencyKeysAreBounded(t *testing.T) {
	for name, test := range map[string]struct {
		values []string
		ok     bool
	}{
		"none":      {nil, true},
		"one":       {[]string{"a b/1"}, true},
		"empty":     {[]string{""}, false},
		"two":       {[]string{"a", "b"}, false},
		"too long":  {[]string{strings.Repeat("x", 256)}, false},
		"not ASCII": {[]string{"ü"}, false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/orders", nil)
		for _, v := range test.values {
			r.Header.Add("Idempotency-Key", v)
		}
		if _, err := idempotencyKey(r); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ajanta() restaurantapi.Restaurant {
	return restaurantapi.Restaurant{
		ID: restaurantID, Version: 3, Name: "Ajanta", MinimumOrder: 1000, Zones: []string{"north"},
		Menu: []restaurantapi.MenuItem{{ID: "soup", Name: "Soup", Price: 730}, {ID: "pie", Name: "Pie", Price: 1250}},
	}
}

func TestAnOrderIsPricedFromTheMenu(t *testing.T) {
	limit := money.Amount(2710)
	placed, err := draft(parse(t, goodOrder), consumer{version: 2, orderLimit: &limit}, replica.New(ajanta()))
	if err != nil {
		t.Fatal(err)
	}
	if placed.Total != 2710 || placed.RestaurantVersion != 3 || placed.ConsumerVersion != 2 || len(placed.LineItems) != 2 {
		t.Errorf("got %+v", placed)
	}
	if want := (orderapi.LineItem{MenuItemID: "soup", Name: "Soup", Quantity: 2, Price: 730}); placed.LineItems[0] != want {
		t.Errorf("got %+v", placed.LineItems[0])
	}
}

func TestWhatTheReplicasRefuseIsNamed(t *testing.T) {
	small := money.Amount(2709)
	for name, test := range map[string]struct {
		change func(r *request, c *consumer, menu *restaurantapi.Restaurant)
		fields string
	}{
		"over the order limit": {func(_ *request, c *consumer, _ *restaurantapi.Restaurant) { c.orderLimit = &small }, "lineItems"},
		"below the minimum":    {func(_ *request, _ *consumer, m *restaurantapi.Restaurant) { m.MinimumOrder = 2711 }, "lineItems"},
		"outside the zones":    {func(_ *request, _ *consumer, m *restaurantapi.Restaurant) { m.Zones = nil }, "deliveryAddress.zone"},
		"not on the menu":      {func(r *request, _ *consumer, _ *restaurantapi.Restaurant) { r.LineItems[1].MenuItemID = "x" }, "lineItems[1].menuItemId"},
		"too dear to count":    {func(_ *request, _ *consumer, m *restaurantapi.Restaurant) { m.Menu[0].Price = money.Max }, "lineItems[0].quantity"},
	} {
		t.Run(name, func(t *testing.T) {
			asked, ordering, menu := parse(t, goodOrder), consumer{version: 1}, ajanta()
			test.change(&asked, &ordering, &menu)
			_, err := draft(asked, ordering, replica.New(menu))
			if got := fieldsOf(t, err); got != test.fields {
				t.Errorf("named %q, want %q", got, test.fields)
			}
		})
	}
}
