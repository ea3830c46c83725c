// Package app is a process of FTGO: it opens the databases of the services that it runs,
// joins the broker, and serves their HTTP interfaces on one address.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/examples/ftgo/gateway"
)

// App is a process of the application, from New to Close.
type App struct {
	config   Config
	logger   *slog.Logger
	listener net.Listener
	broker   *broker
	parts    []*part // the services with data, those of this process
	server   *http.Server
	unused   unused

	streams  streams
	draining atomic.Bool
	closing  sync.Once
	closed   error
}

// New opens databases, broker and address; nothing runs yet. Close releases what was opened.
func New(ctx context.Context, config Config) (*App, error) {
	if err := config.normalize(); err != nil {
		return nil, err
	}
	a := &App{config: config, logger: config.Logger}
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context) error {
	if err := checkFolder(a.config.Data); err != nil {
		return err
	}
	var err error
	if a.listener, err = listen(ctx, a.config.Addr); err != nil {
		return err
	}
	if err := a.openParts(ctx); err != nil {
		return err
	}
	a.server = newServer(a.handler(), a.logger)
	a.server.ConnState = a.unused.track
	a.server.RegisterOnShutdown(a.streams.end)
	a.server.RegisterOnShutdown(a.unused.close)
	return nil
}

// openParts opens the services with data, and the broker if there are any.
func (a *App) openParts(ctx context.Context) error {
	names := slices.DeleteFunc(slices.Clone(a.config.Services), func(name string) bool { return name == Gateway })
	if len(names) == 0 {
		return nil
	}
	var err error
	if a.broker, err = openBroker(ctx, a.config); err != nil {
		return err
	}
	for _, name := range names {
		p, err := openPart(ctx, name, a.config, a.broker)
		if err != nil {
			return fmt.Errorf("service %s: %w", name, err)
		}
		a.parts = append(a.parts, p)
	}
	return nil
}

// URL is the process's own address, http://HOST:PORT.
func (a *App) URL() string { return "http://" + reachable(a.listener.Addr()) }

// Databases are those of the services, whichever process they run in.
func (a *App) Databases() databases.Databases { return a.config.Databases }

// Services are the names of the services that run in this process.
func (a *App) Services() []string { return slices.Clone(a.config.Services) }

// Run runs the services and serves HTTP until ctx ends or a service fails, which is the
// error; then it drains within [Config.Drain]. It is called once.
func (a *App) Run(ctx context.Context) error {
	failures := make(chan error, len(a.parts)+1)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var services, serving sync.WaitGroup
	for _, p := range a.parts {
		services.Go(func() {
			if err := p.service.Run(running); err != nil && running.Err() == nil {
				failures <- fmt.Errorf("service %s stopped: %w", p.name, err)
			}
		})
	}
	serving.Go(func() {
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			failures <- fmt.Errorf("HTTP server on %s: %w", a.URL(), err)
		}
	})
	failure := a.announce()
	if failure == nil {
		select {
		case <-ctx.Done():
		case failure = <-failures:
		}
	}
	unfinished := a.drain(context.WithoutCancel(ctx), stop, &services)
	serving.Wait()
	return errors.Join(failure, unfinished)
}

// announce tells the other processes on the data folder where this one is.
func (a *App) announce() error {
	for _, name := range a.config.Services {
		if err := gateway.Folder(a.config.Data).Announce(name, a.URL()); err != nil {
			return err
		}
	}
	a.logger.Info("serving", "url", a.URL(), "services", a.config.Services, "data", a.config.Data, "databases", a.config.Databases)
	return nil
}

// drain stops taking requests, ends those under way, then stops the services, which finish
// their batches.
func (a *App) drain(ctx context.Context, stop context.CancelFunc, services *sync.WaitGroup) error {
	a.logger.Info("draining", "within", a.config.Drain)
	a.draining.Store(true)
	for _, name := range a.config.Services {
		gateway.Folder(a.config.Data).Withdraw(name, a.URL())
	}
	ctx, cancel := context.WithTimeout(ctx, a.config.Drain)
	defer cancel()
	requests, cancelRequests := context.WithTimeout(ctx, a.config.Drain/2)
	defer cancelRequests()
	if err := a.server.Shutdown(requests); err != nil {
		a.logger.Warn("requests cut off", "error", err)
		_ = a.server.Close()
	}
	stop()
	stopped := make(chan struct{})
	go func() {
		services.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the services did not stop within %s; what was under way is done again at the next start", a.config.Drain)
	}
}

// Close releases address, databases and broker. It may be called more than once.
func (a *App) Close() error {
	a.closing.Do(func() {
		var faults []error
		if a.listener != nil {
			if err := a.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				faults = append(faults, err)
			}
		}
		if a.broker != nil {
			faults = append(faults, a.broker.Close())
		}
		for _, p := range a.parts {
			faults = append(faults, p.database.Close())
		}
		a.closed = errors.Join(faults...)
	})
	return a.closed
}

// newServer bounds what a client can hold up. There is no bound on writing: streams last.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}
