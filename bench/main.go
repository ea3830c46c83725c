// Command bench measures Skald as a user would use it, and prints one JSON line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/skald-go/skald/bench/createorder"
	"github.com/skald-go/skald/bench/throughput"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root := &cobra.Command{
		Use: "bench", Short: "Measure Skald; one JSON line on standard output, progress on standard error",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(createOrder(), parts())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errWrong = errors.New("the verification failed: the figures do not count")

func createOrder() *cobra.Command {
	options := createorder.Options{}
	var plots string
	c := &cobra.Command{
		Use: "createorder", Short: "The createOrder saga on the embedded default: closed loop, half load, one at a time", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := newProgress(os.Stderr)
			options.Report = p.report
			result, err := createorder.Run(cmd.Context(), options)
			p.close()
			if err != nil {
				return err
			}
			if plots != "" {
				if err := draw(plots, result); err != nil {
					return err
				}
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(result); err != nil {
				return err
			}
			if !result.OK {
				return errWrong
			}
			return nil
		},
	}
	c.Flags().IntSliceVar(&options.Concurrency, "concurrency", []int{16, 64, 256}, "orders open at one time, each in turn")
	c.Flags().DurationVar(&options.Warm, "warm", time.Second, "before each window")
	c.Flags().DurationVar(&options.For, "for", 5*time.Second, "length of each window")
	c.Flags().StringVar(&plots, "plots", "", "folder for two plots as SVG")
	return c
}

func parts() *cobra.Command {
	var messages int
	c := &cobra.Command{
		Use: "throughput", Short: "Outbox, relay and inbox alone, messages per second", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := newProgress(os.Stderr)
			result, err := throughput.Run(cmd.Context(), messages, p.report)
			p.close()
			if err != nil {
				return err
			}
			if result.Handled != messages {
				return errors.Join(errWrong, fmt.Errorf("%d of %d messages are in the receiver's database", result.Handled, messages))
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
		},
	}
	c.Flags().IntVar(&messages, "messages", 200_000, "messages of 300 bytes to move through each part")
	return c
}
