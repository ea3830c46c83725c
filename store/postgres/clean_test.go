package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

// cleans empties what may be emptied of what was added more than an hour ago.
func cleans(t *testing.T, store *postgres.Store) int {
	t.Helper()
	n, err := store.CleanOutbox(t.Context(), time.Now().Add(-time.Hour), 100)
	must(t, err)
	return n
}

// The rows are a day old and not published, whether their transaction is under way, or has
// committed behind a settled one that began later.
//
// Faults: 43.
func TestCleaningSparesWhatADayOldTransactionAdded(t *testing.T) {
	t.Parallel()
	for _, how := range []postgres.Relay{postgres.Tail, postgres.Poll} {
		url := database(t)
		store := open(t, connect(t, url), postgres.Config{Relay: how})
		r := reads(t, store)
		if how == postgres.Tail {
			r.tail()
		}
		late, early := messages(3, "late"), messages(2, "early")
		day := adding(t, store, late...)
		age(t, day, "late")
		add(t, store, early...)
		r.settle(r.takes(early...))
		age(t, store.Pool(), "early", "marker")
		if n := cleans(t, store); n != 0 {
			t.Errorf("%s: %d messages were cleaned beside an open transaction", how, n)
		}
		must(t, day.Commit(t.Context()))
		if n := cleans(t, store); n != 0 {
			t.Errorf("%s: %d messages were cleaned, and some of them are not published", how, n)
		}
		r.close()
		r = reads(t, open(t, connect(t, url), postgres.Config{Relay: how}))
		r.settle(r.takes(late...))
		eventually(t, "a cleaning of what is published", func() bool { return cleans(t, store) >= len(late)+len(early) })
	}
}

// execer is a connection, a transaction or a pool.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// age makes messages of some keys a day older.
func age(t *testing.T, db execer, keys ...string) {
	t.Helper()
	_, err := db.Exec(t.Context(), "UPDATE skald_outbox SET added_at = added_at - interval '1 day' WHERE key = ANY ($1)", keys)
	must(t, err)
}

// The server dies when a cleaning has emptied a part of the outbox and has not committed that.
//
// Faults: 14.
func TestKilledWhileCleaningLosesNothing(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgreSQL(t)
	url := servers.Database(t, server.URL())
	store := open(t, connect(t, url), postgres.Config{})
	r := reads(t, store)
	r.tail()
	settled, unsettled := messages(50, "k"), messages(50, "k")
	add(t, store, settled...)
	r.settle(r.takes(settled...))
	last := messages(1, "k")
	add(t, store, last...)
	r.settle(r.takes(last...))
	age(t, store.Pool(), "k", "marker")
	exec(t, store, `CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NULL; END'`)
	exec(t, store, "CREATE TRIGGER stuck AFTER TRUNCATE ON skald_outbox_0 EXECUTE FUNCTION stuck()")
	cleaned := make(chan error, 1)
	go func() {
		var err error
		for err == nil { // until the floor is behind what is settled
			_, err = store.CleanOutbox(t.Context(), time.Now().Add(-time.Hour), 100)
		}
		cleaned <- err
	}()
	eventually(t, "a cleaning that is stuck behind its TRUNCATE", func() bool {
		return count(t, store, "pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'") == 1
	})
	must(t, server.Kill())
	if err := <-cleaned; err == nil {
		t.Error("the cleaning met no error")
	}
	must(t, server.Start(t.Context()))
	store = open(t, connect(t, url), postgres.Config{})
	if n := count(t, store, "skald_outbox WHERE key = 'k'"); n != len(settled)+1 {
		t.Errorf("%d messages are left of %d", n, len(settled)+1)
	}
	exec(t, store, "DROP TRIGGER stuck ON skald_outbox_0")
	r.close()
	r = reads(t, store)
	add(t, store, unsettled...)
	age(t, store.Pool(), "k", "marker")
	if n := cleans(t, store); n != 0 {
		t.Errorf("%d messages were cleaned, and some of them are not published", n)
	}
	r.settle(r.takes(unsettled...))
	eventually(t, "a cleaning", func() bool { return cleans(t, store) >= len(settled)+len(unsettled) })
}
