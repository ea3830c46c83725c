// Command bench measures Skald as a user would use it, and prints one JSON line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/skald-go/skald/bench/contention"
	"github.com/skald-go/skald/bench/createorder"
	"github.com/skald-go/skald/bench/flow"
	"github.com/skald-go/skald/bench/process"
	"github.com/skald-go/skald/bench/throughput"
	"github.com/skald-go/skald/bench/timers"
	"github.com/skald-go/skald/lock"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root := &cobra.Command{
		Use: "bench", Short: "Measure Skald; one JSON line on standard output, progress on standard error",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(createOrder(), parts(), drain(), deadlines(), locks(), hot())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errWrong = errors.New("the verification failed: the figures do not count")

func createOrder() *cobra.Command {
	options := createorder.Options{}
	var plots, profile string
	var statements bool
	c := &cobra.Command{
		Use: "createorder", Short: "The createOrder saga: closed loop, half load, one at a time", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			process.BoundMemory()
			if plots != "" { // before the minutes that it takes
				if err := os.MkdirAll(plots, 0o750); err != nil {
					return err
				}
			}
			var results []createorder.Result
			if statements {
				options.Statements = cmd.ErrOrStderr()
			}
			err := profiled(profile, func() (err error) {
				p := newProgress(os.Stderr)
				defer p.close()
				options.Report = p.report
				results, err = createorder.Run(cmd.Context(), options)
				return err
			})
			if err != nil {
				return err
			}
			if len(results) > 1 {
				if err := createorder.WriteTable(cmd.ErrOrStderr(), results); err != nil {
					return err
				}
			}
			err = printAll(cmd.OutOrStdout(), results)
			if plots != "" {
				err = errors.Join(err, draw(plots, options.Store, results))
			}
			return err
		},
	}
	c.Flags().StringVar(&options.Store, "store", createorder.SQLite, "sqlite, or postgres: from installed programs, on a cluster of its own")
	c.Flags().StringVar(&options.Handlers, "handlers", createorder.Both, "form of the handlers on postgres: batch, plain or both")
	c.Flags().StringVar(&options.Style, "style", createorder.Orchestration, "on postgres: orchestration, parallel (branches), choreography, or all")
	c.Flags().BoolVar(&options.ByCommand, "by-command", false, "approve an order by a command of its service to itself, in place of a local step")
	c.Flags().BoolVar(&options.Floor, "floor", false, "on postgres, measure the same statements without any library as well")
	c.Flags().IntSliceVar(&options.Concurrency, "concurrency", []int{16, 64, 256, 1024}, "orders open at one time, each in turn")
	c.Flags().IntVar(&options.Repetitions, "repetitions", 3, "of the best concurrency, whose medians count")
	c.Flags().DurationVar(&options.Warm, "warm", 1500*time.Millisecond, "before each window")
	c.Flags().DurationVar(&options.For, "for", 6*time.Second, "length of each window")
	c.Flags().StringVar(&plots, "plots", "", "folder for two plots as SVG")
	c.Flags().BoolVar(&statements, "statements", false, "on postgres, list the statements of an order, and its round trips")
	c.Flags().StringVar(&profile, "cpuprofile", "", "file for a CPU profile of this process")
	return c
}

func locks() *cobra.Command {
	options := createorder.Options{}
	var policies []string
	var profile string
	var statements bool
	c := &cobra.Command{
		Use: "locks", Short: "What semantic locks cost createOrder without contention, on PostgreSQL from installed programs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			process.BoundMemory()
			var results []createorder.LockResult
			if statements {
				options.Statements = cmd.ErrOrStderr()
			}
			err := profiled(profile, func() (err error) {
				p := newProgress(os.Stderr)
				defer p.close()
				options.Report = p.report
				chosen := make([]lock.Policy, len(policies))
				for i, policy := range policies {
					chosen[i] = lock.Policy(policy)
				}
				results, err = createorder.CompareLocks(cmd.Context(), options, chosen...)
				return err
			})
			if err != nil {
				return err
			}
			if err := createorder.WriteLockTable(cmd.ErrOrStderr(), results); err != nil {
				return err
			}
			ok := true
			for i := range results {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(results[i]); err != nil {
					return err
				}
				ok = ok && results[i].OK
			}
			if !ok {
				return errWrong
			}
			return nil
		},
	}
	c.Flags().StringSliceVar(&policies, "policies", []string{string(lock.Refuse), string(lock.Wait)}, "what a saga does at another's lock: refuse, wait; each is compared with no locks at all")
	c.Flags().StringVar(&options.Handlers, "handlers", createorder.Batch, "form of the handlers: batch or plain")
	c.Flags().BoolVar(&options.ByCommand, "by-command", false, "approve an order by a command of its service to itself, in place of a local step")
	c.Flags().IntSliceVar(&options.Concurrency, "concurrency", []int{256, 1024}, "orders open at one time, each in turn")
	c.Flags().IntVar(&options.Repetitions, "repetitions", 5, "whose medians count")
	c.Flags().DurationVar(&options.Warm, "warm", 1500*time.Millisecond, "before each window")
	c.Flags().DurationVar(&options.For, "for", 4*time.Second, "length of each window")
	c.Flags().BoolVar(&statements, "statements", false, "list the statements of an order, and its round trips")
	c.Flags().StringVar(&profile, "cpuprofile", "", "file for a CPU profile of this process")
	return c
}

func hot() *cobra.Command {
	var options contention.Options
	var profile string
	c := &cobra.Command{
		Use: "contention", Short: "Sagas that all want the same semantic locks, on PostgreSQL from installed programs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			process.BoundMemory()
			var results []contention.Result
			err := profiled(profile, func() (err error) {
				p := newProgress(os.Stderr)
				defer p.close()
				options.Report = p.report
				results, err = contention.Run(cmd.Context(), options)
				return err
			})
			if err != nil {
				return err
			}
			if err := contention.WriteTable(cmd.ErrOrStderr(), results); err != nil {
				return err
			}
			ok := true
			for i := range results {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(results[i]); err != nil {
					return err
				}
				ok = ok && results[i].OK
			}
			if !ok {
				return errWrong
			}
			return nil
		},
	}
	c.Flags().IntVar(&options.Sagas, "sagas", 256, "sagas of each scenario")
	c.Flags().IntVar(&options.Open, "open", 256, "sagas at one time")
	c.Flags().IntVar(&options.Repetitions, "repetitions", 3, "whose medians count")
	c.Flags().DurationVar(&options.Patience, "patience", 3*time.Minute, "how long a scenario may take; whatever has not ended by then is a fault")
	c.Flags().StringVar(&profile, "cpuprofile", "", "file for a CPU profile of this process")
	return c
}

func printAll(out io.Writer, results []createorder.Result) error {
	ok := true
	for i := range results {
		if err := json.NewEncoder(out).Encode(results[i]); err != nil {
			return err
		}
		ok = ok && results[i].OK
	}
	if !ok {
		return errWrong
	}
	return nil
}

func parts() *cobra.Command {
	options := flow.Options{}
	var messages int
	var store, profile string
	c := &cobra.Command{
		Use: "throughput", Short: "Messages per second: on sqlite of outbox, relay and inbox alone; on postgres from commits to a receiver", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			process.BoundMemory()
			return profiled(profile, func() error {
				if options.Backlog = messages; store == createorder.PostgreSQL {
					return measureFlow(cmd, options)
				}
				return measureParts(cmd, messages)
			})
		},
	}
	c.Flags().StringVar(&store, "store", createorder.SQLite, "sqlite, or postgres: from installed programs, on a cluster of its own")
	c.Flags().IntVar(&messages, "messages", 200_000, "messages of 300 bytes to move through each part, or in the backlog")
	c.Flags().IntVar(&options.Writers, "writers", 32, "on postgres, writers at one time")
	c.Flags().IntVar(&options.Rate, "rate", 2000, "on postgres, messages per second for the latency")
	c.Flags().IntVar(&options.Repetitions, "repetitions", 3, "on postgres, whose medians count")
	c.Flags().DurationVar(&options.Warm, "warm", 1500*time.Millisecond, "on postgres, before a window")
	c.Flags().DurationVar(&options.For, "for", 6*time.Second, "on postgres, length of a window")
	c.Flags().StringVar(&profile, "cpuprofile", "", "file for a CPU profile of this process")
	return c
}

func measureParts(cmd *cobra.Command, messages int) error {
	p := newProgress(os.Stderr)
	result, err := throughput.Run(cmd.Context(), throughput.Options{Messages: messages, Report: p.report})
	p.close()
	if err != nil {
		return err
	}
	if result.Handled != messages {
		return errors.Join(errWrong, fmt.Errorf("%d of %d messages are in the receiver's database", result.Handled, messages))
	}
	return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
}

func measureFlow(cmd *cobra.Command, options flow.Options) error {
	p := newProgress(os.Stderr)
	options.Report = p.report
	results, err := flow.Run(cmd.Context(), options)
	p.close()
	if err != nil {
		return err
	}
	if err := flow.WriteTable(cmd.ErrOrStderr(), results); err != nil {
		return err
	}
	for i := range results {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(results[i]); err != nil {
			return err
		}
	}
	return nil
}

// drained compares a backlog's way through databases without a past and with one.
type drained struct {
	Empty throughput.Result  `json:"empty"`
	Full  *throughput.Result `json:"with_history,omitempty"`
	// The rates with a history as a share of those without.
	Relay float64 `json:"relay_ratio,omitempty"`
	Inbox float64 `json:"inbox_ratio,omitempty"`
}

func drain() *cobra.Command {
	var options throughput.Options
	var store string
	c := &cobra.Command{
		Use: "drain", Short: "A backlog through relay and inbox: memory, and the rate on databases without and with a history", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			process.BoundMemory()
			if store == createorder.PostgreSQL {
				return measureBacklog(cmd, options.Messages)
			}
			result, err := drainBoth(cmd.Context(), options)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
		},
	}
	c.Flags().StringVar(&store, "store", createorder.SQLite, "sqlite, or postgres: the relay alone, from the table and from the log")
	c.Flags().IntVar(&options.Messages, "messages", 1_000_000, "messages of 300 bytes in the backlog")
	c.Flags().IntVar(&options.Ended, "ended", 1_000_000, "sagas that have ended in each database, in a second run; 0: there is none")
	c.Flags().BoolVar(&options.RelayOnly, "relay-only", false, "leave the inbox out")
	return c
}

func measureBacklog(cmd *cobra.Command, messages int) error {
	p := newProgress(os.Stderr)
	result, err := flow.RunBacklog(cmd.Context(), messages, p.report)
	p.close()
	if err != nil {
		return err
	}
	return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
}

func drainBoth(ctx context.Context, options throughput.Options) (drained, error) {
	var d drained
	ended := options.Ended
	options.Ended = 0
	var err error
	if d.Empty, err = drainOnce(ctx, options); err != nil || ended == 0 {
		return d, err
	}
	options.Ended = ended
	full, err := drainOnce(ctx, options)
	if err != nil {
		return d, err
	}
	d.Full, d.Relay = &full, full.Relay/d.Empty.Relay
	if !options.RelayOnly {
		d.Inbox = full.Inbox / d.Empty.Inbox
	}
	return d, nil
}

func drainOnce(ctx context.Context, options throughput.Options) (throughput.Result, error) {
	p := newProgress(os.Stderr)
	defer p.close()
	options.Report = p.report
	r, err := throughput.Run(ctx, options)
	if err == nil && !options.RelayOnly && r.Handled != options.Messages {
		err = errors.Join(errWrong, fmt.Errorf("%d of %d messages are in the receiver's database", r.Handled, options.Messages))
	}
	return r, err
}

func deadlines() *cobra.Command {
	var options timers.Options
	c := &cobra.Command{
		Use: "timers", Short: "Deadlines of sagas that pass in one second, on PostgreSQL from installed programs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			process.BoundMemory()
			p := newProgress(os.Stderr)
			options.Report = p.report
			result, err := timers.Run(cmd.Context(), options)
			p.close()
			if err == nil && !result.OK {
				err = errWrong
			}
			return errors.Join(json.NewEncoder(cmd.OutOrStdout()).Encode(result), err)
		},
	}
	c.Flags().IntVar(&options.Sagas, "sagas", 100_000, "sagas whose deadlines have passed")
	c.Flags().IntVar(&options.Others, "others", 0, "sagas of a version that is not registered, whose deadlines passed a day ago")
	return c
}
