package main

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
)

// fromEnvironment sets the flags that are not on the command line and have a variable.
func fromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var fault error
	flags.VisitAll(func(f *pflag.Flag) {
		variable := "FTGO_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := lookup(variable)
		if f.Changed || !ok || value == "" || f.Name == "help" || f.Name == "version" || fault != nil {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			fault = usageError{fmt.Errorf("%s=%q: %w", variable, value, err)}
		}
	})
	return fault
}

// choice is a flag with named values, some of which are still to come.
type choice struct {
	flag         string
	works, later []string
}

var (
	stores        = choice{"--store", []string{"sqlite", "postgres"}, []string{"mysql"}}
	brokers       = choice{"--broker", []string{"embedded", "nats"}, []string{"kafka", "rabbitmq", "redis", "http"}}
	coordinations = choice{"--coordination", append([]string{allStyles}, orderapi.Styles...), nil}
)

// check refuses a value that does not work, and says which do.
func (c choice) check(value string) error {
	works := strings.Join(c.works[:len(c.works)-1], ", ") + " and " + c.works[len(c.works)-1]
	switch {
	case slices.Contains(c.works, value):
		return nil
	case slices.Contains(c.later, value):
		return usageError{fmt.Errorf("%s %s does not work yet: today it is %s", c.flag, value, works)}
	default:
		later := ""
		if len(c.later) > 0 {
			later = ", and later " + strings.Join(c.later, ", ")
		}
		return usageError{fmt.Errorf("%s %q: there is no such value; today it is %s%s", c.flag, value, works, later)}
	}
}

// coordinationFlag names the styles in which orders are coordinated.
type coordinationFlag struct{ value string }

// allStyles names every style that works.
const allStyles = "all"

func (c *coordinationFlag) register(flags *pflag.FlagSet, usual, usage string) {
	flags.StringVar(&c.value, "coordination", usual, usage+": "+strings.Join(coordinations.works, ", "))
}

func (c *coordinationFlag) check() error { return coordinations.check(c.value) }

func (c *coordinationFlag) styles() []string {
	if c.value == allStyles {
		return orderapi.Styles
	}
	return []string{c.value}
}

// logFlag makes the logger of a command.
type logFlag struct{ level string }

func (l *logFlag) register(flags *pflag.FlagSet, usual string) {
	flags.StringVar(&l.level, "log-level", usual, "what is logged to standard error: debug, info, warn, error")
}

func (l *logFlag) logger(to io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level %q: it is debug, info, warn or error", l.level)}
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level})), nil
}

// outputFlag chooses between text for people and JSON for programs.
type outputFlag struct {
	format string
	json   bool
}

func (o *outputFlag) register(flags *pflag.FlagSet) {
	flags.StringVarP(&o.format, "output", "o", "text", "form of the result: text, json")
	flags.BoolVar(&o.json, "json", false, "the same as --output json")
}

func (o *outputFlag) check() error {
	switch {
	case o.format == "json":
		o.json = true
	case o.format != "text":
		return usageError{fmt.Errorf("--output %q: it is text or json", o.format)}
	}
	return nil
}

// noArguments refuses what is no flag.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, and there is %q", cmd.CommandPath(), args[0])}
	}
	return nil
}
