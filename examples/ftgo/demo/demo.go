// Package demo shows FTGO in one process: it starts every service on the embedded default,
// places orders over HTTP as any client does, measures, and verifies the invariants on the
// databases that this left behind.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/skald-go/skald/examples/ftgo/app"
	"github.com/skald-go/skald/examples/ftgo/check"
	"github.com/skald-go/skald/examples/ftgo/load"
)

// Config of a demonstration; its zero value is no useful one: see the command's defaults.
type Config struct {
	// Orders of each style.
	Orders int
	// Decline is the share of orders whose card is declined.
	Decline float64
	// Styles of coordination to show.
	Styles []string
	// Concurrency is how many orders are open at one time.
	Concurrency int
	// Timeout bounds each phase of placing orders.
	Timeout time.Duration
	// Watch is told what goes on.
	Watch Watch
	// Stay, when set, is called once everything is measured and checked; the services go on
	// until it returns.
	Stay func(ctx context.Context, report Report, url string)
	// Logger of the services.
	Logger *slog.Logger
}

// Watch follows a demonstration.
type Watch interface {
	// Phase begins one, of so many orders.
	Phase(name string, orders int)
	// Counts tells how far it is.
	Counts(load.Counts)
	// Done ends it.
	Done()
}

// Report is what a demonstration found.
type Report struct {
	OK bool `json:"ok"`
	// Styles has the orders asked for, as fast as they end.
	Styles []load.Report `json:"styles"`
	// HalfLoad has as many orders of the first style again, at half of its rate.
	HalfLoad load.Report `json:"halfLoad"`
	// Changed has as many once more, of all styles, some of which are then revised and cancelled.
	Changed load.Report `json:"changed"`
	// Lone has orders of the first style placed one at a time, nothing else running.
	Lone load.Report `json:"lone"`
	// Check is the verdict over all of them.
	Check check.Report `json:"check"`
}

const (
	loneOrders = 20
	// changed is the share of the approved orders that are revised, and of those that are cancelled,
	// where any are.
	changed = 0.25
	// halfLoadSeconds bounds the phase at half load.
	halfLoadSeconds = 5
	// settling is how long the last sagas may take to end after the orders they are about.
	settling = 15 * time.Second
)

// Run runs the demonstration. Its error says why it could not be finished; what it found to
// be wrong is in the report.
func Run(ctx context.Context, config Config) (report Report, err error) {
	folder, err := os.MkdirTemp("", "ftgo-demo-*")
	if err != nil {
		return report, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	services, err := app.New(ctx, app.Config{Data: folder, Addr: "127.0.0.1:0", Logger: config.Logger})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, services.Close()) }()

	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan error, 1)
	go func() {
		ended := services.Run(running)
		failed(ended)
		stopped <- ended
	}()
	err = report.measure(ctx, config, services.URL())
	if err == nil {
		report.Check, err = check.Settled(ctx, services.Databases(), settling)
	}
	report.judge()
	if err == nil && config.Stay != nil {
		config.Stay(ctx, report, services.URL())
	}
	stop()
	return report, errors.Join(err, <-stopped)
}

func (r *Report) judge() {
	r.OK = r.HalfLoad.OK() && r.Changed.OK() && r.Lone.OK() && r.Check.OK()
	for _, style := range r.Styles {
		r.OK = r.OK && style.OK()
	}
}

func (r *Report) measure(ctx context.Context, config Config, url string) error {
	client, err := load.New(load.Config{URL: url, Watch: config.Watch.Counts, WatchEvery: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	defer client.Close()
	place := func(name string, plan load.Plan) (load.Report, error) {
		ctx, cancel := context.WithTimeout(ctx, config.Timeout)
		defer cancel()
		config.Watch.Phase(name, plan.Orders)
		defer config.Watch.Done()
		placed, err := client.Place(ctx, plan)
		if err == nil {
			err = notByTimeout(ctx)
		}
		return placed, err
	}
	preparing, cancel := context.WithTimeout(ctx, config.Timeout)
	defer cancel()
	if err := client.Prepare(preparing, (len(config.Styles)+2)*config.Orders+loneOrders); err != nil {
		return err
	}
	for _, style := range config.Styles {
		placed, err := place(style, load.Plan{
			Orders: config.Orders, Decline: config.Decline, Styles: []string{style}, Concurrency: config.Concurrency,
		})
		r.Styles = append(r.Styles, placed)
		if err != nil {
			return err
		}
	}
	half := max(r.Styles[0].PerSecond/2, 1)
	r.HalfLoad, err = place("half load", load.Plan{
		Orders: max(min(config.Orders, int(half*halfLoadSeconds)), 1), Rate: half, Decline: config.Decline, Styles: config.Styles[:1],
	})
	if err != nil {
		return err
	}
	r.Changed, err = place("some changed", load.Plan{
		Orders: config.Orders, Decline: config.Decline, Revise: changed, Cancel: changed,
		Styles: config.Styles, Concurrency: config.Concurrency,
	})
	if err != nil {
		return err
	}
	r.Lone, err = place("one at a time", load.Plan{Orders: loneOrders, Concurrency: 1, Styles: config.Styles[:1]})
	return err
}

// notByTimeout is why a phase was given up, unless it simply took too long, which its
// report says.
func notByTimeout(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("given up: %w", cause)
	}
	return nil
}
