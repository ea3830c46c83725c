package postgres_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/store/postgres"
)

// openSQL is the store's pool for an application that uses database/sql.
func openSQL(t *testing.T, store *postgres.Store) *sql.DB {
	t.Helper()
	db := stdlib.OpenDBFromPool(store.Pool())
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

func TestATransactionOfDatabaseSQLStartsSagasAndAddsMessages(t *testing.T) {
	store := fresh(t)
	db, ctx := openSQL(t, store), t.Context()
	r := records(1)[0]
	r.Request, r.Reason = "request 1", "none\x00yet"
	start := func(end func(tx *sql.Tx) error) {
		t.Helper()
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		defer tx.Rollback()
		for _, find := range []func() (*saga.Record, error){
			func() (*saga.Record, error) { return store.FindLive(ctx, tx, r.Name, r.Key) },
			func() (*saga.Record, error) { return store.FindRequest(ctx, tx, r.Name, r.Request) },
		} {
			if found, err := find(); err != nil || found != nil {
				t.Errorf("before the start: %v, %v", found, err)
			}
		}
		must(t, store.SaveSagas(ctx, tx, []saga.Record{r}))
		must(t, store.AddHistory(ctx, tx, []saga.Entry{{Saga: r.ID, Number: 1, At: r.StartedAt, What: saga.HistoryStarted}}))
		must(t, store.AddMessages(ctx, tx, messages(3, "k")))
		found, err := store.FindLive(ctx, tx, r.Name, r.Key)
		must(t, err)
		if found == nil || found.ID != r.ID || !found.DueAt.Equal(r.DueAt) || string(found.State) != string(r.State) || found.Reason != "none\uFFFDyet" {
			t.Errorf("the saga is %+v, and should be %+v", found, r)
		}
		loaded, err := store.LoadSagas(ctx, tx, []skald.ID{r.ID})
		must(t, err)
		loaded[0].Revision++
		must(t, store.SaveSagas(ctx, tx, loaded))
		must(t, end(tx))
	}
	start((*sql.Tx).Rollback)
	start((*sql.Tx).Commit)
	if n := read[int](t, store, "SELECT (SELECT count(*) FROM skald_outbox) + (SELECT sum(revision) FROM skald_sagas) + (SELECT count(*) FROM skald_history)"); n != 3+2+1 {
		t.Errorf("messages, revisions and entries are %d in all, not 6", n)
	}
}

func records(n int) []saga.Record {
	list := make([]saga.Record, n)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range list {
		id := skald.NewID()
		list[i] = saga.Record{
			ID: id, Name: "order.create", Version: 1, Key: id.String(), Status: saga.Running, Step: "create ticket",
			State: make([]byte, 250), Progress: make([]byte, 250), DueAt: now.Add(time.Minute), StartedAt: now, UpdatedAt: now, Revision: 1,
		}
	}
	return list
}
