package throughput

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/store/sqlite"
)

// steps of each saga that is in the history: so many replies were handled, and as many
// lines are written about it.
const steps = 4

// addHistory fills the database with sagas that have ended, as the runtime leaves them.
func (b *bench) addHistory(ctx context.Context, store *sqlite.Store) error {
	const each = 500
	for n := 0; n < b.options.Ended; n += each {
		b.report("add ended sagas", n, b.options.Ended)
		if err := addEnded(ctx, store, n, min(each, b.options.Ended-n)); err != nil {
			return fmt.Errorf("add ended sagas: %w", err)
		}
	}
	return nil
}

func addEnded(ctx context.Context, store *sqlite.Store, from, n int) error {
	var (
		records []saga.Record
		entries []saga.Entry
		handled []inbox.Handled
	)
	now := time.Now()
	for i := range n {
		id := skald.NewID()
		records = append(records, saga.Record{
			ID: id, Name: "bench.ended", Version: 1, Key: fmt.Sprint(from + i), Status: saga.Completed, Step: "approve order",
			State: []byte(`{"id":1,"consumer":2,"amount":3000}`), Progress: []byte(`{}`), StartedAt: now, UpdatedAt: now, Revision: 1,
		})
		for step := range steps {
			entries = append(entries, saga.Entry{Saga: id, Number: step + 1, At: now, Step: "a step of the saga", What: saga.HistoryDone})
			handled = append(handled, inbox.Handled{ID: skald.NewID()})
		}
	}
	batch, err := store.Begin(ctx)
	if err != nil {
		return err
	}
	err = errors.Join(
		store.SaveSagas(ctx, batch.Tx(), records),
		store.AddHistory(ctx, batch.Tx(), entries),
		store.RecordHandled(ctx, batch.Tx(), group, now, handled))
	if err == nil {
		err = batch.Commit(ctx)
	}
	return errors.Join(err, batch.Rollback())
}
