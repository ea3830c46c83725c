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

	// Of a hot plan: the requests made, and those that were conflicts.
	Asked, Conflicts int
}

// Done is how many of the orders have ended, or how many of a hot plan's requests are made.
func (c Counts) Done() int { return c.Approved + c.Rejected + c.Asked }

// Changes counts what came of cancels and revisions of approved orders.
type Changes struct {
	Cancelled     int `json:"cancelled"`
	CancelRefused int `json:"cancelRefused"`
	Revised       int `json:"revised"`
	ReviseRefused int `json:"reviseRefused"`
}

func (c *Changes) add(more Changes) {
	c.Cancelled += more.Cancelled
	c.CancelRefused += more.CancelRefused
	c.Revised += more.Revised
	c.ReviseRefused += more.ReviseRefused
}

// Outcome is what came of orders.
type Outcome struct {
	Orders int `json:"orders"`
	// Coordination asked for; empty if it was left to the server, and for orders of several styles.
	Coordination     string `json:"coordination,omitempty"`
	Accepted         int    `json:"accepted"`
	Approved         int    `json:"approved"`
	Rejected         int    `json:"rejected"`
	ExpectedRejected int    `json:"expectedRejected"`
	Changes
	// Latency is from when an order was due to be placed until the client knew its end.
	Latency Latency `json:"latency"`
	// AcceptLatency is until the client had the server's 202.
	AcceptLatency Latency `json:"acceptLatency"`
}

// Report is what came of a plan.
type Report struct {
	Outcome
	// Styles has the outcome of each style's orders.
	Styles []Outcome `json:"styles"`
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
	mu          sync.Mutex
	now         Counts
	styles      []styleTally // in the plan's order
	wrong, open []string
	failures    []string
}

// styleTally collects the outcomes of one style's orders.
type styleTally struct {
	Outcome
	toChange       int
	accepts, sagas []time.Duration
}

func (t *tally) reset(plan Plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = Counts{Orders: plan.Orders}
	t.wrong, t.open, t.failures = nil, nil, nil
	t.styles = make([]styleTally, len(plan.Styles))
	for i, name := range plan.Styles {
		t.styles[i].Coordination = name
	}
	for i := range plan.Orders {
		of := &t.styles[plan.style(i)]
		of.Orders++
		if among(plan.Decline, i, evenly) {
			of.ExpectedRejected++
		}
	}
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

func (t *tally) accepted(style int, after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := &t.styles[style]
	of.Accepted++
	of.accepts = append(of.accepts, after)
	t.now.Accepted++
	t.now.Open++
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

// ended returns how many orders of the style were approved before.
func (t *tally) ended(style int, id, state string, declined bool, after time.Duration) (approved int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := &t.styles[style]
	of.sagas = append(of.sagas, after)
	approved = of.Approved
	t.now.Open--
	switch state {
	case stateApproved:
		of.Approved++
		t.now.Approved++
	case stateRejected:
		of.Rejected++
		t.now.Rejected++
	}
	if declined != (state == stateRejected) {
		t.wrong = append(t.wrong, id)
	}
	return approved
}

// changing returns how many orders of the style are changed, with this one.
func (t *tally) changing(style int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.styles[style].toChange++
	return t.styles[style].toChange
}

// changed counts what came of a cancel or a revision of an order. It is refused if the kitchen
// had prepared the order.
func (t *tally) changed(style int, order orderState, s step, prepared bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	done, refused := s.counted(&t.styles[style].Changes)
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

func (t *tally) report(took time.Duration) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := styleTally{}
	styles := make([]Outcome, len(t.styles))
	for i, of := range t.styles {
		styles[i] = of.outcome()
		all.add(of)
	}
	if len(styles) == 1 {
		all.Coordination = styles[0].Coordination
	}
	return Report{
		Outcome: all.outcome(), Styles: styles,
		NeverEnded: append([]string{}, t.open...), Wrong: append([]string{}, t.wrong...),
		// Orders that were never tried because time ran out count as not accepted.
		Failed: all.Orders - all.Accepted, Failures: t.failures, Retries: t.now.Retries,
		Seconds: took.Seconds(), PerSecond: float64(len(all.sagas)) / took.Seconds(),
	}
}

func (t *styleTally) add(of styleTally) {
	t.Orders += of.Orders
	t.Accepted += of.Accepted
	t.Approved += of.Approved
	t.Rejected += of.Rejected
	t.ExpectedRejected += of.ExpectedRejected
	t.Changes.add(of.Changes)
	t.accepts = append(t.accepts, of.accepts...)
	t.sagas = append(t.sagas, of.sagas...)
}

func (t *styleTally) outcome() Outcome {
	o := t.Outcome
	o.Latency, o.AcceptLatency = summarize(t.sagas), summarize(t.accepts)
	return o
}
