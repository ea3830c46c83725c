package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/skald-go/skald/examples/ftgo/demo"
	"github.com/skald-go/skald/examples/ftgo/load"
)

type demoFlags struct {
	outputFlag
	logFlag
	coordinationFlag

	orders, concurrency int
	decline             float64
	serve               bool
	timeout             time.Duration
}

func newDemo() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start everything in a temporary folder, place orders, measure, and verify the invariants",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.orders, "orders", 200, "orders to place in each style")
	flags.Float64Var(&f.decline, "decline", 0.1, "share of orders whose card is declined")
	f.coordinationFlag.register(flags, allStyles, "style to show")
	flags.IntVar(&f.concurrency, "concurrency", 256, "orders that are open at one time")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Minute, "when what has not ended is given up, in each phase")
	flags.BoolVar(&f.serve, "serve", false, "then stay up until SIGTERM")
	f.outputFlag.register(flags)
	f.logFlag.register(flags, "warn")
	return cmd
}

func (f *demoFlags) check() error {
	faults := []error{f.outputFlag.check(), f.coordinationFlag.check()}
	if f.concurrency < 1 {
		faults = append(faults, usageError{fmt.Errorf("--concurrency %d: at least 1", f.concurrency)})
	}
	if err := (load.Plan{Orders: f.orders, Decline: f.decline}).Validate(); err != nil {
		faults = append(faults, usageError{err})
	}
	return errors.Join(faults...)
}

func (f *demoFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	logger, err := f.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	config := demo.Config{
		Orders: f.orders, Decline: f.decline, Styles: f.styles(), Concurrency: f.concurrency, Timeout: f.timeout,
		Watch: newProgress(cmd.ErrOrStderr(), "orders"), Logger: logger,
	}
	if f.serve {
		config.Stay = func(ctx context.Context, report demo.Report, url string) {
			_ = f.print(cmd.OutOrStdout(), report) // printing for people
			fmt.Fprintf(cmd.OutOrStdout(), "The storefront's API is at %s until SIGTERM or Ctrl-C.\n", url)
			giveBack(ctx)
		}
	}
	report, err := demo.Run(cmd.Context(), config)
	if err == nil && !f.serve {
		err = f.print(cmd.OutOrStdout(), report)
	}
	if err == nil && !report.OK {
		err = errFound
	}
	return err
}

func (f *demoFlags) print(out io.Writer, report demo.Report) error {
	if f.json {
		return printJSON(out, report)
	}
	printDemo(out, report)
	return nil
}

func printDemo(out io.Writer, report demo.Report) {
	rows := make([][]string, 0, len(report.Styles)+3)
	for _, style := range report.Styles {
		rows = append(rows, row(style.Coordination, style))
	}
	rows = append(rows, row("at half load", report.HalfLoad), row("some changed", report.Changed), row("one at a time", report.Lone))
	printTable(out, []string{"", "orders", "approved", "rejected", "never ended", "sagas/s", "p50", "p99"}, rows)
	fmt.Fprintln(out, changes(report.Changed.Changes))
	for _, placed := range append(slices.Clone(report.Styles), report.HalfLoad, report.Changed, report.Lone) {
		if !placed.OK() {
			printFaults(out, placed)
		}
	}
	for _, violation := range report.Check.Violations {
		fmt.Fprintln(out, violation)
	}
	colored(out, report.Check.OK(), verdict(report.Check))
}

func row(name string, r load.Report) []string {
	return []string{
		name, fmt.Sprint(r.Orders), fmt.Sprint(r.Approved), fmt.Sprint(r.Rejected), fmt.Sprint(len(r.NeverEnded)),
		fmt.Sprintf("%.0f", r.PerSecond), ms(r.Latency.P50), ms(r.Latency.P99),
	}
}
