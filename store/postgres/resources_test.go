package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/postgres"
)

// Faults: 51.
func TestATakenPoolMakesTheStoreWaitAndNotFail(t *testing.T) {
	t.Parallel()
	url := database(t)
	pool := connect(t, url+"&pool_max_conns=4")
	store := open(t, pool, postgres.Config{})
	var taken []*pgxpool.Conn
	for range 4 {
		conn, err := pool.Acquire(soon(t))
		must(t, err)
		t.Cleanup(conn.Release)
		taken = append(taken, conn)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := store.Begin(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Begin without a free connection returned %v", err)
	}
	waiting := make(chan error, 3)
	go func() {
		b, err := store.Begin(soon(t))
		if err == nil {
			err = errors.Join(store.AddMessages(t.Context(), b.Tx(), messages(1, "a")), b.Commit(t.Context()))
		}
		waiting <- err
	}()
	go func() {
		_, err := store.Checkpoint(soon(t))
		waiting <- err
	}()
	read := make(chan int, 1)
	go func() {
		cursor, err := store.OpenOutbox(soon(t), relay.Position{})
		if err == nil {
			records, nextErr := cursor.Next(soon(t), 1)
			read <- len(records)
			err = errors.Join(nextErr, cursor.Close())
		}
		waiting <- err
	}()
	eventually(t, "three who wait for a connection", func() bool { return pool.Stat().EmptyAcquireCount() >= 4 })
	for _, conn := range taken {
		conn.Release()
	}
	must(t, errors.Join(<-waiting, <-waiting, <-waiting))
	if n := <-read; n != 1 {
		t.Errorf("%d messages were read, want 1", n)
	}
}

// A conflict that the server resolved by ending one side is not the handler's fault.
//
// Faults: 35.
func TestASerializationFailureInABatchIsRetryable(t *testing.T) {
	t.Parallel()
	store := withTable(t)
	exec(t, store, "INSERT INTO orders VALUES (1)")
	ctx := soon(t)
	update := func(b inbox.Batch) error {
		_, err := txOf(b).Exec(ctx, "UPDATE orders SET id = id + 1")
		return err
	}
	for _, isolation := range []string{"REPEATABLE READ", "SERIALIZABLE"} {
		first, second := begin(t, store), begin(t, store)
		for _, b := range []inbox.Batch{first, second} {
			_, err := txOf(b).Exec(ctx, "SET TRANSACTION ISOLATION LEVEL "+isolation)
			must(t, err)
			_, err = txOf(b).Exec(ctx, "SELECT count(*) FROM orders") // takes the snapshot
			must(t, err)
		}
		must(t, update(first))
		must(t, first.Commit(ctx))
		err := update(second)
		if err == nil || !store.Retryable(err) {
			t.Errorf("%s: the second update returned %v", isolation, err)
		}
		must(t, second.Rollback())
		again := begin(t, store)
		must(t, errors.Join(update(again), again.Commit(ctx)))
	}
	if got := orders(t, store); got != "5" {
		t.Errorf("the order is %s: an update was lost, or made twice", got)
	}
}
