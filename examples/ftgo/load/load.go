// Package load is a client of FTGO's public HTTP API: it creates consumers and
// restaurants, places orders, waits for each to end, and measures. It survives a server
// that is killed and started again: every request is repeated until it is answered, and an
// order keeps its idempotency key.
package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Config of a client; URL is required.
type Config struct {
	// URL of the gateway, for example http://127.0.0.1:8080.
	URL string
	// MaxOpen bounds the orders that are under way at one time, and with them the
	// connections. Defaults to 2,048.
	MaxOpen int
	// Watch, when set, is called every WatchEvery while orders are placed, and once at the end.
	Watch func(Counts)
	// WatchEvery defaults to one second.
	WatchEvery time.Duration
}

// Plan says which orders are placed, and how fast.
type Plan struct {
	// Orders is how many.
	Orders int
	// Rate in orders per second, however long the answers take. Zero means a closed loop:
	// the next order is placed when one of Concurrency has ended.
	Rate float64
	// Concurrency of the closed loop. Defaults to 64.
	Concurrency int
	// Decline is the share of orders whose card is declined, from 0 to 1, met exactly.
	Decline float64
	// Revise and Cancel are the shares of the approved orders that are then revised and cancelled,
	// from 0 to 1; an order may be revised first and then cancelled. A third of them are
	// prepared before that, so that they have to be refused.
	Revise, Cancel float64
	// Styles of coordination asked for, over which the orders are spread evenly; none leaves it to the
	// server. Revise and Cancel are shares of each style's orders.
	Styles []string
}

// Validate returns every fault at once.
func (p Plan) Validate() error {
	var faults []error
	if p.Orders < 1 {
		faults = append(faults, fmt.Errorf("load: %d orders: at least one is needed", p.Orders))
	}
	if p.Rate < 0 || math.IsNaN(p.Rate) || math.IsInf(p.Rate, 0) {
		faults = append(faults, fmt.Errorf("load: rate %v: orders per second, 0 for as fast as they end", p.Rate))
	}
	for _, share := range []struct {
		name string
		of   float64
	}{{"decline", p.Decline}, {"revise", p.Revise}, {"cancel", p.Cancel}} {
		if share.of < 0 || share.of > 1 || math.IsNaN(share.of) {
			faults = append(faults, fmt.Errorf("load: %s share %v: from 0 to 1", share.name, share.of))
		}
	}
	if p.Concurrency < 0 {
		faults = append(faults, fmt.Errorf("load: concurrency %d: at least 1", p.Concurrency))
	}
	return errors.Join(faults...)
}

// Two small shares of the same orders do not meet when they begin at different places.
const (
	evenly  = 0.5
	between = 0.25
)

// spread is how many of the first n are in a share, spread over all of them.
func spread(share float64, n int, phase float64) int {
	return int(math.Floor(float64(n)*share + phase))
}

// among says whether the one numbered i, from 0, is in the share.
func among(share float64, i int, phase float64) bool {
	return spread(share, i+1, phase) > spread(share, i, phase)
}

// style is the index of the style in which the order numbered i is placed. Orders to be declined are
// dealt out to the styles by themselves, and the others in the opposite direction, so that every style
// has its share of both.
func (p Plan) style(i int) int {
	declined := spread(p.Decline, i, evenly)
	if among(p.Decline, i, evenly) {
		return declined % len(p.Styles)
	}
	return len(p.Styles) - 1 - (i-declined)%len(p.Styles)
}

// Client places orders. Its methods are not safe for concurrent use.
type Client struct {
	config Config
	http   *http.Client
	shop   shop
	tally  tally
}

// New returns a client of the gateway at the configured address.
func New(config Config) (*Client, error) {
	u, err := url.Parse(config.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("load: %q is not the address of a server: http://HOST:PORT is expected", config.URL)
	}
	config.URL = u.Scheme + "://" + u.Host
	if config.MaxOpen == 0 {
		config.MaxOpen = 2048
	}
	if config.WatchEvery == 0 {
		config.WatchEvery = time.Second
	}
	return &Client{config: config, http: newHTTPClient(config.MaxOpen)}, nil
}

// Close gives the idle connections up.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Place places the plan's orders and waits until each has ended or ctx is over, which is
// no error: the report names the orders that did not end. Prepare comes first.
func (c *Client) Place(ctx context.Context, plan Plan) (Report, error) {
	if err := plan.Validate(); err != nil {
		return Report{}, err
	}
	if len(c.shop.restaurants) == 0 {
		return Report{}, errors.New("load: there is no restaurant to order from: Prepare comes first")
	}
	if plan.Concurrency == 0 {
		plan.Concurrency = 64
	}
	if len(plan.Styles) == 0 {
		plan.Styles = []string{""}
	}
	c.tally.reset(plan)
	stopWatching := c.watch(c.tally.counts)
	began := time.Now()
	if plan.Rate > 0 {
		c.openLoop(ctx, plan)
	} else {
		c.closedLoop(ctx, plan)
	}
	stopWatching()
	return c.tally.report(time.Since(began)), nil
}

func (c *Client) closedLoop(ctx context.Context, plan Plan) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(plan.Concurrency, plan.Orders, c.config.MaxOpen) {
		workers.Go(func() {
			for i := range next {
				c.order(ctx, plan, i, time.Now())
			}
		})
	}
	for i := 0; i < plan.Orders && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
}

// openLoop places orders when they are due. Latency counts from that moment, so that a
// server that stalls cannot hide it by slowing the client down.
func (c *Client) openLoop(ctx context.Context, plan Plan) {
	var open sync.WaitGroup
	room := make(chan struct{}, c.config.MaxOpen)
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range plan.Orders {
		due := began.Add(time.Duration(float64(i) / plan.Rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		open.Go(func() {
			c.order(ctx, plan, i, due)
			<-room
		})
	}
	open.Wait()
}

// watch reports the counts until the returned function is called.
func (c *Client) watch(counts func() Counts) (stop func()) {
	if c.config.Watch == nil {
		return func() {}
	}
	done, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		ticker := time.NewTicker(c.config.WatchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.config.Watch(counts())
			case <-done:
				c.config.Watch(counts())
				return
			}
		}
	}()
	return func() {
		close(done)
		<-finished
	}
}
