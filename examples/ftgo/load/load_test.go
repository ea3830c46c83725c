package load_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald/examples/ftgo/load"
)

// shop is a server that answers as FTGO does, with faults to be put in.
type shop struct {
	mu       sync.Mutex
	poor     map[string]bool   // consumers who cannot pay
	keys     map[string]string // orders by idempotency key
	styles   map[string]counts // orders by what they ask for
	rejected map[string]bool   // orders

	prepared, cancelled, refused map[string]bool // orders
	stubborn                     bool            // refuses no cancel or revision
	looks                        map[string]int  // at tickets, by path; nil: all are confirmed

	consumed int
	requests int

	fault func(n int, w http.ResponseWriter, r *http.Request) bool // true: it has answered
	state func(order string, rejected bool) string
}

func newShop() *shop {
	return &shop{
		styles: map[string]counts{}, poor: map[string]bool{}, keys: map[string]string{}, rejected: map[string]bool{}, state: truth,
		prepared: map[string]bool{}, cancelled: map[string]bool{}, refused: map[string]bool{},
	}
}

type counts struct{ orders, rejected int }

func truth(_ string, rejected bool) string {
	if rejected {
		return "REJECTED"
	}
	return "APPROVED"
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.fault != nil && s.fault(s.requests, w, r) {
		return
	}
	path := r.URL.Path
	if r.Method == http.MethodPost && strings.Count(path, "/") == 4 {
		s.change(w, path)
		return
	}
	id, stream := strings.CutSuffix(strings.TrimPrefix(path, "/v1/orders/"), "/events")
	switch {
	case strings.HasPrefix(path, "/v1/tickets/"):
		s.ticket(w, path)
	case path == "/v1/restaurants":
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"id":"r"}`)
	case path == "/v1/consumers":
		s.addConsumer(w, r)
	case path == "/v1/orders":
		s.addOrder(w, r)
	case stream:
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: state\ndata: {\"state\":\"APPROVAL_PENDING\",\"lastRefusal\":\"of long ago\"}\n\nevent: state\ndata: %s\n\n", s.order(id))
	default:
		fmt.Fprint(w, s.order(id))
	}
}

// ticket answers GET /v1/tickets/{id}.
func (s *shop) ticket(w io.Writer, path string) {
	state := "AWAITING_ACCEPTANCE"
	if s.looks != nil {
		s.looks[path]++
	}
	if s.pending(path) {
		state = "CREATE_PENDING"
	}
	fmt.Fprintf(w, `{"state":%q}`, state)
}

// pending says that a ticket is not confirmed: it is at the second look.
func (s *shop) pending(ticket string) bool {
	return s.looks != nil && s.looks[ticket] < 2
}

func (s *shop) order(id string) string {
	state, refusal := s.state(id, s.rejected[id]), ""
	if s.cancelled[id] {
		state = "CANCELLED"
	}
	if s.refused[id] {
		refusal = `,"lastRefusal":"too late"`
	}
	return fmt.Sprintf(`{"id":%q,"state":%q%s}`, id, state, refusal)
}

// change answers POST /v1/orders/{id}/… and /v1/tickets/{id}/….
func (s *shop) change(w http.ResponseWriter, path string) {
	parts := strings.Split(path, "/")
	id, what := parts[3], parts[4]
	switch {
	case what == "accept" && s.pending("/v1/tickets/"+id):
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"status":409,"detail":"the ticket is CREATE_PENDING"}`)
		return
	case what == "accept", what == "preparing" && !s.prepared[id]:
		s.prepared[id] = what == "preparing"
	case what == "preparing", s.cancelled[id], s.rejected[id]:
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"status":409,"detail":"too late"}`)
		return
	default:
		s.refused[id] = s.prepared[id] && !s.stubborn
		s.cancelled[id] = what == "cancel" && !s.refused[id]
		w.WriteHeader(http.StatusAccepted)
	}
	fmt.Fprint(w, `{}`)
}

func (s *shop) addConsumer(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		CreditLimit string `json:"creditLimit"`
	}
	_ = json.NewDecoder(r.Body).Decode(&asked)
	s.consumed++
	id := fmt.Sprintf("c%d", s.consumed)
	s.poor[id] = asked.CreditLimit == "1.00"
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"id":%q}`, id)
}

func (s *shop) addOrder(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		ConsumerID   string `json:"consumerId"`
		Coordination string `json:"coordination"`
	}
	_ = json.NewDecoder(r.Body).Decode(&asked)
	key := r.Header.Get("Idempotency-Key")
	if s.keys[key] == "" {
		s.keys[key] = fmt.Sprintf("o%d", len(s.keys)+1)
		s.rejected[s.keys[key]] = s.poor[asked.ConsumerID]
		c := s.styles[asked.Coordination]
		c.orders++
		if s.poor[asked.ConsumerID] {
			c.rejected++
		}
		s.styles[asked.Coordination] = c
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"id":%q,"state":"APPROVAL_PENDING"}`, s.keys[key])
}

func place(t *testing.T, s *shop, patience time.Duration, plan load.Plan) load.Report {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	client, err := load.New(load.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := client.Prepare(ctx, plan.Orders); err != nil {
		t.Fatal(err)
	}
	report, err := client.Place(ctx, plan)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestTheShareOfDeclinesIsExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		orders   int
		rate     float64
		decline  float64
		rejected int
	}{{200, 0, 0.1, 20}, {200, 5000, 0.1, 20}, {7, 0, 0.5, 4}, {3, 0, 0, 0}, {3, 0, 1, 3}, {1000, 0, 0.001, 1}} {
		report := place(t, newShop(), time.Minute, load.Plan{Orders: c.orders, Rate: c.rate, Decline: c.decline})
		if !report.OK() || report.Rejected != c.rejected || report.Approved != c.orders-c.rejected || report.Latency.Max <= 0 {
			t.Errorf("%+v: %+v", c, report)
		}
	}
}

func TestTheSharesOfCancelsAndRevisionsAreExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		revise, cancel float64
		want           load.Changes
	}{
		{0, 0, load.Changes{}},
		{1, 0, load.Changes{Revised: 67, ReviseRefused: 33}},
		{0, 0.3, load.Changes{Cancelled: 20, CancelRefused: 10}},
		{1, 1, load.Changes{Revised: 67, ReviseRefused: 33, Cancelled: 67, CancelRefused: 33}},
	} {
		report := place(t, newShop(), time.Minute, load.Plan{Orders: 200, Decline: 0.5, Revise: c.revise, Cancel: c.cancel})
		if !report.OK() || report.Changes != c.want {
			t.Errorf("%+v: %+v", c, report)
		}
	}
	both := place(t, newShop(), time.Minute, load.Plan{Orders: 200, Revise: 0.25, Cancel: 0.25}).Changes
	// A third of 100 orders is refused; of the same 50 orders it would be two times 16.
	if both.Cancelled+both.CancelRefused != 50 || both.Revised+both.ReviseRefused != 50 || both.CancelRefused+both.ReviseRefused != 33 {
		t.Errorf("%+v", both)
	}
}

// Orders are spread evenly over the styles, and so is what becomes of them, whatever the shares.
func TestStylesHaveTheirShares(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		styles  string
		orders  int
		decline float64
	}{{"a", 40, 0.5}, {"a b", 200, 0.1}, {"a b", 40, 0.5}, {"a b", 2, 0.5}, {"a b c", 100, 0.25}, {"a b c", 200, 1}, {"a b c", 7, 0.3}} {
		styles := strings.Fields(c.styles)
		s := newShop()
		report := place(t, s, time.Minute, load.Plan{Orders: c.orders, Decline: c.decline, Revise: 0.5, Cancel: 0.5, Styles: styles})
		if !report.OK() || len(report.Styles) != len(styles) || (report.Coordination != "") != (len(styles) == 1) {
			t.Errorf("%+v: %+v", c, report)
		}
		orders, rejected, changed := 0, 0, load.Changes{}
		for i, o := range report.Styles {
			if seen := s.styles[o.Coordination]; o.Coordination != styles[i] || seen != (counts{o.Orders, o.Rejected}) || o.Accepted != o.Orders ||
				o.Rejected != o.ExpectedRejected || o.Approved != o.Orders-o.Rejected || o.Latency.Max <= 0 || o.AcceptLatency.Max <= 0 {
				t.Errorf("%+v: %+v, the server has seen %+v", c, o, seen)
			}
			if !fair(o.Orders, report.Orders, len(styles)) || !fair(o.Rejected, report.Rejected, len(styles)) {
				t.Errorf("%+v: not spread evenly: %+v", c, o)
			}
			if done := o.Cancelled + o.CancelRefused; done < o.Approved/2 || done > (o.Approved+1)/2 {
				t.Errorf("%+v: cancels are not spread evenly: %+v", c, o)
			}
			orders, rejected = orders+o.Orders, rejected+o.Rejected
			changed.Cancelled += o.Cancelled
			changed.CancelRefused += o.CancelRefused
			changed.Revised += o.Revised
			changed.ReviseRefused += o.ReviseRefused
		}
		if orders != report.Orders || rejected != report.Rejected || changed != report.Changes {
			t.Errorf("%+v: the styles do not add up to %+v", c, report)
		}
	}
}

// fair says that a part of the whole is that of one of so many.
func fair(part, whole, of int) bool { return part == whole/of || part == (whole+of-1)/of }

// In the choreography an order may be approved before its ticket is confirmed.
func TestATicketIsPreparedOnceItIsConfirmed(t *testing.T) {
	t.Parallel()
	s := newShop()
	s.looks = map[string]int{}
	report := place(t, s, time.Minute, load.Plan{Orders: 30, Cancel: 1})
	if !report.OK() || report.CancelRefused != 10 || len(s.looks) != 10 {
		t.Errorf("%d tickets were looked at: %+v", len(s.looks), report)
	}
}

// A cancel or a revision that the kitchen's work had to prevent, or did not, is named.
func TestWrongCancelsAndRevisionsAreNamed(t *testing.T) {
	t.Parallel()
	for _, plan := range []load.Plan{{Orders: 6, Cancel: 1}, {Orders: 6, Revise: 1}} {
		s := newShop()
		s.stubborn = true
		if report := place(t, s, time.Minute, plan); report.OK() || len(report.Wrong) != 2 {
			t.Errorf("not refused: %+v", report)
		}
		s = newShop()
		s.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			locked := strings.HasSuffix(r.URL.Path, "/cancel") || strings.HasSuffix(r.URL.Path, "/revise")
			if locked {
				w.WriteHeader(http.StatusConflict)
				fmt.Fprint(w, `{"status":409,"detail":"a saga holds it"}`)
			}
			return locked
		}
		if report := place(t, s, time.Minute, plan); report.OK() || len(report.Wrong) != 6 || !strings.Contains(fmt.Sprint(report.Failures), "a saga holds it") {
			t.Errorf("a lock that nobody may hold: %+v", report)
		}
	}
}

// Whatever fails in between, an order is placed once and its end is seen.
func TestFaultsAreSurvived(t *testing.T) {
	t.Parallel()
	kill := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	faults := map[string]func(int, http.ResponseWriter, *http.Request) bool{
		"a server that dies before it answers": func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n%3 == 0 {
				kill(w)
			}
			return false
		},
		"a service that is down": func(n int, w http.ResponseWriter, _ *http.Request) bool {
			if n%2 == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n%2 == 0
		},
		"a stream that breaks": func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/events") {
				fmt.Fprint(w, "event: state\ndata: {\"state\":\"APPROVAL_PEN")
				_ = http.NewResponseController(w).Flush()
				kill(w)
			}
			return false
		},
		"a stream that ends early": func(_ int, w http.ResponseWriter, r *http.Request) bool {
			early := strings.HasSuffix(r.URL.Path, "/events")
			if early {
				fmt.Fprint(w, "event: state\ndata: {\"state\":\"APPROVAL_PENDING\"}\n\n")
			}
			return early
		},
		"a replica that is behind": func(n int, w http.ResponseWriter, r *http.Request) bool {
			behind := r.URL.Path == "/v1/orders" && n%2 == 0
			if behind {
				w.WriteHeader(http.StatusUnprocessableEntity)
				fmt.Fprint(w, `{"status":422,"errors":[{"field":"consumerId","detail":"there is no such consumer"}]}`)
			}
			return behind
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop()
			s.fault = fault
			report := place(t, s, time.Minute, load.Plan{Orders: 40, Decline: 0.25, Revise: 0.5, Cancel: 0.5, Concurrency: 8})
			changed := report.Cancelled + report.CancelRefused + report.Revised + report.ReviseRefused
			if !report.OK() || len(s.keys) != 40 || report.Rejected != 10 || changed != 30 {
				t.Errorf("%d orders at the server, %+v", len(s.keys), report)
			}
		})
	}
}

func TestOrdersThatNeverEndAreNamed(t *testing.T) {
	t.Parallel()
	s := newShop()
	s.state = func(order string, rejected bool) string {
		if order == "o2" {
			return "APPROVAL_PENDING"
		}
		return truth(order, rejected)
	}
	report := place(t, s, time.Second, load.Plan{Orders: 5})
	if report.OK() || !slices.Equal(report.NeverEnded, []string{"o2"}) || report.Approved != 4 {
		t.Errorf("%+v", report)
	}
}

func TestWrongOutcomesAreNamed(t *testing.T) {
	t.Parallel()
	s := newShop()
	s.state = func(order string, rejected bool) string { return truth(order, rejected != (order == "o3")) }
	report := place(t, s, time.Minute, load.Plan{Orders: 5})
	if report.OK() || !slices.Equal(report.Wrong, []string{"o3"}) {
		t.Errorf("%+v", report)
	}
}

func TestOrdersThatAreRefusedAreToldOnce(t *testing.T) {
	t.Parallel()
	s := newShop()
	s.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/orders" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"status":422,"detail":"no","errors":[{"field":"coordination","detail":"does not work yet"}]}`)
		}
		return r.URL.Path == "/v1/orders"
	}
	report := place(t, s, time.Minute, load.Plan{Orders: 3})
	if report.OK() || report.Failed != 3 || report.Retries != 0 || !strings.Contains(report.Failures[0], "coordination does not work yet") {
		t.Errorf("%+v", report)
	}
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for _, plan := range []load.Plan{{}, {Orders: 1, Rate: -1}, {Orders: 1, Decline: 1.1}, {Orders: 1, Concurrency: -1}, {Orders: 1, Cancel: -0.1}, {Orders: 1, Revise: 2}} {
		if plan.Validate() == nil {
			t.Errorf("%+v", plan)
		}
	}
	for _, url := range []string{"", "here", "ftp://here", "http://"} {
		if _, err := load.New(load.Config{URL: url}); err == nil {
			t.Errorf("%q", url)
		}
	}
}
