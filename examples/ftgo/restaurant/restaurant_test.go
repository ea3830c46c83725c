package restaurant

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/skaldtest"
)

const ajanta = `{"name":"Ajanta","minimumOrder":"10.00","zones":["north"],"menu":[{"id":"soup","name":"Soup","price":"7.30"}]}`

func openRestaurants(t *testing.T, on hosttest.Store) (http.Handler, host.Host) {
	t.Helper()
	h := hosttest.New(t, on, "restaurant", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	handler, err := New(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Run(t, h.Service)
	return handler, h
}

func create(t *testing.T, handler http.Handler) restaurantapi.Restaurant {
	t.Helper()
	answer := hosttest.Do(t, handler, http.MethodPost, "/v1/restaurants", ajanta)
	var made restaurantapi.Restaurant
	if err := json.Unmarshal(answer.Body.Bytes(), &made); err != nil || answer.Code != 201 {
		t.Fatalf("%d %s, %v", answer.Code, answer.Body, err)
	}
	if answer.Header().Get("Location") != "/v1/restaurants/"+made.ID || made.Version != 1 {
		t.Errorf("%v %s", answer.Header(), answer.Body)
	}
	return made
}

func TestARevisedMenuIsANewVersionThatEverybodyIsTold(t *testing.T) {
	hosttest.OnEachStore(t, aRevisedMenuIsANewVersionThatEverybodyIsTold)
}

func aRevisedMenuIsANewVersionThatEverybodyIsTold(t *testing.T, on hosttest.Store) {
	t.Helper()
	handler, h := openRestaurants(t, on)
	made := create(t, handler)
	for version := 2; version <= 3; version++ {
		body := fmt.Sprintf(`{"menu":[{"id":"pie","name":"Pie","price":"%d.00"}]}`, version)
		answer := hosttest.Do(t, handler, http.MethodPut, "/v1/restaurants/"+made.ID+"/menu", body)
		want := fmt.Sprintf(`{"id":%q,"version":%d,"name":"Ajanta","minimumOrder":"10.00","zones":["north"],"menu":[{"id":"pie","name":"Pie","price":"%d.00"}]}`,
			made.ID, version, version)
		if answer.Code != 200 || strings.TrimSpace(answer.Body.String()) != want {
			t.Errorf("PUT: %d %s, want %s", answer.Code, answer.Body, want)
		}
		again := hosttest.Do(t, handler, http.MethodGet, "/v1/restaurants/"+made.ID, "")
		if again.Code != 200 || strings.TrimSpace(again.Body.String()) != want {
			t.Errorf("GET: %d %s", again.Code, again.Body)
		}
		// The owner's table and its event hold the same bytes.
		sent := hosttest.Sent(t, h, restaurantapi.Events)
		told := sent[len(sent)-1]
		if len(sent) != version || told.Type != restaurantapi.MenuRevised.Name || told.Key != made.ID ||
			hosttest.Count(t, h, `SELECT count(*) FROM restaurants WHERE version = ? AND content = ?`, version, string(told.Payload)) != 1 {
			t.Errorf("version %d: sent %v", version, sent)
		}
	}
}

func TestBadRestaurantsAreRefusedWithTheFieldNamed(t *testing.T) {
	handler, h := openRestaurants(t, hosttest.SQLite)
	for body, field := range map[string]string{
		`{"zones":[],"menu":[]}`:                                                 "name",
		`{"name":"A","menu":[]}`:                                                 "zones",
		`{"name":"A","zones":[""],"menu":[]}`:                                    "zones[0]",
		`{"name":"A","zones":[7],"menu":[]}`:                                     "zones",
		`{"name":"A","zones":[]}`:                                                "menu",
		`{"name":"A","zones":[],"menu":[],"minimumOrder":"1"}`:                   "minimumOrder",
		`{"name":"A","zones":[],"menu":[{"id":"a","name":"A","price":"-1.00"}]}`: "menu[0].price",
		`{"name":"A","zones":[],"menu":[{"id":"a","name":"A","price":1}]}`:       "menu.price",
		`{"name":"A","zones":[],"menu":[{"id":"a","name":"","price":"1.00"}]}`:   "menu[0].name",
		`{"name":"A","zones":[],"menu":[` + strings.Repeat(`{"id":"a","name":"A","price":"1.00"},`, 1) + `{"id":"a","name":"A","price":"1.00"}]}`: "menu[1].id",
		`{"name":"A","zones":[],"menu":[{}` + strings.Repeat(`,{}`, 1000) + `]}`:                                                                  "menu",
	} {
		answer := hosttest.Do(t, handler, http.MethodPost, "/v1/restaurants", body)
		if answer.Code != 422 || !strings.Contains(answer.Body.String(), `"field":"`+field+`"`) {
			t.Errorf("%.80s: %d %s", body, answer.Code, answer.Body)
		}
	}
	if n := hosttest.Count(t, h, `SELECT count(*) FROM restaurants`); n != 0 {
		t.Errorf("%d restaurants", n)
	}
}

func TestAMenuThatNoEventCanCarryIsRefused(t *testing.T) {
	handler, h := openRestaurants(t, hosttest.SQLite)
	made := create(t, handler)
	items := make([]string, maxMenu)
	for i := range items { // each < is six bytes in the event
		items[i] = fmt.Sprintf(`{"id":"%d","name":"%s","price":"1.00"}`, i, strings.Repeat("<", maxText))
	}
	body := `{"menu":[` + strings.Join(items, ",") + `]}`
	if answer := hosttest.Do(t, handler, http.MethodPut, "/v1/restaurants/"+made.ID+"/menu", body); answer.Code != 413 {
		t.Errorf("got %d %s", answer.Code, answer.Body)
	}
	if n := hosttest.Count(t, h, `SELECT max(version) FROM restaurants`); n != 1 {
		t.Errorf("version %d", n)
	}
}

func TestAnUnknownRestaurantIsNotFound(t *testing.T) {
	handler, _ := openRestaurants(t, hosttest.SQLite)
	for _, id := range []string{"none", skald.NewID().String()} {
		if answer := hosttest.Do(t, handler, http.MethodGet, "/v1/restaurants/"+id, ""); answer.Code != 404 {
			t.Errorf("GET %s: %d", id, answer.Code)
		}
		if answer := hosttest.Do(t, handler, http.MethodPut, "/v1/restaurants/"+id+"/menu", `{"menu":[]}`); answer.Code != 404 {
			t.Errorf("PUT %s: %d", id, answer.Code)
		}
	}
}
