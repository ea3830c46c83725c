package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skald-go/skald/examples/ftgo/check"
	"github.com/skald-go/skald/examples/ftgo/databases"
)

func newCheck() *cobra.Command {
	var store storeFlags
	var output outputFlag
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Verify the invariants on every service's database, once things are quiet",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := store.open("")
			if err := errors.Join(err, output.check()); err != nil {
				return err
			}
			report, err := check.Settled(cmd.Context(), from, wait)
			if err != nil {
				return err
			}
			if output.json {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				printCheck(cmd, report, from)
			}
			if err == nil && !report.OK() {
				err = errFound
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 10*time.Second, "how long what is under way may take to end, while it looks unfinished")
	store.register(cmd.Flags())
	output.register(cmd.Flags())
	return cmd
}

// printCheck prints each violation on a line of its own.
func printCheck(cmd *cobra.Command, report check.Report, from databases.Databases) {
	out := cmd.OutOrStdout()
	for _, violation := range report.Violations {
		fmt.Fprintln(out, violation)
	}
	for _, absent := range report.Absent {
		fmt.Fprintf(cmd.ErrOrStderr(), "ftgo: the %s service has no database in %s: it has never run\n", absent, from)
	}
	fmt.Fprintln(out, verdict(report))
}

func verdict(report check.Report) string {
	read := fmt.Sprintf("%d orders, %d sagas, %d messages of %s", report.Orders, report.Sagas, report.Messages, strings.Join(report.Services, ", "))
	if report.OK() {
		return fmt.Sprintf("%d invariants hold: %s", len(check.Invariants), read)
	}
	return fmt.Sprintf("%d violations: %s", len(report.Violations), read)
}
