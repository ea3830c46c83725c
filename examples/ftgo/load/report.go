package load

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// Counts is how far the placing of orders has come.
type Counts struct {
	Orders   int // to be placed
	Accepted int
	Open     int // accepted and not ended
	Approved int
	Rejected int
	Failed   int // not accepted
	Retries  int
	Changes
}

// Changes counts what came of cancels and revisions of approved orders.
type Changes struct {
	Cancelled     int `json:"cancelled"`
	CancelRefused int `json:"cancelRefused"`
	Revised       int `json:"revised"`
	ReviseRefused int `json:"reviseRefused"`
}

// Report is what came of a plan.
type Report struct {
	Orders           int    `json:"orders"`
	Coordination     string `json:"coordination,omitempty"`
	Accepted         int    `json:"accepted"`
	Approved         int    `json:"approved"`
	Rejected         int    `json:"rejected"`
	ExpectedRejected int    `json:"expectedRejected"`
	Changes
	// NeverEnded are the orders that were accepted, or whose cancel or revision was, and not seen to
	// end.
	NeverEnded []string `json:"neverEnded"`
	// Wrong are the orders that ended otherwise than their consumer's credit says, or whose cancel
	// or revision did otherwise than their ticket says.
	Wrong []string `json:"wrong"`
	// Failed counts the orders that were not accepted, Failures says why, a few of them.
	Failed   int      `json:"failed"`
	Failures []string `json:"failures,omitempty"`
	// Retries counts requests that were repeated.
	Retries   int     `json:"retries"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"ordersPerSecond"`
	// Latency is from when an order was due to be placed until the client knew its end.
	Latency Latency `json:"latency"`
	// AcceptLatency is until the client had the server's 202.
	AcceptLatency Latency `json:"acceptLatency"`
}

// OK says that every order was accepted and ended as it had to.
func (r Report) OK() bool {
	return r.Approved+r.Rejected == r.Orders && r.Rejected == r.ExpectedRejected &&
		len(r.NeverEnded) == 0 && len(r.Wrong) == 0 && r.Failed == 0
}

// Latency in milliseconds.
type Latency struct {
	P50 float64 `json:"p50Ms"`
	P90 float64 `json:"p90Ms"`
	P99 float64 `json:"p99Ms"`
	Max float64 `json:"maxMs"`
}

func summarize(durations []time.Duration) Latency {
	if len(durations) == 0 {
		return Latency{}
	}
	slices.Sort(durations)
	at := func(share float64) float64 {
		i := min(int(share*float64(len(durations))), len(durations)-1)
		return float64(durations[i].Microseconds()) / 1000
	}
	return Latency{P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: at(1)}
}

const mostFailures = 10 // that are told in words

// tally collects outcomes. It is safe for concurrent use.
type tally struct {
	mu             sync.Mutex
	now            Counts
	toChange       int
	wrong, open    []string
	failures       []string
	accepts, sagas []time.Duration
}

func (t *tally) reset(orders int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now, t.toChange = Counts{Orders: orders}, 0
	t.wrong, t.open, t.failures = nil, nil, nil
	t.accepts, t.sagas = make([]time.Duration, 0, orders), make([]time.Duration, 0, orders)
}

func (t *tally) counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

func (t *tally) retried() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Retries++
}

func (t *tally) accepted(_ string, after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Accepted++
	t.now.Open++
	t.accepts = append(t.accepts, after)
}

func (t *tally) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Failed++
	t.tell(err)
}

func (t *tally) neverEnded(id string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = append(t.open, id)
	t.tell(err)
}

func (t *tally) tell(err error) {
	if len(t.failures) < mostFailures {
		t.failures = append(t.failures, err.Error())
	}
}

// ended returns how many orders were approved before.
func (t *tally) ended(id, state string, declined bool, after time.Duration) (approved int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Open--
	t.sagas = append(t.sagas, after)
	approved = t.now.Approved
	switch state {
	case stateApproved:
		t.now.Approved++
	case stateRejected:
		t.now.Rejected++
	}
	if declined != (state == stateRejected) {
		t.wrong = append(t.wrong, id)
	}
	return approved
}

// changing returns how many orders are changed, with this one.
func (t *tally) changing() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.toChange++
	return t.toChange
}

// changed counts what came of a cancel or a revision of an order. It is refused if the kitchen
// had prepared the order.
func (t *tally) changed(order orderState, s step, prepared bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	done, refused := s.counted(&t.now.Changes)
	end := s.end
	if order.LastRefusal != "" {
		done, end = refused, stateApproved
	}
	*done++
	if prepared != (order.LastRefusal != "") || order.State != end {
		t.wrong = append(t.wrong, order.ID)
	}
}

// notChanged tells of an order whose cancel or revision was not accepted, though it had to be, or
// did not end.
func (t *tally) notChanged(id string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var refused *refusedError
	switch {
	case err == nil:
		return
	case errors.As(err, &refused):
		t.wrong = append(t.wrong, id)
	default:
		t.open = append(t.open, id)
	}
	t.tell(err)
}

func (t *tally) report(plan Plan, took time.Duration) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Orders that were never tried because time ran out count as not accepted.
	failed := plan.Orders - t.now.Accepted
	return Report{
		Orders: plan.Orders, Coordination: plan.Coordination, Accepted: t.now.Accepted,
		Approved: t.now.Approved, Rejected: t.now.Rejected, ExpectedRejected: spread(plan.Decline, plan.Orders, evenly),
		Changes:    t.now.Changes,
		NeverEnded: append([]string{}, t.open...), Wrong: append([]string{}, t.wrong...),
		Failed: failed, Failures: t.failures, Retries: t.now.Retries,
		Seconds: took.Seconds(), PerSecond: float64(len(t.sagas)) / took.Seconds(),
		Latency: summarize(t.sagas), AcceptLatency: summarize(t.accepts),
	}
}
