package sqlite_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/store/sqlite"
)

// perRow runs one batch of n rows after another, each committed, and reports the time per
// row; make and commit are not part of it, the one because it is the caller's, the other
// because it is the disk's.
func perRow(b *testing.B, n int, write func(ctx context.Context, store *sqlite.Store, tx skald.Tx, round int) error) {
	b.Helper()
	store := fresh(b)
	ctx := context.WithoutCancel(b.Context())
	b.ReportAllocs()
	for round := 0; b.Loop(); round++ {
		batch, err := store.Begin(ctx)
		must(b, err)
		must(b, write(ctx, store, batch.Tx(), round))
		b.StopTimer()
		must(b, batch.Commit(ctx))
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
}

var sizes = []int{1, 64, 256}

func BenchmarkAddMessages(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			list := messages(n, "key")
			perRow(b, n, func(ctx context.Context, store *sqlite.Store, tx skald.Tx, _ int) error {
				return store.AddMessages(ctx, tx, list)
			})
		})
	}
}

func BenchmarkHandled(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ids := make([]skald.ID, n)
			perRow(b, n, func(ctx context.Context, store *sqlite.Store, tx skald.Tx, _ int) error {
				for i := range ids {
					ids[i] = skald.NewID()
				}
				_, err := store.Handled(ctx, tx, "kitchen", ids)
				return err
			})
		})
	}
}

func BenchmarkRecordHandled(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			handled := make([]inbox.Handled, n)
			reply := make([]byte, 200)
			perRow(b, n, func(ctx context.Context, store *sqlite.Store, tx skald.Tx, _ int) error {
				for i := range handled {
					handled[i] = inbox.Handled{ID: skald.NewID(), Reply: reply}
				}
				return store.RecordHandled(ctx, tx, "kitchen", time.Now(), handled)
			})
		})
	}
}

func BenchmarkHeldAmongNothingHeld(b *testing.B) {
	keys, ids := make([]inbox.ChannelKey, 64), make([]skald.ID, 64)
	perRow(b, 64, func(ctx context.Context, store *sqlite.Store, tx skald.Tx, _ int) error {
		_, _, err := store.HeldAmong(ctx, tx, "kitchen", keys, ids)
		return err
	})
}

func records(n int) []saga.Record {
	list := make([]saga.Record, n)
	for i := range list {
		id := skald.NewID()
		list[i] = saga.Record{
			ID: id, Name: "order.create", Version: 1, Key: id.String(), Status: saga.Running, Step: "create ticket",
			State: make([]byte, 250), Progress: make([]byte, 250), DueAt: time.Now().Add(time.Minute),
			StartedAt: time.Now(), UpdatedAt: time.Now(), Revision: 1,
		}
	}
	return list
}

func BenchmarkSaveSagasInsert(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			perRow(b, n, func(ctx context.Context, store *sqlite.Store, tx skald.Tx, _ int) error {
				return store.SaveSagas(ctx, tx, records(n))
			})
		})
	}
}

func BenchmarkSaveSagasUpdate(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var list []saga.Record
			perRow(b, n, func(ctx context.Context, store *sqlite.Store, tx skald.Tx, round int) error {
				if round == 0 {
					list = records(n)
				} else {
					for i := range list {
						list[i].Revision++
					}
				}
				return store.SaveSagas(ctx, tx, list)
			})
		})
	}
}

func BenchmarkLoadSagas(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var ids []skald.ID
			perRow(b, n, func(ctx context.Context, store *sqlite.Store, tx skald.Tx, round int) error {
				if round == 0 {
					list := records(n)
					for i := range list {
						ids = append(ids, list[i].ID)
					}
					return store.SaveSagas(ctx, tx, list)
				}
				_, err := store.LoadSagas(ctx, tx, ids)
				return err
			})
		})
	}
}

func BenchmarkSavePositions(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var leases []inbox.Lease
			store := fresh(b)
			ctx := context.WithoutCancel(b.Context())
			for i := range n {
				claimed, err := store.ClaimPartitions(ctx, "me", []inbox.Partition{{Channel: "orders", Group: "kitchen", Number: i}}, time.Hour)
				must(b, err)
				leases = append(leases, claimed...)
			}
			batch := begin(b, store)
			for b.Loop() {
				must(b, store.SavePositions(ctx, batch.Tx(), leases))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
		})
	}
}

func BenchmarkNext(b *testing.B) {
	const n = 256
	store := fresh(b)
	ctx := context.WithoutCancel(b.Context())
	for range 40 {
		inBatch(b, store, func(tx skald.Tx) { must(b, store.AddMessages(ctx, tx, messages(n, "key"))) })
	}
	var cursor relay.Cursor
	read := 0
	b.ReportAllocs()
	for b.Loop() {
		if cursor == nil || read == 40 {
			var err error
			cursor, err = store.OpenOutbox(ctx, relay.Position{})
			must(b, err)
			opened := cursor
			b.Cleanup(func() { must(b, opened.Close()) })
			read = 0
		}
		_, err := cursor.Next(ctx, n)
		must(b, err)
		read++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
}

// BenchmarkBatch is the whole unit of work: 64 messages deduplicated, recorded with their
// positions, and answered, and the commit with it.
func BenchmarkBatch(b *testing.B) {
	const n = 64
	store := fresh(b)
	ctx := context.WithoutCancel(b.Context())
	leases, err := store.ClaimPartitions(ctx, "me", []inbox.Partition{{Channel: "orders", Group: "kitchen"}}, time.Hour)
	must(b, err)
	list := messages(n, "key")
	ids, handled := make([]skald.ID, n), make([]inbox.Handled, n)
	b.ReportAllocs()
	for b.Loop() {
		for i := range ids {
			ids[i] = skald.NewID()
			handled[i].ID = ids[i]
		}
		batch, err := store.Begin(ctx)
		must(b, err)
		_, err = store.Handled(ctx, batch.Tx(), "kitchen", ids)
		must(b, err)
		must(b, store.RecordHandled(ctx, batch.Tx(), "kitchen", time.Now(), handled))
		must(b, store.AddMessages(ctx, batch.Tx(), list))
		must(b, store.SavePositions(ctx, batch.Tx(), leases))
		must(b, batch.Commit(ctx))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
}

func BenchmarkEmptyBatch(b *testing.B) {
	store := fresh(b)
	ctx := context.WithoutCancel(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		batch, err := store.Begin(ctx)
		must(b, err)
		must(b, batch.Commit(ctx))
	}
}
