package contention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/bench/cluster"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/postgres"
)

// thing is what sagas lock, read, and later write one more than what they read into: an update is lost where two of
// them have it at once.
type thing struct {
	service  string
	resource skald.Resource
	key      string
}

var (
	hotOrder   = thing{"desk", "bench.order", "hot"}
	hotTicket  = thing{"kitchen", "bench.ticket", "hot"}
	hotAccount = thing{"accounting", "bench.account", "hot"}
)

const table = `CREATE TABLE things (key text PRIMARY KEY, value bigint NOT NULL, by text NOT NULL);
INSERT INTO things VALUES ('hot', 0, '')`

// change is the sagas' state, and what each command carries of it.
type change struct {
	By string `json:"by"`
	// Read is what was read of each thing, by service.
	Read map[string]int64 `json:"read,omitempty"`
}

func (c change) itself() change { return c }

// who is all that is sent along before anything was read.
func (c change) who() change { return change{By: c.By} }

type read struct {
	Value int64 `json:"value"`
}

// contract is the commands of the service that has a thing.
type contract struct {
	begin        skald.Command[change, read]
	leave, write skald.Command[change, read]
	decide       skald.Command[change, read]
}

func (t thing) contract() contract {
	to := func(name string, locks, unlocks skald.Resource) skald.Command[change, read] {
		return skald.Command[change, read]{
			Name: "bench." + t.service + "." + name, Channel: "bench." + t.service, Key: func(change) string { return t.key }, Locks: locks, Unlocks: unlocks,
		}
	}
	c := contract{begin: to("begin", t.resource, ""), leave: to("leave", "", t.resource), write: to("write", "", t.resource), decide: to("decide", "", "")}
	c.decide.Key = func(c change) string { return c.By }
	return c
}

// system is the services: the desk orchestrates, and has a thing as well.
type system struct {
	pools                   map[string]*pgxpool.Pool
	services                []*service.Service
	desk                    *service.Service
	called, local, opposite []*saga.Saga[change]
	twice                   atomic.Int64 // a thing was found with another
	ends                    []func() error
}

func (s *system) onClose(end func() error) { s.ends = append(s.ends, end) }

// Close ends everything, the last started first.
func (s *system) Close() error {
	var faults []error
	for _, end := range slices.Backward(s.ends) {
		faults = append(faults, end())
	}
	return errors.Join(faults...)
}

const (
	connections = 8
	partitions  = 1 // of each channel: every service runs in one instance
)

var quiet = slog.New(slog.DiscardHandler)

func start(ctx context.Context, c *cluster.Cluster) (_ *system, err error) {
	s := &system{pools: map[string]*pgxpool.Pool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	dir, err := os.MkdirTemp("", "skald-bench-")
	if err != nil {
		return nil, err
	}
	s.onClose(func() error { return os.RemoveAll(dir) })
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(dir, "broker"), Logger: quiet})
	if err != nil {
		return nil, err
	}
	s.onClose(server.Shutdown)
	config := server.Config()
	config.Partitions = partitions
	broker, err := nats.Connect(ctx, config)
	if err != nil {
		return nil, err
	}
	s.onClose(broker.Close)
	for _, t := range []thing{hotOrder, hotTicket, hotAccount} {
		if err := s.open(ctx, c, broker, t); err != nil {
			return nil, fmt.Errorf("service %s: %w", t.service, err)
		}
	}
	return s, nil
}

// open starts the service that has a thing.
func (s *system) open(ctx context.Context, c *cluster.Cluster, broker service.Broker, t thing) error {
	pool, err := c.Create(ctx, t.service, connections)
	if err != nil {
		return err
	}
	s.pools[t.service] = pool
	s.onClose(func() error {
		pool.Close()
		return c.Drop(context.WithoutCancel(ctx), t.service)
	})
	if _, err := pool.Exec(ctx, table); err != nil {
		return err
	}
	store, err := postgres.Open(ctx, pool, postgres.Config{Logger: quiet})
	if err != nil {
		return err
	}
	s.onClose(store.DB().Close)
	svc, err := service.New(t.service, store, broker, service.Config{Logger: quiet})
	if err != nil {
		return err
	}
	s.services = append(s.services, svc)
	s.handle(svc, t)
	if t == hotOrder {
		s.orchestrate(svc)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(running) }()
	s.onClose(func() error { stop(); return <-ended })
	return nil
}

func (s *system) handle(svc *service.Service, t thing) {
	c := t.contract()
	service.HandleCommand(svc, c.begin, func(ctx context.Context, tx *postgres.Tx, given change) (read, error) {
		return s.begin(ctx, tx, t, given.By)
	})
	service.HandleCommand(svc, c.leave, func(ctx context.Context, tx *postgres.Tx, given change) (read, error) {
		return read{}, s.leave(ctx, tx, t, given.By)
	})
	service.HandleCommand(svc, c.write, func(ctx context.Context, tx *postgres.Tx, given change) (read, error) {
		return read{}, s.write(ctx, tx, t, given)
	})
	service.HandleCommand(svc, c.decide, func(context.Context, *postgres.Tx, change) (read, error) { return read{}, nil })
}

// begin marks a thing as a saga's.
func (s *system) begin(ctx context.Context, tx *postgres.Tx, t thing, by string) (r read, err error) {
	var before string
	err = tx.QueryRow(ctx, `UPDATE things AS t SET by = $2 FROM things AS b WHERE t.key = $1 AND b.key = $1 RETURNING b.by, t.value`, t.key, by).Scan(&before, &r.Value)
	if err == nil && before != "" && before != by {
		s.twice.Add(1)
	}
	return r, err
}

func (s *system) leave(ctx context.Context, tx *postgres.Tx, t thing, by string) error {
	tag, err := tx.Exec(ctx, `UPDATE things SET by = '' WHERE key = $1 AND by = $2`, t.key, by)
	return s.had(tag.RowsAffected(), err)
}

func (s *system) write(ctx context.Context, tx *postgres.Tx, t thing, given change) error {
	tag, err := tx.Exec(ctx, `UPDATE things SET value = $3, by = '' WHERE key = $1 AND by = $2`, t.key, given.By, given.Read[t.service]+1)
	return s.had(tag.RowsAffected(), err)
}

func (s *system) had(rows int64, err error) error {
	if err == nil && rows != 1 {
		s.twice.Add(1)
	}
	return err
}

// orchestrate registers the sagas.
func (s *system) orchestrate(svc *service.Service) {
	s.desk = svc
	ticket, account := hotTicket.contract(), hotAccount.contract()
	type compensatable = saga.Compensatable[change]
	type step = saga.Step[change]
	hold := func(t thing) compensatable {
		c := t.contract()
		took := func(state *change, r read) { state.took(t, r) }
		return compensatable{
			Name: "begin at " + t.service, Locked: lock.Wait,
			Do: saga.Call(c.begin, change.who).Then(took), Undo: saga.Call(c.leave, change.who),
		}
	}
	write := func(t thing) step {
		return step{Name: "write at " + t.service, Do: saga.Call(t.contract().write, change.itself)}
	}
	register := func(d saga.Definition[change]) *saga.Saga[change] { return saga.Register(svc, d) }
	s.called = append(s.called, register(saga.Definition[change]{
		Name: "bench.called", Compensatable: []compensatable{hold(hotTicket)},
		Pivot:     step{Name: "decide", Do: saga.Call(account.decide, change.who)},
		Retriable: []step{write(hotTicket)},
	}))
	here := func(change) string { return hotOrder.key }
	begin := saga.Local(func(ctx context.Context, tx *postgres.Tx, state *change) error {
		r, err := s.begin(ctx, tx, hotOrder, state.By)
		state.took(hotOrder, r)
		return err
	})
	leave := saga.Local(func(ctx context.Context, tx *postgres.Tx, state *change) error {
		return s.leave(ctx, tx, hotOrder, state.By)
	})
	end := saga.Local(func(ctx context.Context, tx *postgres.Tx, state *change) error {
		return s.write(ctx, tx, hotOrder, *state)
	})
	s.local = append(s.local, register(saga.Definition[change]{
		Name: "bench.local",
		Compensatable: []compensatable{{
			Name: "begin", Do: begin.Locks(hotOrder.resource, here), Undo: leave.Unlocks(hotOrder.resource, here), Locked: lock.Wait,
		}},
		Pivot:     step{Name: "decide", Do: saga.Call(ticket.decide, change.who)},
		Retriable: []step{{Name: "write", Do: end.Unlocks(hotOrder.resource, here)}},
	}))
	for i, order := range [][]thing{{hotTicket, hotAccount}, {hotAccount, hotTicket}} {
		s.opposite = append(s.opposite, register(saga.Definition[change]{
			Name:          fmt.Sprintf("bench.opposite-%d", i+1),
			Compensatable: []compensatable{hold(order[0]), hold(order[1])},
			Retriable:     []step{write(order[0]), write(order[1])},
		}))
	}
}

func (c *change) took(t thing, r read) {
	c.Read = map[string]int64{hotTicket.service: c.Read[hotTicket.service], hotAccount.service: c.Read[hotAccount.service], hotOrder.service: c.Read[hotOrder.service]}
	c.Read[t.service] = r.Value
}

// value is what a thing has come to.
func (s *system) value(ctx context.Context, t thing) (value int, err error) {
	err = s.pools[t.service].QueryRow(ctx, `SELECT value FROM things WHERE key = $1`, t.key).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("thing %s is gone", t.key)
	}
	return value, err
}

// left counts the locks and the held messages that are left once everything has come to rest: what sweeps up comes
// after the end.
func (s *system) left(ctx context.Context) (locks, held int, err error) {
	const enough = 5 * time.Second
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		locks, held = 0, 0
		for _, svc := range s.services {
			rows, listed := svc.Locks().List(ctx, "", lock.Key{}, 1000)
			messages, heldToo := svc.Held(ctx, 0, 1000)
			if err := errors.Join(listed, heldToo); err != nil {
				return 0, 0, err
			}
			locks, held = locks+len(rows), held+len(messages)
		}
		if locks+held == 0 || time.Since(began) > enough {
			return locks, held, nil
		}
	}
}
