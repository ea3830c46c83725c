package order

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// others stands for the services around the order service.
type others struct {
	service *service.Service

	mu    sync.Mutex
	calls []string
}

func (o *others) called(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, name)
}

func (o *others) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.calls, ", ")
}

func answer[C, R any](o *others, command skald.Command[C, R], refuse func(C) error) {
	service.HandleCommand(o.service, command, func(_ context.Context, _ *skaldtest.Tx, c C) (R, error) {
		var r R
		o.called(strings.TrimPrefix(command.Name, "ftgo."))
		if refuse == nil {
			return r, nil
		}
		return r, refuse(c)
	})
}

// world runs the order service and the others.
type world struct {
	http.Handler
	orders *orders
	host   host.Host
	others *others
}

// dear is the greatest total that a revision is authorized for.
const dear = 10_000

func newWorld(t *testing.T, on hosttest.Store, decline func(accountingapi.Charge) error) *world {
	t.Helper()
	return newWorldWith(t, on, answers{charge: decline})
}

// answers are what the others say; nil says yes.
type answers struct {
	verify  func(consumerapi.Verification) error
	details func(restaurantapi.OrderDetails) error
	charge  func(accountingapi.Charge) error
	reverse func(accountingapi.Reversal) error
	ticket  func(kitchenapi.Revision) error
	revise  func(accountingapi.Revision) error
}

func newWorldWith(t *testing.T, on hosttest.Store, say answers) *world {
	t.Helper()
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	h := hosttest.New(t, on, "order", broker)
	own, err := register(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	s, err := service.New("others", skaldtest.NewStore(), broker, service.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	o := &others{service: s}
	answer(o, consumerapi.VerifyConsumer, say.verify)
	answer(o, restaurantapi.ValidateOrderDetails, say.details)
	answer(o, kitchenapi.CreateTicket, nil)
	answer(o, kitchenapi.ConfirmTicket, nil)
	answer(o, kitchenapi.RejectTicket, nil)
	answer(o, accountingapi.AuthorizeCard, say.charge)
	answer(o, kitchenapi.BeginCancelTicket, nil)
	answer(o, kitchenapi.UndoCancelTicket, nil)
	answer(o, kitchenapi.ConfirmCancelTicket, nil)
	answer(o, kitchenapi.BeginReviseTicket, say.ticket)
	answer(o, kitchenapi.UndoReviseTicket, nil)
	answer(o, kitchenapi.ConfirmReviseTicket, nil)
	answer(o, accountingapi.ReverseAuthorization, say.reverse)
	answer(o, accountingapi.ReviseAuthorization, func(r accountingapi.Revision) error {
		if r.Amount > dear {
			return skald.Refuse(accountingapi.RefusedDeclined, "no credit").Keep()
		}
		if say.revise != nil {
			return say.revise(r)
		}
		return nil
	})
	hosttest.Run(t, h.Service, s)
	return &world{Handler: own.routes(), orders: own, host: h, others: o}
}

// tell publishes the consumer and the restaurant that goodOrder names.
func (w *world) tell(t *testing.T) {
	t.Helper()
	err := service.Transact(t.Context(), w.others.service, func(ctx context.Context, tx *skaldtest.Tx) error {
		err := outbox.Publish(ctx, w.others.service.Outbox(), tx, consumerapi.ConsumerRegistered,
			consumerapi.Consumer{ID: consumerID, Version: 1, Name: "Ada", CreditLimit: 10_000})
		if err != nil {
			return err
		}
		return outbox.Publish(ctx, w.others.service.Outbox(), tx, restaurantapi.RestaurantCreated, ajanta())
	})
	if err != nil {
		t.Error(err)
	}
}

// place posts an order that is accepted and returns its id.
func (w *world) place(t *testing.T, headers ...string) string {
	t.Helper()
	return w.placed(t, goodOrder, headers...).ID
}

func (w *world) placed(t *testing.T, body string, headers ...string) change {
	t.Helper()
	answer := hosttest.Do(t, w, http.MethodPost, "/v1/orders", body, headers...)
	var c change
	if err := json.Unmarshal(answer.Body.Bytes(), &c); err != nil || answer.Code != 202 {
		t.Fatalf("%d %s, %v", answer.Code, answer.Body, err)
	}
	if location := answer.Header().Get("Location"); location != "/v1/orders/"+c.ID {
		t.Errorf("location %q", location)
	}
	return c
}

// states follows the order's stream to its end.
func (w *world) states(t *testing.T, id string) string {
	t.Helper()
	answer := hosttest.Do(t, w, http.MethodGet, "/v1/orders/"+id+"/events", "")
	if got := answer.Header().Get("Content-Type"); answer.Code != 200 || got != "text/event-stream" {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	return statesIn(t, answer.Body, id)
}

func statesIn(t *testing.T, stream io.Reader, id string) string {
	t.Helper()
	var states []string
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var c change
			if err := json.Unmarshal([]byte(data), &c); err != nil || c.ID != id {
				t.Errorf("%s: %v", data, err)
			}
			states = append(states, string(c.State))
		}
	}
	return strings.Join(states, " ")
}

func (w *world) get(t *testing.T, id string) map[string]any {
	t.Helper()
	answer := hosttest.Do(t, w, http.MethodGet, "/v1/orders/"+id, "")
	var shown map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &shown); err != nil || answer.Code != 200 {
		t.Fatalf("%d %s, %v", answer.Code, answer.Body, err)
	}
	return shown
}

func TestAnOrderIsApprovedStepByStep(t *testing.T) {
	hosttest.OnEachStore(t, anOrderIsApprovedStepByStep)
}

func anOrderIsApprovedStepByStep(t *testing.T, on hosttest.Store) {
	t.Helper()
	w := newWorld(t, on, nil)
	w.tell(t)
	id := w.place(t)
	if states := w.states(t, id); !strings.HasSuffix(states, "APPROVED") {
		t.Errorf("states %s", states)
	}
	want := "consumer.verify-consumer, kitchen.create-ticket, accounting.authorize-card, kitchen.confirm-ticket"
	if got := w.others.String(); got != want {
		t.Errorf("calls %s, want %s", got, want)
	}
	shown := w.get(t, id)
	createdAt, err := time.Parse(time.RFC3339, shown["createdAt"].(string))
	if err != nil || time.Since(createdAt) > time.Minute || createdAt.Location() != time.UTC {
		t.Errorf("created at %v, %v", createdAt, err)
	}
	delete(shown, "createdAt")
	delete(shown, "updatedAt")
	encoded, _ := json.Marshal(shown)
	if wantJSON := fmt.Sprintf(`{"consumerId":%q,"coordination":"orchestration","deliveryAddress":{"street":"Harbour Road 7","zone":"north"},"id":%q,`+
		`"lineItems":[{"menuItemId":"soup","name":"Soup","price":"7.30","quantity":2},{"menuItemId":"pie","name":"Pie","price":"12.50","quantity":1}],`+
		`"restaurantId":%q,"state":"APPROVED","total":"27.10"}`, consumerID, id, restaurantID); string(encoded) != wantJSON {
		t.Errorf("got  %s\nwant %s", encoded, wantJSON)
	}
	for effect, n := range map[string]int{stepCreate: 1, stepApprove: 1} {
		if got := hosttest.Count(t, w.host, `SELECT count(*) FROM effects WHERE operation = ? AND step = ? AND action = 'do'`, id, effect); got != n {
			t.Errorf("%d effects of %q", got, effect)
		}
	}
}

func TestADeclinedCardRejectsTheOrderAfterItsTicket(t *testing.T) {
	hosttest.OnEachStore(t, aDeclinedCardRejectsTheOrderAfterItsTicket)
}

func aDeclinedCardRejectsTheOrderAfterItsTicket(t *testing.T, on hosttest.Store) {
	t.Helper()
	w := newWorld(t, on, func(accountingapi.Charge) error {
		return skald.Refuse(accountingapi.RefusedDeclined, "no credit").Keep()
	})
	w.tell(t)
	id := w.place(t)
	if states := w.states(t, id); !strings.HasSuffix(states, "REJECTED") {
		t.Errorf("states %s", states)
	}
	if reason := w.get(t, id)["rejectionReason"]; reason != "card_declined: no credit" {
		t.Errorf("reason %v", reason)
	}
	want := "consumer.verify-consumer, kitchen.create-ticket, accounting.authorize-card, kitchen.reject-ticket"
	if got := w.others.String(); got != want {
		t.Errorf("calls %s, want %s", got, want)
	}
	if n := hosttest.Count(t, w.host, `SELECT count(*) FROM effects WHERE operation = ? AND step = ? AND action = 'undo'`, id, stepCreate); n != 1 {
		t.Errorf("%d undo effects", n)
	}
}

func TestARequestWaitsForAReplicaThatIsOnItsWay(t *testing.T) {
	w := newWorld(t, hosttest.SQLite, nil)
	told := make(chan struct{})
	go func() {
		defer close(told)
		w.tell(t)
	}()
	w.place(t)
	<-told
}

func TestAnUnknownConsumerOrRestaurantIsRefusedWhenPatienceEnds(t *testing.T) {
	w := newWorld(t, hosttest.SQLite, nil)
	began := time.Now()
	answer := hosttest.Do(t, w, http.MethodPost, "/v1/orders", goodOrder)
	for _, field := range []string{"consumerId", "restaurantId"} {
		if answer.Code != 422 || !strings.Contains(answer.Body.String(), `"field":"`+field+`"`) {
			t.Errorf("got %d %s", answer.Code, answer.Body)
		}
	}
	if waited := time.Since(began); waited < patience || waited > 2*patience {
		t.Errorf("waited %s", waited)
	}
	if n := hosttest.Count(t, w.host, `SELECT count(*) FROM orders`); n != 0 {
		t.Errorf("%d orders", n)
	}
}

func TestOneKeyAndBodyIsOneOrder(t *testing.T) { hosttest.OnEachStore(t, oneKeyAndBodyIsOneOrder) }

func oneKeyAndBodyIsOneOrder(t *testing.T, on hosttest.Store) {
	t.Helper()
	w := newWorld(t, on, nil)
	w.tell(t)
	ids := make([]string, 16)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() {
			answer := hosttest.Do(t, w, http.MethodPost, "/v1/orders", goodOrder, "Idempotency-Key", "k1")
			var c change
			if err := json.Unmarshal(answer.Body.Bytes(), &c); err != nil || answer.Code != 202 {
				t.Errorf("%d %s, %v", answer.Code, answer.Body, err)
			}
			ids[i] = c.ID
		})
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("two orders: %s and %s", ids[0], id)
		}
	}
	other := strings.Replace(goodOrder, `"quantity":2`, `"quantity":3`, 1)
	if answer := hosttest.Do(t, w, http.MethodPost, "/v1/orders", other, "Idempotency-Key", "k1"); answer.Code != 422 ||
		!strings.Contains(answer.Body.String(), `"field":"Idempotency-Key"`) {
		t.Errorf("another body: %d %s", answer.Code, answer.Body)
	}
	if id := w.place(t, "Idempotency-Key", "k2"); id == ids[0] {
		t.Error("another key is the same order")
	}
	w.clearMenu(t)
	if id := w.place(t, "Idempotency-Key", "k1"); id != ids[0] {
		t.Error("after the menu changed, the key made another order")
	}
	if n := hosttest.Count(t, w.host, `SELECT count(*) FROM orders`); n != 2 {
		t.Errorf("%d orders", n)
	}
}

// clearMenu takes everything off the menu that the order service knows.
func (w *world) clearMenu(t *testing.T) {
	t.Helper()
	empty := ajanta()
	empty.Version, empty.Menu = 4, nil
	content, err := json.Marshal(empty)
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Exec(t, w.host, `UPDATE restaurant_replica SET version = ?, content = ?`, empty.Version, string(content))
	if answer := hosttest.Do(t, w, http.MethodPost, "/v1/orders", goodOrder); answer.Code != 422 {
		t.Errorf("with an empty menu: %d", answer.Code)
	}
}

// listening calls its function once the first event has been written.
type listening struct {
	*httptest.ResponseRecorder
	first func()
}

func (l *listening) Write(b []byte) (int, error) {
	defer l.first()
	return l.ResponseRecorder.Write(b)
}

func TestManyStreamsOfOneOrderAllEnd(t *testing.T) {
	release := make(chan struct{})
	w := newWorld(t, hosttest.SQLite, func(accountingapi.Charge) error { <-release; return nil })
	w.tell(t)
	id := w.place(t)
	var group, ready sync.WaitGroup
	for range 100 {
		ready.Add(1)
		group.Go(func() {
			answer := &listening{httptest.NewRecorder(), sync.OnceFunc(ready.Done)}
			w.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/orders/"+id+"/events", nil))
			if states := statesIn(t, answer.Body, id); states != "APPROVAL_PENDING APPROVED" {
				t.Errorf("states %s", states)
			}
		})
	}
	ready.Wait()
	close(release)
	group.Wait()
}

func TestAStreamEndsWithItsClient(t *testing.T) {
	release := make(chan struct{})
	w := newWorld(t, hosttest.SQLite, func(accountingapi.Charge) error { <-release; return nil })
	defer close(release)
	w.tell(t)
	id := w.place(t)
	server := httptest.NewServer(w)
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/orders/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || first != "event: state\n" {
		t.Errorf("first line %q, %v", first, err)
	}
	leave()
}

func TestAnUnknownOrderIsNotFound(t *testing.T) {
	w := newWorld(t, hosttest.SQLite, nil)
	for _, id := range []string{"none", skald.NewID().String()} {
		for _, path := range []string{"/v1/orders/" + id, "/v1/orders/" + id + "/events"} {
			if answer := hosttest.Do(t, w, http.MethodGet, path, ""); answer.Code != 404 {
				t.Errorf("%s: %d", path, answer.Code)
			}
		}
	}
}
