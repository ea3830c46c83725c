package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skald-go/skald/examples/ftgo/app"
)

type serveFlags struct {
	storeFlags
	logFlag

	relay relayFlag

	addr, service, broker, brokerURL string
	peers                            map[string]string
	shards                           int
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the services until SIGTERM, which drains them",
		Long: "Run the services until SIGTERM, which drains them. On one data folder, or one server's databases, it\n" +
			"resumes where it stopped, also after kill -9. Several processes may share them, each with some of the\n" +
			"services. On PostgreSQL each service has a database of its own, ftgo_order and so on, made if absent.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8080", "this process's own address, HOST:PORT")
	flags.StringVar(&f.service, "service", "all", "services to run: all, or some of "+strings.Join(app.Services, ","))
	flags.StringVar(&f.broker, "broker", "embedded", "what carries messages: embedded, nats, kafka, rabbitmq, redis, http")
	flags.StringVar(&f.brokerURL, "broker-url", "", "URL of the broker, for all but embedded")
	f.relay.register(flags)
	flags.StringToStringVar(&f.peers, "peer", nil, "addresses of services in other processes, NAME=URL,… (default: found through the data folder)")
	flags.IntVar(&f.shards, "shards", 1, "databases of each service")
	f.storeFlags.register(flags)
	f.logFlag.register(flags, "info")
	return cmd
}

func (f *serveFlags) check() error {
	_, err := f.storeFlags.open(f.relay)
	faults := []error{err, brokers.check(f.broker)}
	if f.shards != 1 {
		faults = append(faults, usageError{fmt.Errorf("--shards %d does not work yet: today each service has 1 database", f.shards)})
	}
	if err := f.config().Validate(); err != nil {
		faults = append(faults, usageError{err})
	}
	switch {
	case f.broker == "embedded" && f.brokerURL != "":
		faults = append(faults, usageError{errors.New("--broker-url names a broker, and the embedded one finds itself in --data: add --broker nats")})
	case f.broker == "nats" && f.brokerURL == "":
		faults = append(faults, usageError{errors.New("--broker nats needs --broker-url nats://HOST:PORT")})
	}
	return errors.Join(faults...)
}

func (f *serveFlags) services() []string {
	if f.service == "all" {
		return slices.Clone(app.Services)
	}
	names := strings.Split(f.service, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

func (f *serveFlags) config() app.Config {
	return app.Config{Data: f.data, Addr: f.addr, Services: f.services(), Peers: f.peers, BrokerURL: f.brokerURL}
}

func (f *serveFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	logger, err := f.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	config := f.config()
	config.Logger = logger
	if config.Databases, err = f.storeFlags.open(f.relay); err != nil {
		return err
	}
	process, err := app.New(cmd.Context(), config)
	if err != nil {
		return unlessStopped(cmd.Context(), logger, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "ftgo serves %s at %s, with its data in %s\n", strings.Join(process.Services(), ", "), process.URL(), config.Databases)
	go giveBack(cmd.Context())
	return errors.Join(process.Run(cmd.Context()), process.Close())
}

// unlessStopped is why serve could not start; nil when it was told to stop meanwhile.
func unlessStopped(ctx context.Context, logger *slog.Logger, err error) error {
	if ctx.Err() == nil {
		return err
	}
	logger.Info("stopped before it had started", "error", err)
	return nil
}
