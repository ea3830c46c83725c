package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/skald-go/skald"
)

// HotPlan has many want the same few orders: they are created, revised and cancelled at once, and most are told that somebody else
// holds the order. One that is over gives way to a new one. Menus change meanwhile.
type HotPlan struct {
	// Orders is how many there are at one time.
	Orders int
	// Requests is how many are made, unless For says how long they are made.
	Requests int
	For      time.Duration
	// Concurrency is how many are made at one time. Defaults to 64.
	Concurrency int
	// Cancel is the share of requests that cancel an order; the others revise it, or have the kitchen accept it. Defaults to a
	// quarter.
	Cancel float64
	// Decline is the share of orders whose card is declined.
	Decline float64
	// Styles of coordination of the orders; none leaves it to the server.
	Styles []string
}

// Validate returns every fault at once.
func (p HotPlan) Validate() error {
	var faults []error
	if p.Orders < 1 {
		faults = append(faults, fmt.Errorf("load: %d hot orders: at least one is needed", p.Orders))
	}
	if p.Requests < 1 && p.For <= 0 || p.For < 0 {
		faults = append(faults, fmt.Errorf("load: %d requests in %s: some are needed", p.Requests, p.For))
	}
	shares := Plan{Orders: 1, Concurrency: p.Concurrency, Decline: p.Decline, Cancel: p.Cancel}
	return errors.Join(append(faults, shares.Validate())...)
}

// HotReport is what came of a hot plan.
type HotReport struct {
	HotOrders int `json:"hotOrders"`
	Requests  int `json:"requests"`
	// What was accepted.
	Created   int `json:"created"`
	Cancels   int `json:"cancels"`
	Revisions int `json:"revisions"`
	Taken     int `json:"taken"` // by the kitchen
	// Conflicts were answered with 409: somebody held the order, or it was over.
	Conflicts int `json:"conflicts"`
	// NeverEnded are the orders on which a saga was seen to run to the end.
	NeverEnded []string `json:"neverEnded"`
	// Wrong are the orders that were approved or rejected otherwise than their consumer's credit says.
	Wrong []string `json:"wrong"`
	// Failed counts requests that were answered otherwise than they may be, Failures says how, a few of them.
	Failed   int      `json:"failed"`
	Failures []string `json:"failures,omitempty"`
	// Retries counts requests that were repeated.
	Retries int     `json:"retries"`
	Seconds float64 `json:"seconds"`
	// Latency is from a request that was accepted until nobody held the order.
	Latency Latency `json:"latency"`
}

// OK says that every answer was one that may be, and every order ended.
func (r HotReport) OK() bool { return len(r.NeverEnded) == 0 && len(r.Wrong) == 0 && r.Failed == 0 }

// String is a line for people.
func (r HotReport) String() string {
	return fmt.Sprintf("%d requests on %d hot orders: %d created, %d cancels, %d revisions, %d taken by the kitchen, %d conflicts; %d repeated",
		r.Requests, r.HotOrders, r.Created, r.Cancels, r.Revisions, r.Taken, r.Conflicts, r.Retries)
}

// hot is a plan under way. It is safe for concurrent use.
type hot struct {
	client *Client
	plan   HotPlan
	places []hotPlace
	until  time.Time // zero: when all requests are made

	mu     sync.Mutex
	report HotReport
	took   []time.Duration
}

// hotPlace is where one hot order is after the other.
type hotPlace struct {
	mu sync.Mutex
	id string // empty: the next one is still to be created
}

// Heat works the plan off, or until ctx ends, which is no error: the report names the orders that did not end. Prepare comes
// first.
func (c *Client) Heat(ctx context.Context, plan HotPlan) (HotReport, error) {
	if err := plan.Validate(); err != nil {
		return HotReport{}, err
	}
	if len(c.shop.restaurants) == 0 {
		return HotReport{}, errors.New("load: there is no restaurant to order from: Prepare comes first")
	}
	if plan.Concurrency == 0 {
		plan.Concurrency = 64
	}
	if plan.Cancel == 0 {
		plan.Cancel = 0.25
	}
	if len(plan.Styles) == 0 {
		plan.Styles = []string{""}
	}
	c.tally.reset(Plan{})
	began := time.Now()
	h := &hot{client: c, plan: plan, places: make([]hotPlace, plan.Orders), report: HotReport{HotOrders: plan.Orders, NeverEnded: []string{}, Wrong: []string{}}}
	if plan.For > 0 {
		h.until = began.Add(plan.For)
	}
	stopWatching := c.watch(h.counts)
	var workers sync.WaitGroup
	for range min(plan.Concurrency, c.config.MaxOpen) {
		workers.Go(func() {
			for n, more := h.next(ctx); more; n, more = h.next(ctx) {
				h.ask(ctx, n)
			}
		})
	}
	workers.Wait()
	stopWatching()
	h.report.Retries, h.report.Seconds, h.report.Latency = c.tally.counts().Retries, time.Since(began).Seconds(), summarize(h.took)
	return h.report, nil
}

// next numbers a request, from 0.
func (h *hot) next(ctx context.Context) (n int, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil || h.until.IsZero() && h.report.Requests == h.plan.Requests || !h.until.IsZero() && time.Now().After(h.until) {
		return 0, false
	}
	h.report.Requests++
	return h.report.Requests - 1, true
}

// counts is how far it is: in requests, or in seconds.
func (h *hot) counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := Counts{Orders: h.plan.Requests, Asked: h.report.Requests, Conflicts: h.report.Conflicts, Failed: h.report.Failed}
	if left := time.Until(h.until); !h.until.IsZero() {
		c.Orders, c.Asked = int(h.plan.For.Seconds()), int((h.plan.For - max(left, 0)).Seconds())
	}
	c.Accepted = h.report.Created + h.report.Cancels + h.report.Revisions + h.report.Taken
	return c
}

// menuEvery is after how many requests a menu changes: who revises an order by the old one has to start again.
const menuEvery = 20

// ask makes a request about one of the orders, and waits until nobody holds that.
func (h *hot) ask(ctx context.Context, n int) {
	if n%menuEvery == menuEvery-1 {
		h.settle("", h.client.reprice(ctx, n))
	}
	place := &h.places[rand.N(len(h.places))]
	began := time.Now()
	id, created, err := h.orderAt(ctx, place, n)
	if err != nil {
		h.settle("", err)
		return
	}
	accepted := true
	if !created {
		accepted, err = h.change(ctx, id, n)
	}
	if err != nil {
		h.settle(id, err)
		return
	}
	state, err := h.client.await(ctx, id)
	if err != nil {
		h.neverEnded(id, err)
		return
	}
	if state.State != stateApproved {
		place.over(id)
	}
	if accepted {
		h.mu.Lock()
		h.took = append(h.took, time.Since(began))
		h.mu.Unlock()
	}
	if created && (state.State == stateRejected) != among(h.plan.Decline, n, evenly) {
		h.mu.Lock()
		h.report.Wrong = append(h.report.Wrong, id)
		h.mu.Unlock()
	}
}

// orderAt returns the order at a place, created if need be.
func (h *hot) orderAt(ctx context.Context, p *hotPlace, n int) (id string, created bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id != "" {
		return p.id, false, nil
	}
	var placed orderState
	plan := Plan{Decline: h.plan.Decline, Styles: h.plan.Styles}
	body := h.client.content(plan, n%len(plan.Styles), n)
	if err := h.client.post(ctx, "/v1/orders", jsonHeader(skald.NewID().String()), body, &placed); err != nil {
		return "", false, err
	}
	p.id = placed.ID
	h.mu.Lock()
	h.report.Created++
	h.mu.Unlock()
	return p.id, true, nil
}

func (p *hotPlace) over(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id == id {
		p.id = ""
	}
}

// acceptEvery is which of the requests the kitchen makes.
const acceptEvery = 10

// change asks for a change of an order, and is false for a conflict.
func (h *hot) change(ctx context.Context, id string, n int) (accepted bool, err error) {
	path, body, counted := "/v1/orders/"+id+"/revise", revising(n+rand.N(3)).body, &h.report.Revisions
	kitchen := n%acceptEvery == 0
	switch {
	case kitchen:
		path, body, counted = "/v1/tickets/"+id+"/accept", nil, &h.report.Taken
	case among(h.plan.Cancel, n, between):
		path, body, counted = "/v1/orders/"+id+"/cancel", nil, &h.report.Cancels
	}
	var answer struct{}
	err = h.client.post(ctx, path, jsonHeader(""), body, &answer)
	var refused *refusedError
	if errors.As(err, &refused) && (refused.status == http.StatusConflict || kitchen && refused.status == http.StatusNotFound) {
		err, counted = nil, &h.report.Conflicts // there may be no ticket yet
	}
	if err != nil {
		return false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	*counted++
	return refused == nil, nil
}

// settle takes the error of a request about an order, if it is about one. Without an answer in time nobody knows what came of it.
func (h *hot) settle(id string, err error) {
	var refused *refusedError
	switch {
	case err == nil:
		return
	case !errors.As(err, &refused) && id != "":
		h.neverEnded(id, err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.report.Failed++
	h.tell(err)
}

func (h *hot) neverEnded(id string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.report.NeverEnded, id) {
		h.report.NeverEnded = append(h.report.NeverEnded, id)
	}
	h.tell(err)
}

func (h *hot) tell(err error) {
	if len(h.report.Failures) < mostFailures {
		h.report.Failures = append(h.report.Failures, err.Error())
	}
}

// reprice gives a restaurant another menu: the same dishes, at other prices.
func (c *Client) reprice(ctx context.Context, n int) error {
	dearer := slices.Clone(menu)
	dearer[0].Price = "7." + strconv.Itoa(10+n/menuEvery%80)
	restaurant := c.shop.restaurants[rand.N(len(c.shop.restaurants))]
	var answer struct{}
	return c.send(ctx, http.MethodPut, "/v1/restaurants/"+restaurant+"/menu", jsonHeader(""), mustJSON(map[string]any{"menu": dearer}), &answer)
}
