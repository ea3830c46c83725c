package load_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald/examples/ftgo/load"
)

// counted counts a shop's answers by what was asked for and the status, and makes some conflicts of its own.
type counted struct {
	*shop

	mu      sync.Mutex
	answers map[string]int
	changes int
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := r.Method + " " + r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := httptest.NewRecorder()
	if change := strings.Count(r.URL.Path, "/") == 4 && r.Method == http.MethodPost; change {
		c.changes++
		if c.changes%3 == 0 {
			answer.WriteHeader(http.StatusConflict)
		}
	}
	if answer.Code == http.StatusOK {
		c.shop.ServeHTTP(answer, r)
	}
	c.answers[fmt.Sprintf("%s %d", what, answer.Code)]++
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func heat(t *testing.T, c *counted, patience time.Duration, plan load.HotPlan) load.HotReport {
	t.Helper()
	c.answers = map[string]int{}
	server := httptest.NewServer(c)
	defer server.Close()
	client, err := load.New(load.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := client.Prepare(ctx, plan.Requests); err != nil {
		t.Fatal(err)
	}
	report, err := client.Heat(ctx, plan)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestHotOrdersAreWantedByMany(t *testing.T) {
	t.Parallel()
	c := &counted{shop: newShop()}
	r := heat(t, c, time.Minute, load.HotPlan{Orders: 3, Requests: 400, Decline: 0.1})
	conflicts := 0
	for answer, n := range c.answers {
		if strings.HasSuffix(answer, " 409") {
			conflicts += n
		}
	}
	if !r.OK() || r.Requests != 400 || r.Created+r.Cancels+r.Revisions+r.Taken+r.Conflicts != 400 || r.Conflicts != conflicts ||
		r.Created != c.answers["POST orders 202"] || r.Cancels != c.answers["POST cancel 202"] || r.Revisions != c.answers["POST revise 202"] ||
		r.Taken != c.answers["POST accept 200"] || c.answers["PUT menu 200"] != 20 || r.Latency.Max <= 0 {
		t.Errorf("%s, wrong %v, failures %q, answers %v", r, r.Wrong, r.Failures, c.answers)
	}
	if min(r.Created, r.Cancels, r.Revisions, r.Taken, r.Conflicts) < 10 {
		t.Errorf("too little of something: %s", r)
	}
}

func TestHotRequestsAreMadeForAWhile(t *testing.T) {
	t.Parallel()
	const long = 300 * time.Millisecond
	r := heat(t, &counted{shop: newShop()}, time.Minute, load.HotPlan{Orders: 2, For: long, Concurrency: 4})
	if !r.OK() || r.Requests == 0 || r.Seconds < long.Seconds() || r.Seconds > 20*long.Seconds() {
		t.Errorf("%+v", r)
	}
}

// Orders that nobody leaves, that end otherwise than they have to, and answers that may not be are named.
func TestWhatGoesWrongOnHotOrdersIsNamed(t *testing.T) {
	t.Parallel()
	held := &counted{shop: newShop()}
	held.state = func(string, bool) string { return "REVISION_PENDING" }
	held.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/cancel") {
			w.WriteHeader(http.StatusConflict)
			return true
		}
		return false
	}
	if r := heat(t, held, 200*time.Millisecond, load.HotPlan{Orders: 2, Requests: 50}); r.OK() || len(r.NeverEnded) != 2 || len(r.Failures) == 0 {
		t.Errorf("held: %+v", r)
	}
	generous := &counted{shop: newShop()}
	generous.state = func(string, bool) string { return "APPROVED" }
	if r := heat(t, generous, time.Minute, load.HotPlan{Orders: 2, Requests: 50, Decline: 1}); r.OK() || len(r.Wrong) != r.Created {
		t.Errorf("generous: %+v", r)
	}
	rude := &counted{shop: newShop()}
	rude.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/revise") {
			w.WriteHeader(http.StatusGone)
			return true
		}
		return false
	}
	r := heat(t, rude, time.Minute, load.HotPlan{Orders: 2, Requests: 50})
	if r.OK() || r.Failed == 0 || r.Revisions != 0 || !slices.ContainsFunc(r.Failures, func(f string) bool { return strings.Contains(f, "410 Gone") }) {
		t.Errorf("rude: %+v", r)
	}
}

func TestAHotPlanIsChecked(t *testing.T) {
	t.Parallel()
	for _, p := range []load.HotPlan{{Requests: 1}, {Orders: 1}, {Orders: 1, For: -1}, {Orders: 1, Requests: 1, Cancel: 2}, {Orders: 1, Requests: 1, Concurrency: -1}} {
		if p.Validate() == nil {
			t.Errorf("%+v", p)
		}
	}
}
