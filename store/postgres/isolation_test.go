package postgres_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/isolation"
	"github.com/skald-go/skald/store/postgres"
)

var declined = skald.Refuse("declined", "not enough credit")

// Writers at the same time add and take back: none of them writes over another, and the guard holds at every moment.
func TestDeltasOfWritersAtTheSameTimeAddUp(t *testing.T) {
	store := fresh(t)
	exec(t, store, `CREATE TABLE accounts (id text PRIMARY KEY, authorized bigint NOT NULL, credit_limit bigint NOT NULL, CHECK (authorized BETWEEN 0 AND credit_limit))`)
	exec(t, store, `INSERT INTO accounts VALUES ('ada', 0, 500)`)
	credit, err := isolation.NewDelta(
		`UPDATE accounts SET authorized = authorized + $1 WHERE id = $2 AND authorized + $1 BETWEEN 0 AND credit_limit`, declined)
	must(t, err)
	var (
		mu      sync.Mutex
		sum     int64
		refused int
		writers sync.WaitGroup
	)
	for writer := range uint64(8) {
		writers.Go(func() {
			random := rand.New(rand.NewPCG(writer, 0))
			for range 30 {
				amount, undone := random.Int64N(100), random.IntN(2) == 0
				err := inTx(t.Context(), store, func(tx *postgres.Tx) error { return credit.Apply(t.Context(), tx, amount, "ada") })
				_, no := skald.AsRefusal(err)
				if err == nil && undone {
					err = inTx(t.Context(), store, func(tx *postgres.Tx) error { return credit.Undo(t.Context(), tx, amount, "ada") })
				}
				mu.Lock()
				switch {
				case no:
					refused++
				case err != nil:
					t.Error(err)
				case !undone:
					sum += amount
				}
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	if authorized := read[int64](t, store, `SELECT authorized FROM accounts`); authorized != sum || refused == 0 {
		t.Errorf("%d authorized, want %d; %d were refused", authorized, sum, refused)
	}
	err = inTx(t.Context(), store, func(tx *postgres.Tx) error { return credit.Apply(t.Context(), tx, 1, "eve") })
	if !errors.Is(err, isolation.ErrNoRow) {
		t.Errorf("nobody's: %v", err)
	}
}

// Of those who have read one version and write at the same time, one writes and the others are refused.
func TestOfWritersThatHaveReadOneVersionOneWrites(t *testing.T) {
	store := fresh(t)
	exec(t, store, `CREATE TABLE orders (id text PRIMARY KEY, total bigint NOT NULL, version bigint NOT NULL)`)
	exec(t, store, `INSERT INTO orders VALUES ('o', 0, 4)`)
	revise, err := isolation.NewReread(`UPDATE orders SET total = $1, version = version + 1 WHERE id = $2 AND version = $3`,
		skald.Refuse("order_changed", "the order has changed"))
	must(t, err)
	const writers = 8
	outcomes := make(chan error, writers)
	for i := range writers {
		go func() {
			outcomes <- inTx(t.Context(), store, func(tx *postgres.Tx) error { return revise.Write(t.Context(), tx, 4, i+1, "o") })
		}()
	}
	written := 0
	for range writers {
		if err := <-outcomes; err == nil {
			written++
		} else if _, refused := skald.AsRefusal(err); !refused {
			t.Error(err)
		}
	}
	if version := read[int](t, store, `SELECT version FROM orders`); written != 1 || version != 5 {
		t.Errorf("%d have written, version %d", written, version)
	}
}

func inTx(ctx context.Context, store *postgres.Store, fn func(tx *postgres.Tx) error) error {
	return pgx.BeginFunc(ctx, store.Pool(), func(tx pgx.Tx) error { return fn(postgres.Wrap(tx)) })
}
