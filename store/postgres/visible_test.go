package postgres

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/servers"
)

// A commit that waits for a standby is in the log, and in the snapshot of a slot that is made
// meanwhile, but nobody can see its rows. What the slot leaves to the table is read once they can be
// seen.
//
// Faults: 39.
func TestWhatTheLogHasBeforeItCanBeSeenIsAwaited(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgreSQL(t)
	url := servers.Database(t, server.URL())
	connect := func(url string) *pgxpool.Pool {
		pool, err := pgxpool.New(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	waits, own := connect(url), connect(url+"&synchronous_commit=local") // the relay's own writes wait for nobody
	store, err := Open(t.Context(), own, Config{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(pool *pgxpool.Pool, query string) (answer string) {
		if err := pool.QueryRow(t.Context(), query).Scan(&answer); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return answer
	}
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	until := func(pool *pgxpool.Pool, query, want string) {
		for ask(pool, query) != want {
			<-look.C
		}
	}
	configure := func(names string) {
		for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + names + "'", "SELECT pg_reload_conf()"} {
			if _, err := own.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		until(waits, "SHOW synchronous_standby_names", names)
	}

	tx, err := waits.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hidden := skald.Message{ID: skald.NewID(), Type: "order.placed", Channel: "order", Key: "4711"}
	if err := store.AddMessages(t.Context(), Wrap(tx), []skald.Message{hidden}); err != nil {
		t.Fatal(err)
	}
	var xid uint64
	if err := tx.QueryRow(t.Context(), "SELECT pg_current_xact_id()::text::bigint").Scan(&xid); err != nil {
		t.Fatal(err)
	}
	configure("nobody")
	committed := make(chan error, 1)
	go func() { committed <- tx.Commit(t.Context()) }()
	until(own, "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()", "1")

	c := &cursor{store: store, floor: emptySnapshot, base: fmt.Sprintf("%d:%[1]d:", xid+1), madeAt: time.Now(), life: t.Context(), stop: func() {}}
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if records, err := c.Next(short, 10); err == nil {
		t.Errorf("before anybody can see the message, the reader gave %v", records)
	}
	if len(committed) > 0 || c.base == "" {
		t.Error("the commit did not wait, or the reader did not")
	}
	configure("")
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	patient, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	records, err := c.Next(patient, 10)
	if err != nil || len(records) != 1 || records[0].Message.ID != hidden.ID {
		t.Errorf("once the message can be seen, the reader gave %v, %v", records, err)
	}
}

// The server itself does not take such a text as a snapshot.
func TestASlotsSnapshotIsInOrder(t *testing.T) {
	for given, want := range map[string]string{"9373:9371:": "9373:9373:", "5:5:": "5:5:", "5:9:6,8": "5:9:6,8"} {
		if got, err := ordered(given); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", given, got, err, want)
		}
	}
	if _, err := ordered("5"); err == nil {
		t.Error("what is no snapshot is taken")
	}
}
