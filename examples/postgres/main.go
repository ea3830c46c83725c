// Command postgres is a service on a PostgreSQL server, with handlers of one message and of many, whose
// relay has a pool of its own, under a role that may do nothing else.
//
//	go run ./examples/postgres postgres://owner@host:5432/shop postgres://shop_relay@host:5432/shop
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/postgres"
)

type order struct {
	ID    string
	SKU   string
	Units int
}

type reserved struct{ Left int }

var (
	placed  = skald.Event[order]{Name: "shop.order-placed", Channel: "shop.orders", Key: func(o order) string { return o.ID }}
	reserve = skald.Command[order, reserved]{
		Name: "shop.reserve", Channel: "shop.stock", Key: func(o order) string { return o.SKU }, Refusals: []string{"sold_out"},
	}
)

var createOrder = saga.Definition[order]{
	Name:          "order.create",
	Compensatable: []saga.Compensatable[order]{{Name: "create", Do: saga.Local(become("PENDING")), Undo: saga.Local(become("REJECTED"))}},
	Pivot:         saga.Step[order]{Name: "reserve", Do: saga.Call(reserve, func(o order) order { return o })},
	Retriable:     []saga.Step[order]{{Name: "approve", Do: saga.Local(become("APPROVED"))}},
}

const tables = `
CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, state text NOT NULL);
CREATE TABLE IF NOT EXISTS stock (sku text PRIMARY KEY, units integer NOT NULL);
CREATE TABLE IF NOT EXISTS demand (sku text PRIMARY KEY, units integer NOT NULL);
INSERT INTO stock VALUES ('tea', 3) ON CONFLICT DO NOTHING`

// become is a local step. Nobody waits for its statement, so it is queued.
func become(state string) func(context.Context, *postgres.Tx, *order) error {
	return func(_ context.Context, tx *postgres.Tx, o *order) error {
		tx.Queue(`INSERT INTO orders (id, state) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET state = $2`, o.ID, state)
		return nil
	}
}

// count is a plain handler: it gets one message.
func count(ctx context.Context, tx *postgres.Tx, o order) error {
	_, err := tx.Exec(ctx, `INSERT INTO demand (sku, units) VALUES ($1, $2)
		ON CONFLICT (sku) DO UPDATE SET units = demand.units + $2`, o.SKU, o.Units)
	return err
}

// reserveAll is a batch handler: it gets all commands that wait, and their statements share a
// round trip.
func reserveAll(_ context.Context, tx *postgres.Tx, requests []*service.Request[order, reserved]) error {
	for _, r := range requests {
		o := r.Content
		tx.Queue(`UPDATE stock SET units = units - $2 WHERE sku = $1 AND units >= $2 RETURNING units`, o.SKU, o.Units).
			QueryRow(func(row pgx.Row) error {
				var left int
				err := row.Scan(&left)
				switch {
				case errors.Is(err, pgx.ErrNoRows):
					r.Refuse(skald.Refuse("sold_out", "there is not enough of it").Keep()) // nothing was written
				case err != nil:
					return err
				default:
					r.Answer(reserved{left})
				}
				return nil
			})
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: postgres URL-OF-THE-SERVICE URL-OF-THE-RELAY")
	}
	if err := run(context.Background(), os.Stdout, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, dsn, relayDSN string) (err error) {
	broker, end, err := startBroker(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, tables); err != nil {
		return err
	}
	orders, err := newService(ctx, pool, broker)
	if err != nil {
		return err
	}
	create := saga.Register(orders, createOrder)
	relayPool, err := pgxpool.New(ctx, relayDSN)
	if err != nil {
		return err
	}
	defer relayPool.Close()
	if _, err := pool.Exec(ctx, postgres.RelayGrants(relayPool.Config().ConnConfig.User)); err != nil {
		return err
	}
	publisher, err := newRelay(ctx, relayPool, broker)
	if err != nil {
		return err
	}
	return sell(ctx, out, pool, orders, create, publisher)
}

// sell runs the service beside its relay while two orders are placed.
func sell(ctx context.Context, out io.Writer, pool *pgxpool.Pool, orders *service.Service, create *saga.Saga[order], publisher *relay.Relay) error {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	failed := make(chan error, 2)
	for _, part := range []interface {
		Run(ctx context.Context) error
	}{orders, publisher} {
		running.Go(func() { failed <- part.Run(ctx) })
	}
	for _, o := range []order{{"4711", "tea", 2}, {"4712", "tea", 5}} {
		if err := place(ctx, pool, orders, create, o); err != nil {
			return err
		}
		outcome, err := create.Await(ctx, o.ID)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "order", o.ID, outcome.Status, outcome.Reason)
	}
	stop()
	return errors.Join(<-failed, <-failed)
}

// newService makes a service that leaves publishing to a relay elsewhere.
func newService(ctx context.Context, pool *pgxpool.Pool, broker service.Broker) (*service.Service, error) {
	store, err := postgres.Open(ctx, pool, postgres.Config{})
	if err != nil {
		return nil, err
	}
	s, err := service.New("order", store, broker, service.Config{RelayElsewhere: true})
	if err != nil {
		return nil, err
	}
	service.HandleEvent(s, placed, count)
	service.HandleCommands(s, reserve, reserveAll)
	return s, nil
}

// newRelay makes a relay on a pool whose role has the relay's grants only.
func newRelay(ctx context.Context, pool *pgxpool.Pool, broker relay.Publisher) (*relay.Relay, error) {
	store, err := postgres.Open(ctx, pool, postgres.Config{})
	if err != nil {
		return nil, err
	}
	return relay.New(store, broker, relay.Config{})
}

// place starts the saga and tells of it, in the application's own transaction.
func place(ctx context.Context, pool *pgxpool.Pool, s *service.Service, create *saga.Saga[order], o order) error {
	return pgx.BeginFunc(ctx, pool, func(own pgx.Tx) error {
		tx := postgres.Wrap(own)
		if err := create.Start(ctx, tx, o.ID, o); err != nil {
			return err
		}
		if err := outbox.Publish(ctx, s.Outbox(), tx, placed, o); err != nil {
			return err
		}
		return tx.Flush(ctx) // own knows nothing of the wrapper's queue
	})
}

// startBroker starts an embedded broker, which keeps its data until the returned function ends it.
func startBroker(ctx context.Context) (_ service.Broker, end func() error, err error) {
	dir, err := os.MkdirTemp("", "postgres-example")
	if err != nil {
		return nil, nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(dir, "broker")})
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	broker, err := nats.Connect(ctx, server.Config())
	if err != nil {
		return nil, nil, errors.Join(err, server.Shutdown(), remove())
	}
	return broker, func() error { return errors.Join(broker.Close(), server.Shutdown(), remove()) }, nil
}
