package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/store/postgres"
)

// BenchmarkBatch is the whole unit of work: 64 messages deduplicated, recorded with their
// positions, answered, their sagas brought forward, and the commit with it.
func BenchmarkBatch(b *testing.B) {
	const n = 64
	store := open(b, connect(b, database(b)), postgres.Config{Relay: postgres.Poll})
	ctx := context.WithoutCancel(b.Context())
	leases, err := store.ClaimPartitions(ctx, "me", []inbox.Partition{{Channel: "orders", Group: "kitchen"}}, time.Hour)
	must(b, err)
	outgoing, sagas := messages(n, ""), records(n)
	inBatch(b, store, func(tx skald.Tx) { must(b, store.SaveSagas(ctx, tx, sagas)) })
	list, handled, entries := make([]skald.ID, n), make([]inbox.Handled, n), make([]saga.Entry, 2*n)
	keys := make([]inbox.ChannelKey, n)
	reply := make([]byte, 300)
	number := 0
	b.ReportAllocs()
	for b.Loop() {
		for i := range n {
			list[i] = skald.NewID()
			outgoing[i].ID, outgoing[i].Key = skald.NewID(), sagas[i].Key
			handled[i] = inbox.Handled{ID: list[i], Reply: reply}
			keys[i] = inbox.ChannelKey{Channel: "orders", Key: sagas[i].Key}
			sagas[i].Revision++
			for j := range 2 {
				entries[2*i+j] = saga.Entry{Saga: sagas[i].ID, Number: number + j, At: time.Now(), Step: "create ticket", What: saga.HistorySent}
			}
		}
		number += 2
		leases[0].Position.Sequence += n
		batch, err := store.Begin(ctx)
		must(b, err)
		tx := batch.Tx()
		_, err = store.Handled(ctx, tx, "kitchen", list)
		must(b, err)
		_, _, err = store.HeldAmong(ctx, tx, "kitchen", keys, list)
		must(b, err)
		must(b, errors.Join(
			store.SaveSagas(ctx, tx, sagas),
			store.AddHistory(ctx, tx, entries),
			store.AddMessages(ctx, tx, outgoing),
			store.RecordHandled(ctx, tx, "kitchen", time.Now(), handled),
			store.SavePositions(ctx, tx, leases),
			batch.Commit(ctx)))
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/batch")
	b.ReportMetric(float64(read[int](b, store, "SELECT 100 * n_tup_hot_upd / greatest(n_tup_upd, 1) FROM pg_stat_user_tables WHERE relname = 'skald_sagas'")), "%heap-only")
}

func BenchmarkEmptyBatch(b *testing.B) {
	store := fresh(b)
	ctx := context.WithoutCancel(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		batch, err := store.Begin(ctx)
		must(b, err)
		_, err = store.Handled(ctx, batch.Tx(), "kitchen", []skald.ID{skald.NewID()})
		must(b, err)
		must(b, batch.Commit(ctx))
	}
}

// BenchmarkLocks is what semantic locks add to a batch of 64 commands: their queues are looked at together
// with the barriers, and each lock is taken in one batch and released in the next.
func BenchmarkLocks(b *testing.B) {
	const n = 64
	for name, locked := range map[string]int{"none": 0, "64": n} {
		b.Run(name, func(b *testing.B) {
			store := fresh(b)
			ctx := context.WithoutCancel(b.Context())
			var keys []lock.Key
			var rows []lock.Row
			number := 0
			b.ReportAllocs()
			for b.Loop() {
				barriers := barrierKeys(n)
				if number++; number%2 == 1 {
					keys = make([]lock.Key, locked)
					for i := range keys {
						keys[i] = lock.Key{Resource: "kitchen.ticket", Key: barriers[i].Saga.String()}
					}
					rows = lockRows(keys)
				}
				batch, err := store.Begin(ctx)
				must(b, err)
				known, err := store.Look(ctx, batch.Tx(), "kitchen", inbox.Question{Barriers: barriers, Locks: keys})
				must(b, err)
				recorded := make([]inbox.Barrier, n)
				for i := range recorded {
					recorded[i] = inbox.Barrier{BarrierKey: barriers[i], State: inbox.BarrierDone}
				}
				must(b, store.SaveBarriers(ctx, batch.Tx(), time.Now(), recorded))
				if len(known.Locks) > 0 {
					must(b, store.DeleteLocks(ctx, batch.Tx(), known.Locks))
				} else {
					must(b, store.SaveLocks(ctx, batch.Tx(), rows))
				}
				must(b, batch.Commit(ctx))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/batch")
			b.ReportMetric(float64(read[int](b, store, "SELECT pg_total_relation_size('skald_locks') / 1024")), "KiB")
		})
	}
}
