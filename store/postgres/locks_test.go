package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/store/postgres"
)

func ticketKeys(n int) []lock.Key {
	keys := make([]lock.Key, n)
	for i := range keys {
		keys[i] = lock.Key{Resource: "kitchen.ticket", Key: fmt.Sprint(i)}
	}
	return keys
}

// lockRows is a row for each of the keys.
func lockRows(keys []lock.Key) []lock.Row {
	rows := make([]lock.Row, len(keys))
	for i := range rows {
		id := skald.NewID()
		rows[i] = lock.Row{
			Key: keys[i], Owner: lock.Owner{Root: id, Round: 1}, Place: 1, Saga: id, Name: "order", Step: "s",
			Since: time.Now().UTC().Truncate(time.Microsecond),
		}
	}
	return rows
}

func barrierKeys(n int) []inbox.BarrierKey {
	keys := make([]inbox.BarrierKey, n)
	for i := range keys {
		keys[i] = inbox.BarrierKey{Saga: skald.NewID(), Step: "s", Attempt: 1}
	}
	return keys
}

func TestBarriersAndSemanticLocksAreLockedAndReadInOneRoundTrip(t *testing.T) {
	config, err := pgxpool.ParseConfig(database(t))
	must(t, err)
	counted := &trips{}
	config.ConnConfig.Tracer = counted
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	store := open(t, pool, postgres.Config{})
	look := func(q inbox.Question) (locks int) {
		t.Helper()
		b := begin(t, store)
		before := counted.n
		_, err := store.Look(t.Context(), b.Tx(), "g", q)
		must(t, err)
		if n := counted.n - before; n > 1 {
			t.Errorf("it took %d round trips", n)
		}
		locks = count(t, store, advisoryLocks+" AND granted")
		must(t, b.Rollback())
		return locks
	}
	for _, c := range []struct{ barriers, locks, want int }{
		{0, 0, 0}, {2, 0, 3}, {0, 2, 3}, {2, 3, 6}, {600, 401, 1}, {0, 5000, 1},
	} {
		q := inbox.Question{IDs: []skald.ID{skald.NewID()}, Barriers: barrierKeys(c.barriers), Locks: ticketKeys(c.locks)}
		look(q) // prepares the statements
		if n := look(q); n != c.want {
			t.Errorf("for %d barriers and %d semantic locks the server keeps %d locks, not %d", c.barriers, c.locks, n, c.want)
		}
	}
}

// Each batch asks in its own order, and in another one for the other kind.
func TestBatchesThatLockTheSameThingsDoNotWaitInACircle(t *testing.T) {
	store := fresh(t)
	barriers, locks := barrierKeys(40), ticketKeys(40)
	const workers, rounds = 4, 25
	ended := make(chan error, workers)
	for w := range workers {
		q := inbox.Question{Barriers: slices.Clone(barriers), Locks: slices.Clone(locks)}
		if w&1 > 0 {
			slices.Reverse(q.Barriers)
		}
		if w&2 > 0 {
			slices.Reverse(q.Locks)
		}
		go func() {
			var err error
			for range rounds {
				err = errors.Join(err, func() error {
					b, err := store.Begin(t.Context())
					if err != nil {
						return err
					}
					defer func() { _ = b.Rollback() }()
					if _, err := store.Look(t.Context(), b.Tx(), "g", q); err != nil {
						return err
					}
					return b.Commit(t.Context())
				}())
			}
			ended <- err
		}()
	}
	for range workers {
		must(t, <-ended)
	}
}

func TestAQueueIsLockedInAnApplicationsOwnTransaction(t *testing.T) {
	store := fresh(t)
	ctx, keys := soon(t), ticketKeys(2)
	rows := lockRows(keys)
	rows[1].Group, rows[1].Message = "g", skald.NewID()
	tx, err := openSQL(t, store).BeginTx(ctx, nil)
	must(t, err)
	found, err := store.LockQueues(ctx, tx, keys)
	if must(t, err); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	b := begin(t, store)
	locked := make(chan error)
	go func() {
		var err error
		found, err = store.LockQueues(ctx, b.Tx(), keys[:1])
		locked <- err
	}()
	awaitLock(t, store)
	must(t, store.SaveLocks(ctx, tx, rows))
	mine, err := store.LockQueues(ctx, tx, keys)
	if must(t, err); !slices.Equal(mine, rows) {
		t.Errorf("it has written %+v, and finds %+v", rows, mine)
	}
	by, err := store.LockedBy(ctx, tx, rows[1].Root)
	if must(t, err); !slices.Equal(by, keys[1:]) {
		t.Errorf("the root is in the queues of %v", by)
	}
	must(t, store.DeleteLocks(ctx, tx, rows[1:]))
	must(t, tx.Commit())
	if must(t, <-locked); !slices.Equal(found, rows[:1]) {
		t.Errorf("the other one found %+v", found)
	}
	must(t, b.Rollback())
	if n := count(t, store, "skald_locks"); n != 1 {
		t.Errorf("%d rows are left", n)
	}
}

// A connection's plans are from the time when there was nothing, and nothing has counted the rows since.
func TestQueuesAreFoundByTheirIndexHoweverManyThereAre(t *testing.T) {
	config, err := pgxpool.ParseConfig(database(t))
	must(t, err)
	config.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	store := open(t, pool, postgres.Config{})
	exec(t, store, "ALTER TABLE skald_locks SET (autovacuum_enabled = off)")
	pool.Reset() // a connection has counted what it did when it ends: this one has made the indexes
	conn, err := pool.Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	rows := lockRows(ticketKeys(2))
	use := func(times int) {
		t.Helper()
		for range times {
			tx, err := conn.Begin(t.Context())
			must(t, err)
			wrapped := postgres.Wrap(tx)
			_, err = store.LockQueues(t.Context(), wrapped, []lock.Key{rows[0].Key, rows[1].Key})
			must(t, err)
			must(t, store.SaveLocks(t.Context(), wrapped, rows))
			_, err = store.LockedBy(t.Context(), wrapped, rows[0].Root)
			must(t, err)
			must(t, store.DeleteLocks(t.Context(), wrapped, rows))
			must(t, wrapped.Commit())
		}
	}
	use(10) // more often than a plan is made anew
	exec(t, store, `INSERT INTO skald_locks
SELECT 'kitchen.ticket', 'many ' || n, gen_random_uuid(), 1, 1, gen_random_uuid(), '', '', 1, '', NULL, now() FROM generate_series(1, 20000) AS n`)
	exec(t, store, "DELETE FROM skald_locks WHERE key LIKE 'many %0'")
	pool.Reset()
	statistics := func(column string) int {
		return read[int](t, store, "SELECT "+column+" FROM pg_stat_user_tables WHERE relname = 'skald_locks'")
	}
	eventually(t, "the server's count of rows", func() bool { return statistics("n_tup_del") >= 2000 })
	scans, inserted := statistics("seq_scan"), statistics("n_tup_ins")
	use(10)
	conn.Release()
	pool.Reset()
	eventually(t, "the server's count of rows", func() bool { return statistics("n_tup_ins") >= inserted+20 })
	if n := statistics("seq_scan") - scans; n != 0 {
		t.Errorf("the whole table was read %d times", n)
	}
}
