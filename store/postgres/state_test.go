package postgres_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/store/postgres"
)

// Faults: 83.
func TestWhatPostgreSQLCannotHaveAsTextStopsNobody(t *testing.T) {
	store := fresh(t)
	ctx, bad := t.Context(), "a\x00b\xff"
	m := messages(1, bad)[0]
	key := inbox.BarrierKey{Saga: skald.NewID(), Step: bad, Attempt: math.MaxInt}
	m.Headers = skald.Headers{
		{Name: skald.HeaderAction, Value: skald.ActionDo},
		{Name: skald.HeaderSaga, Value: key.Saga.String()},
		{Name: skald.HeaderStep, Value: bad},
		{Name: skald.HeaderAttempt, Value: "9223372036854775807"},
	}
	r := records(1)[0]
	r.Reason = bad
	queue := lockRows([]lock.Key{{Resource: "kitchen.ticket", Key: bad}})
	queue[0].Step = bad
	inBatch(t, store, func(tx skald.Tx) {
		_, err := store.LockBarriers(ctx, tx, []inbox.BarrierKey{key})
		must(t, errors.Join(err,
			store.SaveBarriers(ctx, tx, time.Now(), []inbox.Barrier{{BarrierKey: key, State: inbox.BarrierRefused}}),
			store.SaveLocks(ctx, tx, queue),
			store.Hold(ctx, tx, "g", []inbox.Held{{Message: m, State: inbox.HeldParked, Reason: "cut sh\xc3", HeldAt: time.Now()}}),
			store.SaveSagas(ctx, tx, []saga.Record{r}),
			store.AddHistory(ctx, tx, []saga.Entry{{Saga: r.ID, Number: 1, Detail: bad}})))
	})
	inBatch(t, store, func(tx skald.Tx) {
		found, err := store.LockBarriers(ctx, tx, []inbox.BarrierKey{key})
		if must(t, err); len(found) != 1 || found[0].BarrierKey != key {
			t.Errorf("the barrier is %v", found)
		}
		rows, err := store.LockQueues(ctx, tx, []lock.Key{queue[0].Key})
		if must(t, err); len(rows) != 1 || rows[0].Key != queue[0].Key {
			t.Errorf("the queue is %v", rows)
		}
		must(t, store.DeleteLocks(ctx, tx, queue))
		want := inbox.ChannelKey{Channel: m.Channel, Key: bad}
		blocked, held, err := store.HeldAmong(ctx, tx, "g", []inbox.ChannelKey{want}, []skald.ID{m.ID})
		if must(t, err); len(blocked) != 1 || blocked[0] != want || len(held) != 1 {
			t.Errorf("held are %q, %v", blocked, held)
		}
		dos, err := store.ReleaseHeldDos(ctx, tx, "g", []inbox.BarrierKey{key})
		if must(t, err); len(dos) != 1 || dos[0] != key {
			t.Errorf("the held do is %v", dos)
		}
	})
	if n := count(t, store, "skald_locks"); n != 0 {
		t.Errorf("%d rows of locks are left", n)
	}
	held, err := store.ListHeld(ctx, "g", 0, 10)
	if must(t, err); len(held) != 1 || held[0].Message.Key != bad {
		t.Errorf("held are %v", held)
	}
}

// Two batches see the same first message: one adds a follower while the other removes what it
// follows.
func TestNoFollowerIsLeftWithoutAFirstMessage(t *testing.T) {
	held := func(m skald.Message, state inbox.HeldState) []inbox.Held {
		return []inbox.Held{{Message: m, State: state, HeldAt: time.Now()}}
	}
	for name, followerFirst := range map[string]bool{"the follower commits first": true, "the removal commits first": false} {
		t.Run(name, func(t *testing.T) {
			store := fresh(t)
			ctx, list := soon(t), messages(2, "k")
			inBatch(t, store, func(tx skald.Tx) { must(t, store.Hold(ctx, tx, "g", held(list[0], inbox.HeldRetrying))) })
			adds, removes := begin(t, store), begin(t, store)
			add := func() error {
				return errors.Join(store.Hold(ctx, adds.Tx(), "g", held(list[1], inbox.HeldFollowing)), adds.Flush(ctx))
			}
			remove := func() error {
				return errors.Join(store.Unhold(ctx, removes.Tx(), "g", []skald.ID{list[0].ID}), removes.Flush(ctx))
			}
			first, second, one, two := adds, removes, add, remove
			if !followerFirst {
				first, second, one, two = removes, adds, remove, add
			}
			must(t, one())
			ended := make(chan error)
			go func() { ended <- two() }()
			awaitLock(t, store)
			must(t, first.Commit(ctx))
			must(t, <-ended)
			must(t, second.Commit(ctx))
			due, err := store.DueHeld(ctx, "g", time.Now(), 10)
			if must(t, err); len(due) != 1 || due[0].Message.ID != list[1].ID {
				t.Errorf("due is %v, not the follower", due)
			}
		})
	}
}

// Faults: 58.
func TestABarrierIsLockedBeforeThereIsOne(t *testing.T) {
	for name, n := range map[string]int{"one": 1, "more than there are locks": 5000} {
		t.Run(name, func(t *testing.T) {
			store := fresh(t)
			ctx := soon(t)
			keys := make([]inbox.BarrierKey, n)
			for i := range keys {
				keys[i] = inbox.BarrierKey{Saga: skald.NewID(), Step: "s", Attempt: 1}
			}
			first, second := begin(t, store), begin(t, store)
			found, err := store.LockBarriers(ctx, first.Tx(), keys)
			if must(t, err); len(found) != 0 {
				t.Errorf("found %d barriers", len(found))
			}
			if n := read[int](t, store, "SELECT count(*) FROM "+advisoryLocks+" AND granted"); n > 2 {
				t.Errorf("the server keeps %d locks", n)
			}
			var seen []inbox.Barrier
			locked := make(chan error)
			go func() {
				var err error
				seen, err = store.LockBarriers(ctx, second.Tx(), keys[:1])
				locked <- err
			}()
			awaitLock(t, store)
			barrier := inbox.Barrier{BarrierKey: keys[0], State: inbox.BarrierUndone}
			must(t, store.SaveBarriers(ctx, first.Tx(), time.Now(), []inbox.Barrier{barrier}))
			must(t, first.Commit(ctx))
			if must(t, <-locked); len(seen) != 1 || seen[0] != barrier {
				t.Errorf("the second one saw %v", seen)
			}
		})
	}
}

const advisoryLocks = "pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"

// awaitLock returns once a transaction waits for another's advisory lock.
func awaitLock(t *testing.T, store *postgres.Store) {
	t.Helper()
	eventually(t, "one that waits for the other", func() bool {
		return read[int](t, store, "SELECT count(*) FROM "+advisoryLocks+" AND NOT granted") == 1
	})
}

func TestAPartitionThatIsTakenMeanwhileIsNotClaimed(t *testing.T) {
	store := fresh(t)
	ctx, wanted := soon(t), []inbox.Partition{{Channel: "orders", Group: "g"}}
	leases, err := store.ClaimPartitions(ctx, "a", wanted, time.Hour)
	must(t, err)
	must(t, store.ReleasePartitions(ctx, "a", leases))
	other, err := store.Pool().Begin(ctx)
	must(t, err)
	defer rollback(t, other)
	_, err = other.Exec(ctx, "UPDATE skald_partitions SET holder = 'b', epoch = epoch + 1, expires_at = now() + interval '1 hour'")
	must(t, err)
	ended := make(chan error)
	go func() {
		var err error
		leases, err = store.ClaimPartitions(ctx, "a", wanted, time.Hour)
		ended <- err
	}()
	eventually(t, "a claim that waits", func() bool {
		return read[int](t, store, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == 1
	})
	must(t, other.Commit(ctx))
	if must(t, <-ended); len(leases) != 0 {
		t.Errorf("claimed is %v, which another has", leases)
	}
}

func TestARevisionThatWasNotLoadedIsNotSaved(t *testing.T) {
	store := fresh(t)
	list := records(2)
	inBatch(t, store, func(tx skald.Tx) { must(t, store.SaveSagas(t.Context(), tx, list[:1])) })
	list[0].Revision, list[1].Revision = 2, 2 // the second one is not there at all
	b := begin(t, store)
	err := errors.Join(store.SaveSagas(t.Context(), b.Tx(), list), b.Commit(t.Context()))
	if !errors.Is(err, saga.ErrStale) || !store.Retryable(err) {
		t.Errorf("saving a saga that is not stored returned %v", err)
	}
	if n := read[int](t, store, "SELECT max(revision) FROM skald_sagas"); n != 1 {
		t.Errorf("the revision is %d, not 1", n)
	}
}

func TestASagaStepIsAHeapOnlyUpdate(t *testing.T) {
	store := fresh(t)
	list := records(64)
	inBatch(t, store, func(tx skald.Tx) { must(t, store.SaveSagas(t.Context(), tx, list)) })
	for range 5 {
		for i := range list {
			list[i].Revision++
			list[i].UpdatedAt = time.Now()
		}
		inBatch(t, store, func(tx skald.Tx) { must(t, store.SaveSagas(t.Context(), tx, list)) })
	}
	eventually(t, "the server's count of updates", func() bool {
		return read[int](t, store, "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'skald_sagas'") == 5*64
	})
	if hot := read[int](t, store, "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'skald_sagas'"); hot < 5*64*8/10 {
		t.Errorf("%d of %d updates were heap-only", hot, 5*64)
	} else {
		t.Logf("%d of %d updates were heap-only", hot, 5*64)
	}
}
