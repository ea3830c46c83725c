package createorder

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/sqlite"
)

var names = []string{"order", "consumer", "kitchen", "accounting"}

// system is the four services, their databases and the broker, in this process.
type system struct {
	orders *service.Service
	sagas  *saga.Saga[order]
	stores map[string]*sqlite.Store
	close  []func() error
}

func start(ctx context.Context, dir string) (_ *system, err error) {
	s := &system{stores: map[string]*sqlite.Store{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(dir, "broker"), Logger: quiet})
	if err != nil {
		return s, err
	}
	s.close = append(s.close, server.Shutdown)
	broker, err := nats.Connect(ctx, server.Config())
	if err != nil {
		return s, err
	}
	s.close = append(s.close, broker.Close)
	for _, name := range names {
		if err := s.add(ctx, dir, name, broker, quiet); err != nil {
			return s, fmt.Errorf("service %s: %w", name, err)
		}
	}
	return s, nil
}

func (s *system) add(ctx context.Context, dir, name string, broker service.Broker, logger *slog.Logger) error {
	store, err := sqlite.Open(ctx, filepath.Join(dir, name+".db"), sqlite.Config{})
	if err != nil {
		return err
	}
	s.stores[name] = store
	s.close = append(s.close, store.Close)
	if _, err := store.DB().ExecContext(ctx, schemas[name]); err != nil {
		return err
	}
	svc, err := service.New(name, store, broker, service.Config{Logger: logger})
	if err != nil {
		return err
	}
	register(name, svc)
	if name == "order" {
		s.orders, s.sagas = svc, saga.Register(svc, definition)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(running) }()
	s.close = append(s.close, func() error { stop(); return <-ended })
	return nil
}

// Close ends everything, the last started first.
func (s *system) Close() error {
	var faults []error
	for _, end := range slices.Backward(s.close) {
		faults = append(faults, end())
	}
	return errors.Join(faults...)
}

// Run starts a saga and returns when its end is known to the caller.
func (s *system) Run(ctx context.Context, o order) error {
	key := strconv.FormatInt(o.ID, 10)
	err := service.Transact(ctx, s.orders, func(ctx context.Context, tx *sql.Tx) error { return s.sagas.Start(ctx, tx, key, o) })
	if err != nil {
		return err
	}
	outcome, err := s.sagas.Await(ctx, key)
	if err == nil && !outcome.Status.Ended() {
		err = fmt.Errorf("order %s is %s: %s", key, outcome.Status, outcome.Reason)
	}
	return err
}
