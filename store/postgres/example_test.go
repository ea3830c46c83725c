package postgres_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// These need a server, so they are compiled and not run; examples/postgres is a program that a
// test runs. docs/guide/postgresql.md shows parts of both.

type placedOrder struct{ ID string }

var orderPlaced = skald.Event[placedOrder]{Name: "shop.order-placed", Channel: "shop.orders"}

func ExampleOpen() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Config{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.TxType()) // what handlers get: *postgres.Tx
}

// A write and the message that tells of it commit together, in a transaction of pgx.
func ExampleWrap() {
	var pool *pgxpool.Pool // the application's
	var box *outbox.Outbox // of the store on it: outbox.New(store, "order")
	placeOrder := func(ctx context.Context, o placedOrder) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO orders (id) VALUES ($1)`, o.ID); err != nil {
				return err
			}
			return outbox.Publish(ctx, box, postgres.Wrap(tx), orderPlaced, o)
		})
	}
	if err := placeOrder(context.Background(), placedOrder{ID: "4711"}); err != nil {
		log.Fatal(err)
	}
}

// The same in one round trip: the statement that is queued, the message and the commit leave together.
func ExampleStore_Transact() {
	var store *postgres.Store // the application's
	var box *outbox.Outbox    // of that store
	placeOrder := func(ctx context.Context, o placedOrder) error {
		return store.Transact(ctx, func(ctx context.Context, tx *postgres.Tx) error {
			tx.Queue(`INSERT INTO orders (id) VALUES ($1)`, o.ID)
			return outbox.Publish(ctx, box, tx, orderPlaced, o)
		})
	}
	if err := placeOrder(context.Background(), placedOrder{ID: "4711"}); err != nil {
		log.Fatal(err)
	}
}

// The same with database/sql, whose transaction is taken as it is.
func ExampleStore_DB() {
	var store *postgres.Store // the application's
	var box *outbox.Outbox    // outbox.New(store, "order")
	placeOrder := func(ctx context.Context, o placedOrder) error {
		tx, err := store.DB().BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, `INSERT INTO orders (id) VALUES ($1)`, o.ID); err != nil {
			return err
		}
		if err := outbox.Publish(ctx, box, tx, orderPlaced, o); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := placeOrder(context.Background(), placedOrder{ID: "4711"}); err != nil {
		log.Fatal(err)
	}
}

// Handlers get a *sql.Tx, so that the same ones run on several databases.
func ExampleConfig_sql() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Config{SQL: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.TxType()) // what handlers get: *sql.Tx
}

// Two statements share a round trip; the second one's result arrives with the flush.
func ExampleTx_Queue() {
	ctx := context.Background()
	var tx *postgres.Tx // a handler's, or one that Wrap has made
	var left int
	tx.Queue(`UPDATE stock SET units = units - $2 WHERE sku = $1`, "tea", 2)
	tx.Queue(`SELECT units FROM stock WHERE sku = $1`, "tea").QueryRow(func(row pgx.Row) error {
		return row.Scan(&left)
	})
	if err := tx.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(left, "units are left")
}

// The slot is dropped before the server's disk is full, and the table is polled until the relay has
// caught up.
func ExampleConfig_retained() {
	var pool *pgxpool.Pool // the application's
	store, err := postgres.Open(context.Background(), pool, postgres.Config{
		WarnRetained: 2 << 30,  // 2 GiB: a warning every 15 seconds
		DropRetained: 20 << 30, // 20 GiB: the slot goes
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.TxType())
}

// A figure for the metrics, beside the relay's lag.
func ExampleStore_Retained() {
	ctx := context.Background()
	var store *postgres.Store // the application's
	retained, err := store.Retained(ctx)
	if err != nil {
		log.Fatal(err)
	}
	lag, err := store.OutboxLag(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("bytes of log held back:", retained, "messages behind:", lag.Messages, "oldest:", lag.Age)
}

// The owner grants the relay's role what it needs, after its own store has brought the tables up to
// date. The relay then runs on a pool of that role.
func ExampleRelayGrants() {
	ctx := context.Background()
	owner, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer owner.Close()
	if _, err := postgres.Open(ctx, owner, postgres.Config{}); err != nil {
		log.Fatal(err)
	}
	if _, err := owner.Exec(ctx, postgres.RelayGrants("shop_relay")); err != nil {
		log.Fatal(err)
	}

	pool, err := pgxpool.New(ctx, os.Getenv("RELAY_DATABASE_URL")) // as shop_relay
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Config{})
	if err != nil {
		log.Fatal(err)
	}
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{}) // yours
	publisher, err := relay.New(store, broker, relay.Config{Retention: 7 * 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	if err := publisher.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
