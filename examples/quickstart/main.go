// Command quickstart is a whole saga in one file: an order that is created, paid, and
// approved or undone, over two services with a database each.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/sqlite"
)

type order struct {
	ID    string
	Cents int
}

// charge is the contract between the two services.
var charge = skald.Command[order, struct{}]{Name: "shop.charge", Channel: "shop.payment", Refusals: []string{"declined"}}

var createOrder = saga.Definition[order]{
	Name:          "order.create",
	Compensatable: []saga.Compensatable[order]{{Name: "create", Do: saga.Local(insert), Undo: saga.Local(become("REJECTED"))}},
	Pivot:         saga.Step[order]{Name: "charge", Do: saga.Call(charge, func(o order) order { return o })},
	Retriable:     []saga.Step[order]{{Name: "approve", Do: saga.Local(become("APPROVED"))}},
}

func insert(ctx context.Context, tx *sql.Tx, o *order) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO orders (id, state) VALUES (?, 'PENDING')`, o.ID)
	return err
}

func become(state string) func(context.Context, *sql.Tx, *order) error {
	return func(ctx context.Context, tx *sql.Tx, o *order) error {
		_, err := tx.ExecContext(ctx, `UPDATE orders SET state = ? WHERE id = ?`, state, o.ID)
		return err
	}
}

func pay(ctx context.Context, tx *sql.Tx, o order) (struct{}, error) {
	if o.Cents > 10_000 {
		return struct{}{}, skald.Refuse("declined", "over the card's limit") // a "no": the saga compensates
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO payments (id, cents) VALUES (?, ?)`, o.ID, o.Cents) // an error: retried
	return struct{}{}, err
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "quickstart")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(dir, "broker")})
	if err != nil {
		return err
	}
	defer server.Shutdown()
	broker, err := nats.Connect(ctx, server.Config())
	if err != nil {
		return err
	}
	defer broker.Close()
	orders, err := open(ctx, dir, "order", broker, `CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT)`)
	if err != nil {
		return err
	}
	payments, err := open(ctx, dir, "payment", broker, `CREATE TABLE payments (id TEXT PRIMARY KEY, cents INTEGER)`)
	if err != nil {
		return err
	}
	create := saga.Register(orders, createOrder)
	service.HandleCommand(payments, charge, pay)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2)
	go func() { ended <- orders.Run(ctx) }()
	go func() { ended <- payments.Run(ctx) }()
	for _, o := range []order{{"4711", 999}, {"4712", 99_999}} {
		if err := service.Transact(ctx, orders, func(ctx context.Context, tx *sql.Tx) error { return create.Start(ctx, tx, o.ID, o) }); err != nil {
			return err
		}
		outcome, err := create.Await(ctx, o.ID)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "order", o.ID, outcome.Status, outcome.Reason)
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	return <-ended
}

// open makes a service with a database of its own.
func open(ctx context.Context, dir, name string, broker service.Broker, schema string) (*service.Service, error) {
	store, err := sqlite.Open(ctx, filepath.Join(dir, name+".db"), sqlite.Config{})
	if err != nil {
		return nil, err
	}
	if _, err := store.DB().ExecContext(ctx, schema); err != nil {
		return nil, err
	}
	return service.New(name, store, broker, service.Config{})
}
