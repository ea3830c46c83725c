package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/load"
)

type loadFlags struct {
	outputFlag
	coordinationFlag

	addr    string
	plan    load.Plan
	hot     int
	hotFor  time.Duration
	timeout time.Duration
}

func newLoad() *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Place orders at a running server, wait for each to end, and measure",
		Long: "Place orders at a running server, wait for each to end, and measure. A server that is killed and started\n" +
			"again is waited for: requests are repeated, and an order keeps its idempotency key.\n\n" +
			"With --hot 10 all want the same ten orders: each of --orders requests creates one in place of one that is over,\n" +
			"revises one, cancels one, or has the kitchen accept one, while menus change. Who is told that somebody else\n" +
			"holds the order (409) is counted.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", "http://127.0.0.1:8080", "address of the server")
	flags.IntVar(&f.plan.Orders, "orders", 200, "orders to place")
	flags.Float64Var(&f.plan.Rate, "rate", 0, "orders per second; 0: the next is placed when one has ended")
	flags.IntVar(&f.plan.Concurrency, "concurrency", 64, "orders that are open at one time when there is no rate")
	flags.Float64Var(&f.plan.Decline, "decline", 0, "share of orders whose card is declined")
	flags.Float64Var(&f.plan.Revise, "revise", 0, "share of the approved orders that are then revised")
	flags.Float64Var(&f.plan.Cancel, "cancel", 0, "share of the approved orders that are then cancelled")
	f.coordinationFlag.register(flags, orderapi.Orchestration, "how the services are coordinated")
	flags.IntVar(&f.hot, "hot", 0, "orders on which all requests are made, --orders of them; 0: every order is created, and changed by one")
	flags.DurationVar(&f.hotFor, "for", 0, "with --hot, how long requests are made, in place of --orders")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Minute, "when what has not ended is given up")
	f.outputFlag.register(flags)
	return cmd
}

func (f *loadFlags) check() error {
	faults := []error{f.outputFlag.check(), f.coordinationFlag.check()}
	validate := f.plan.Validate
	if f.hot != 0 {
		validate = f.hotPlan().Validate
	}
	if err := validate(); err != nil {
		faults = append(faults, usageError{err})
	}
	if f.hot == 0 && f.hotFor != 0 {
		faults = append(faults, usageError{errors.New("--for is for --hot: name the number of hot orders too")})
	}
	if f.hot != 0 && (f.plan.Rate != 0 || f.plan.Revise != 0) {
		faults = append(faults, usageError{errors.New("--rate and --revise are not for --hot: requests are made as fast as they are answered, and what cancels nothing revises")})
	}
	return errors.Join(faults...)
}

func (f *loadFlags) hotPlan() load.HotPlan {
	return load.HotPlan{
		Orders: f.hot, Requests: f.plan.Orders, For: f.hotFor, Concurrency: f.plan.Concurrency, Cancel: f.plan.Cancel, Decline: f.plan.Decline, Styles: f.styles(),
	}
}

func (f *loadFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	if !strings.Contains(f.addr, "://") {
		f.addr = "http://" + f.addr
	}
	if f.hot != 0 {
		return f.heat(cmd)
	}
	client, err := load.New(load.Config{URL: f.addr, Watch: func(c load.Counts) { printCounts(cmd.ErrOrStderr(), c) }})
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	if err := client.Prepare(ctx, f.plan.Orders); err != nil {
		return err
	}
	f.plan.Styles = f.styles()
	report, err := client.Place(ctx, f.plan)
	if err != nil {
		return err
	}
	if f.json {
		err = printJSON(cmd.OutOrStdout(), report)
	} else {
		printLoad(cmd.OutOrStdout(), report)
	}
	if err == nil && !report.OK() {
		err = errFound
	}
	return err
}

// heat is run on hot orders.
func (f *loadFlags) heat(cmd *cobra.Command) error {
	of, steps := "requests", f.plan.Orders
	if f.hotFor > 0 {
		of, steps = "seconds", int(f.hotFor.Seconds())
	}
	progress := newProgress(cmd.ErrOrStderr(), of)
	client, err := load.New(load.Config{URL: f.addr, Watch: progress.Counts, WatchEvery: 100 * time.Millisecond})
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout+f.hotFor)
	defer cancel()
	if err := client.Prepare(ctx, f.plan.Orders); err != nil {
		return err
	}
	progress.Phase("hot orders", steps)
	report, err := client.Heat(ctx, f.hotPlan())
	progress.Done()
	if err != nil {
		return err
	}
	if f.json {
		err = printJSON(cmd.OutOrStdout(), report)
	} else {
		printHot(cmd.OutOrStdout(), report)
	}
	if err == nil && !report.OK() {
		err = errFound
	}
	return err
}

func printHot(out io.Writer, r load.HotReport) {
	fmt.Fprintf(out, "hot       %s\n", r)
	fmt.Fprintf(out, "took      %.2f s, %.0f requests/s\n", r.Seconds, float64(r.Requests)/r.Seconds)
	fmt.Fprintf(out, "accepted  and ended: p50 %s, p90 %s, p99 %s, slowest %s\n", ms(r.Latency.P50), ms(r.Latency.P90), ms(r.Latency.P99), ms(r.Latency.Max))
	printFaults(out, load.Report{NeverEnded: r.NeverEnded, Wrong: r.Wrong, Failures: r.Failures})
	if r.Failed > 0 {
		fmt.Fprintf(out, "answered otherwise than they may be: %d requests\n", r.Failed)
	}
}

func printCounts(out io.Writer, c load.Counts) {
	fmt.Fprintf(out, "accepted %d of %d, open %d, approved %d, rejected %d, requests repeated %d\n",
		c.Accepted, c.Orders, c.Open, c.Approved, c.Rejected, c.Retries)
}

func printLoad(out io.Writer, r load.Report) {
	fmt.Fprintf(out, "orders    %d placed, %d accepted, %d approved, %d rejected (%d expected)\n", r.Orders, r.Accepted, r.Approved, r.Rejected, r.ExpectedRejected)
	fmt.Fprintf(out, "changed   %s\n", changes(r.Changes))
	fmt.Fprintf(out, "took      %.2f s, %.0f orders/s\n", r.Seconds, r.PerSecond)
	fmt.Fprintf(out, "ended     p50 %s, p90 %s, p99 %s, slowest %s after being placed\n", ms(r.Latency.P50), ms(r.Latency.P90), ms(r.Latency.P99), ms(r.Latency.Max))
	fmt.Fprintf(out, "accepted  p50 %s, p99 %s\n", ms(r.AcceptLatency.P50), ms(r.AcceptLatency.P99))
	fmt.Fprintf(out, "requests  %d repeated\n", r.Retries)
	printStyles(out, r.Styles)
	printFaults(out, r)
}

// printStyles compares the styles, where there is more than one.
func printStyles(out io.Writer, styles []load.Outcome) {
	if len(styles) < 2 {
		return
	}
	rows := make([][]string, len(styles))
	for i, o := range styles {
		rows[i] = append(counts(o), ms(o.Latency.P50), ms(o.Latency.P99), changes(o.Changes))
	}
	printTable(out, []string{"", "orders", "approved", "rejected", "never ended", "p50", "p99", "changed"}, rows)
}

// counts are the first columns of an outcome's row.
func counts(o load.Outcome) []string {
	return []string{o.Coordination, fmt.Sprint(o.Orders), fmt.Sprint(o.Approved), fmt.Sprint(o.Rejected), fmt.Sprint(o.Accepted - o.Approved - o.Rejected)}
}

func changes(c load.Changes) string {
	return fmt.Sprintf("%d cancelled, %d cancels refused, %d revised, %d revisions refused", c.Cancelled, c.CancelRefused, c.Revised, c.ReviseRefused)
}

// printFaults names the orders that did not end as they had to.
func printFaults(out io.Writer, r load.Report) {
	fmt.Fprintf(out, "never ended %d\n", len(r.NeverEnded))
	for _, id := range r.NeverEnded {
		fmt.Fprintln(out, "never ended:", id)
	}
	for _, id := range r.Wrong {
		fmt.Fprintln(out, "ended otherwise than its consumer's credit and its ticket say:", id)
	}
	if r.Failed > 0 {
		fmt.Fprintf(out, "not accepted: %d\n", r.Failed)
	}
	for _, failure := range r.Failures {
		fmt.Fprintln(out, "failure:", failure)
	}
}
