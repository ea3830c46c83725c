package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/store/postgres"
)

// trips counts round trips of a pool's connections.
type trips struct{ n int }

func (c *trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n++
	return ctx
}
func (c *trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (c *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	c.n++
	return ctx
}
func (c *trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (c *trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

func TestATransactionThatOnlyQueuesTakesOneRoundTrip(t *testing.T) {
	config, err := pgxpool.ParseConfig(database(t))
	must(t, err)
	counted := &trips{}
	config.ConnConfig.Tracer = counted
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	store := open(t, pool, postgres.Config{})
	exec(t, store, "CREATE TABLE orders (id integer PRIMARY KEY)")
	box, err := outbox.New(store, "order")
	must(t, err)
	place := func(id int) error {
		return store.Transact(t.Context(), func(ctx context.Context, tx *postgres.Tx) error {
			tx.Queue("INSERT INTO orders VALUES ($1)", id)
			return box.Add(ctx, tx, messages(2, "k")...)
		})
	}
	must(t, place(1)) // prepares the statements
	before := counted.n
	must(t, place(2))
	if n := counted.n - before; n != 1 {
		t.Errorf("it took %d round trips", n)
	}
	if err := place(2); err == nil {
		t.Error("an order was placed twice")
	}
	if n := read[int](t, store, "SELECT count(*) FROM skald_outbox"); orders(t, store) != "1 2" || n != 4 {
		t.Errorf("orders %s, and %d messages", orders(t, store), n)
	}
}

func TestATransactionIsRolledBackWithItsFunctionsError(t *testing.T) {
	store := withTable(t)
	refused := errors.New("refused")
	err := store.Transact(t.Context(), func(ctx context.Context, tx *postgres.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO orders VALUES (1)")
		tx.Queue("INSERT INTO orders VALUES (2)")
		return errors.Join(err, refused)
	})
	if !errors.Is(err, refused) || orders(t, store) != "" {
		t.Errorf("returned %v, and left orders %s", err, orders(t, store))
	}
	err = store.Transact(t.Context(), func(ctx context.Context, tx *postgres.Tx) error {
		tx.Queue("INSERT INTO orders VALUES (3)")
		_ = tx.Commit() //nolint:contextcheck // as a handler would call it, which has none to give
		return nil
	})
	if !errors.Is(err, postgres.ErrEnded) || orders(t, store) != "" {
		t.Errorf("after a commit by the function: %v, and orders %s", err, orders(t, store))
	}
}
