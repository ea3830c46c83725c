package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

// A commit waits for a standby that is missing: the log has it, and so does the snapshot of a slot
// that is made meanwhile, but nobody can see its rows.
//
// Faults: 39.
func TestWhatTheLogHasBeforeItCanBeSeenIsAwaited(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgreSQL(t)
	url := servers.Database(t, server.URL())
	plain := open(t, connect(t, url), postgres.Config{})
	store := open(t, connect(t, url+"&synchronous_commit=local"), postgres.Config{}) // the relay's own writes wait for nobody
	first, second, hidden := messages(1, "first"), messages(1, "second"), messages(3, "hidden")

	// The slot's snapshot begins to collect commits behind the first transaction, and is ready behind
	// the second.
	one := adding(t, store, first...)
	r := reads(t, store)
	got := make(chan skald.Message, 100)
	go func() {
		for ctx := soon(t); ; {
			records, err := r.cursor.Next(ctx, 1)
			if err != nil {
				return
			}
			got <- records[0].Message
			if records[0].Message.Key == "marker" {
				close(got)
				return
			}
		}
	}()
	awaits := func(tx pgx.Tx) {
		t.Helper()
		eventually(t, "a slot that waits for a transaction", func() bool {
			return count(t, store, "pg_locks WHERE locktype = 'transactionid' AND NOT granted AND transactionid = $1::text::xid", xidOf(t, tx)) > 0
		})
	}
	awaits(one)
	two := adding(t, store, second...)
	must(t, one.Commit(t.Context()))
	awaits(two)
	exec(t, store, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	exec(t, store, "SELECT pg_reload_conf()")
	eventually(t, "a server that waits for a standby", func() bool {
		var names string
		must(t, plain.Pool().QueryRow(t.Context(), "SHOW synchronous_standby_names").Scan(&names))
		return names == "nobody"
	})
	three := adding(t, plain, hidden...)
	committed := make(chan error, 1)
	go func() { committed <- three.Commit(context.WithoutCancel(t.Context())) }()
	waiting := func() bool {
		return count(t, store, "pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()") == 1
	}
	eventually(t, "a commit that waits", waiting)
	must(t, two.Commit(t.Context()))
	eventually(t, "a slot", func() bool {
		return count(t, store, "skald_relay WHERE confirmed <> '0/0'") == 1
	})
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for open := true; open; {
		select {
		case m := <-got:
			if m.Key == "hidden" {
				t.Error("a message was read that nobody can see yet")
			}
		case <-short.Done():
			open = false
		}
	}
	if !waiting() {
		t.Fatal("the commit did not wait")
	}
	exec(t, store, "ALTER SYSTEM RESET synchronous_standby_names")
	exec(t, store, "SELECT pg_reload_conf()")
	must(t, <-committed)
	add(t, store, messages(1, "marker")...)
	n := 0
	for m := range got {
		if m.Key == "hidden" {
			n++
		}
	}
	if n != len(hidden) {
		t.Errorf("%d of %d messages came out", n, len(hidden))
	}
}

func xidOf(t *testing.T, tx pgx.Tx) (xid string) {
	t.Helper()
	must(t, tx.QueryRow(t.Context(), "SELECT pg_current_xact_id()::xid::text").Scan(&xid))
	return xid
}

func count(t *testing.T, store *postgres.Store, from string, args ...any) int {
	t.Helper()
	return read[int](t, store, "SELECT count(*) FROM "+from, args...)
}
