// Package points_test kills FTGO's process at named points, starts it again on its data, and
// verifies FTGO's invariants. What kills it stands around the shipped store and broker, in this
// test: the application itself knows no such points.
package points_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/examples/ftgo/accounting"
	"github.com/skald-go/skald/examples/ftgo/check"
	"github.com/skald-go/skald/examples/ftgo/consumer"
	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/kitchen"
	"github.com/skald-go/skald/examples/ftgo/order"
	"github.com/skald-go/skald/examples/ftgo/restaurant"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/sqlite"
)

const (
	// A copy of this test binary is the application on this folder.
	folderVariable = "SKALD_POINTS_FOLDER"
	// It is killed at this point, if one is named.
	pointVariable = "SKALD_POINTS_POINT"

	orders   = 12
	patience = 30 * time.Second
)

// points are where the process is killed: the service, and what it is about to do. After the
// kill there are orders, or there are none yet.
var points = map[string]struct{ placed bool }{
	"order before the commit of a start":       {false}, // 1
	"order after the commit of a start":        {true},  // 2
	"order before publishing":                  {true},  // 3
	"order after publishing":                   {true},  // 4
	"order before the checkpoint":              {true},  // 5
	"order amid publishing":                    {true},  // 7
	"kitchen before the commit of a message":   {true},  // 8
	"kitchen after the commit of a message":    {true},  // 9
	"order between state and command":          {true},  // 10
	"kitchen after the commit of an undo":      {true},  // 11
	"accounting after the commit of a message": {true},
}

// TestKilledAtEveryPoint has a process killed at each point and another one finish its work:
// the client asks again for what it got no answer to.
//
// Faults: 1, 2, 3, 4, 5, 7, 8, 9, 10, 11.
func TestKilledAtEveryPoint(t *testing.T) {
	prepared := t.TempDir()
	if output, err := application(t, prepared, ""); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for point, after := range points {
		t.Run(point, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(data, os.DirFS(prepared)); err != nil {
				t.Fatal(err)
			}
			output, err := application(t, data, point)
			if err == nil || !strings.Contains(output, "reached "+point) {
				t.Fatalf("the process was not killed (%v):\n%s", err, output)
			}
			if left, err := check.Run(t.Context(), databases.SQLite(data)); err != nil || left.Orders > 1 != after.placed {
				t.Errorf("after the kill there are %d orders besides the first, %v", left.Orders-1, err)
			}
			if output, err := application(t, data, ""); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			report, err := check.Run(t.Context(), databases.SQLite(data))
			if err != nil || report.Orders != orders {
				t.Errorf("%d orders, want %d, %v", report.Orders, orders, err)
			}
			for _, violation := range report.Violations {
				t.Error(violation)
			}
		})
	}
}

// application runs FTGO in a process of its own until every order has ended, or it dies.
func application(t *testing.T, data, point string) (output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestApplication$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), folderVariable+"="+data, pointVariable+"="+point)
	printed, err := cmd.CombinedOutput()
	return string(printed), err
}

func TestApplication(t *testing.T) {
	data := os.Getenv(folderVariable)
	if data == "" {
		return // this is the test run itself
	}
	a := &ftgo{T: t, data: data, point: os.Getenv(pointVariable), handlers: map[string]http.Handler{}}
	stop := a.start()
	a.openShop()
	a.placeAll()
	if a.point != "" { // which is still to come
		select {}
	}
	// An order's state is there before its saga's last reply.
	if _, err := check.Settled(t.Context(), databases.SQLite(data), patience); err != nil {
		t.Error(err)
	}
	stop()
}

// ftgo is the application, without a server before it.
type ftgo struct {
	*testing.T
	data, point       string
	handlers          map[string]http.Handler
	Rich, Poor, Place string // two consumers and a restaurant
	placedBefore      bool
}

func (a *ftgo) start() (stop func()) {
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(a.data, "broker"), SyncInterval: 20 * time.Millisecond, Logger: quiet})
	a.must(err)
	cfg := server.Config()
	cfg.Logger = quiet
	connected, err := nats.Connect(a.Context(), cfg)
	a.must(err)
	ctx, cancel := context.WithCancel(a.Context())
	makers := map[string]func(context.Context, host.Host) (http.Handler, error){
		"order": order.New, "consumer": consumer.New, "restaurant": restaurant.New, "kitchen": kitchen.New, "accounting": accounting.New,
	}
	ended := make(chan error, len(makers))
	var stores []*sqlite.Store
	for name, maker := range makers {
		store, err := sqlite.Open(ctx, filepath.Join(a.data, name+".db"), sqlite.Config{})
		a.must(err)
		stores = append(stores, store)
		m := &mortal{Store: store, service: name, point: a.point}
		s, err := service.New(name, m, broker{connected, m}, service.Config{Logger: quiet, LeaseTTL: time.Second})
		a.must(err)
		a.handlers[name], err = maker(ctx, host.Host{DB: store.DB(), Dialect: host.SQLite, Service: s, Logger: quiet})
		a.must(err)
		go func() { ended <- s.Run(ctx) }()
	}
	return func() {
		cancel()
		for range makers {
			a.must(<-ended)
		}
		a.must(connected.Close())
		for _, store := range stores {
			a.must(store.Close())
		}
		a.must(server.Shutdown())
	}
}

func (a *ftgo) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

// openShop makes consumers and restaurant, or reads which they were.
func (a *ftgo) openShop() {
	file := filepath.Join(a.data, "shop.json")
	if content, err := os.ReadFile(file); err == nil {
		a.must(json.Unmarshal(content, a))
		a.placedBefore = true
		return
	} else if !errors.Is(err, os.ErrNotExist) {
		a.Fatal(err)
	}
	a.Rich = a.make("consumer", "/v1/consumers", `{"name":"Ada","creditLimit":"10000.00"}`)
	a.Poor = a.make("consumer", "/v1/consumers", `{"name":"Bea","creditLimit":"10.00"}`)
	a.Place = a.make("restaurant", "/v1/restaurants", `{"name":"Skald's","minimumOrder":"5.00","zones":["centre"],"menu":[{"id":"pie","name":"Pie","price":"12.50"}]}`)
	content, err := json.Marshal(map[string]string{"Rich": a.Rich, "Poor": a.Poor, "Place": a.Place})
	a.must(err)
	a.must(os.WriteFile(file, content, 0o600))
}

func (a *ftgo) make(service, path, body string) string {
	a.Helper()
	status, answer := a.send(service, "POST", path, body)
	if status != http.StatusCreated {
		a.Fatalf("%s: %d %v", path, status, answer)
	}
	return fmt.Sprint(answer["id"])
}

// placeAll places the orders, all at once but the first, which was there before the kill; every
// third one's card is declined. It waits until all of them have ended.
func (a *ftgo) placeAll() {
	n := 1
	if a.placedBefore {
		n = orders
	}
	ended := make(chan error, n)
	for i := range n {
		consumer := a.Rich
		if i%3 == 2 {
			consumer = a.Poor
		}
		go func() { ended <- a.place(fmt.Sprint("key ", i), consumer) }()
	}
	for range n {
		a.must(<-ended)
	}
}

func (a *ftgo) place(key, consumer string) error {
	ctx, cancel := context.WithTimeout(a.Context(), patience)
	defer cancel()
	body := fmt.Sprintf(`{"consumerId":%q,"restaurantId":%q,"deliveryAddress":{"zone":"centre","street":"Harbour Road 7"},"lineItems":[{"menuItemId":"pie","quantity":2}]}`, consumer, a.Place)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	var id, state any
	for state != "APPROVED" && state != "REJECTED" {
		if id == nil {
			if status, answer := a.send("order", "POST", "/v1/orders", body, "Idempotency-Key", key); status == http.StatusAccepted {
				id = answer["id"]
			}
		} else {
			_, answer := a.send("order", "GET", fmt.Sprint("/v1/orders/", id), "")
			state = answer["state"]
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("order %s (%v) is %v: %w", key, id, state, ctx.Err())
		}
	}
	return nil
}

func (a *ftgo) send(service, method, path, body string, headers ...string) (int, map[string]any) {
	request := httptest.NewRequestWithContext(a.Context(), method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	a.handlers[service].ServeHTTP(recorder, request)
	answer := map[string]any{}
	_ = json.Unmarshal(recorder.Body.Bytes(), &answer) // none is an answer too
	return recorder.Code, answer
}
