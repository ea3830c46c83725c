package postgres_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// reader reads an outbox as a relay does: under the lease, from the checkpoint on.
type reader struct {
	*testing.T
	store  *postgres.Store
	lease  relay.Lease
	cursor relay.Cursor
}

// reads opens a reader. One that is still open loses the slot to it, and the lease is the same.
func reads(t *testing.T, store *postgres.Store) *reader {
	t.Helper()
	lease, ok, err := store.AcquireLease(t.Context(), "reader", time.Minute)
	if must(t, err); !ok {
		t.Fatal("another holds the lease")
	}
	checkpoint, err := store.Checkpoint(t.Context())
	must(t, err)
	cursor, err := store.OpenOutbox(soon(t), checkpoint.Position)
	must(t, err)
	r := &reader{t, store, lease, cursor}
	t.Cleanup(r.close)
	return r
}

// close may be called twice.
func (r *reader) close() {
	if r.cursor != nil {
		must(r.T, r.cursor.Close())
	}
	r.cursor = nil
}

// take reads n records.
func (r *reader) take(n int) []relay.Record {
	r.Helper()
	var all []relay.Record
	for ctx := soon(r.T); len(all) < n; {
		records, err := r.cursor.Next(ctx, n-len(all))
		if err != nil {
			r.Fatalf("after %d of %d records: %v", len(all), n, err)
		}
		all = append(all, records...)
	}
	return all
}

// takes reads exactly the messages, in order, and returns the last record.
func (r *reader) takes(want ...skald.Message) relay.Record {
	r.Helper()
	records := r.take(len(want))
	if got := idsOf(records); !slices.Equal(got, ids(want)) {
		r.Fatalf("read were\n%v, not\n%v", got, ids(want))
	}
	return records[len(records)-1]
}

// settle saves a checkpoint as if everything up to the record were at the broker.
func (r *reader) settle(last relay.Record) {
	r.Helper()
	must(r.T, r.store.SaveCheckpoint(r.Context(), r.lease, relay.Checkpoint{Position: last.Position}))
}

// tail reads on until the log is what is read, which a message of its own shows. It settles that,
// and returns what came before it.
func (r *reader) tail() []relay.Record {
	r.Helper()
	before, err := r.tryTail()
	must(r.T, err)
	return before
}

// tryTail returns the cursor's error.
func (r *reader) tryTail() ([]relay.Record, error) {
	r.Helper()
	marker := messages(1, "marker")[0]
	read := make(chan error, 1)
	var before []relay.Record
	var last relay.Record
	until := func() error {
		for ctx := soon(r.T); ; {
			records, err := r.cursor.Next(ctx, 1)
			if err != nil {
				return err
			}
			if last = records[0]; last.Message.ID == marker.ID {
				return nil
			}
			if last.Message.Key != marker.Key {
				before = append(before, last)
			}
		}
	}
	go func() { read <- until() }() // it goes from polling to tailing while it waits
	eventually(r.T, "a reader of the slot", func() bool { return len(read) > 0 || slotOf(r.T, r.store).Active })
	add(r.T, r.store, marker)
	err := <-read
	for err == nil && !tailed(last) { // but polled just before
		marker = messages(1, "marker")[0]
		add(r.T, r.store, marker)
		err = until()
	}
	if err == nil {
		r.settle(last)
	}
	return before, err
}

// tailed reports whether a record's position is that of a commit in the log.
func tailed(r relay.Record) bool { return r.Position.Commit%2 == 0 }

// add commits messages in a transaction of an application's.
func add(t *testing.T, store *postgres.Store, list ...skald.Message) {
	t.Helper()
	tx := adding(t, store, list...)
	must(t, tx.Commit(t.Context()))
	store.Arm()
}

// adding begins a transaction of an application's, and adds messages in it.
func adding(t *testing.T, store *postgres.Store, list ...skald.Message) pgx.Tx {
	t.Helper()
	tx, err := store.Pool().Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { rollback(t, tx) })
	must(t, store.AddMessages(soon(t), postgres.Wrap(tx), list))
	return tx
}

// slotRow is what the server says of the database's replication slot.
type slotRow struct {
	Name      string
	Active    bool
	Status    string
	Confirmed int64
}

// slotOf returns the one slot of the database; the zero one when there is none. It is active when
// it is read, and not when it is still being made.
func slotOf(t *testing.T, store *postgres.Store) slotRow {
	t.Helper()
	rows, err := store.Pool().Query(t.Context(), `SELECT slot_name::text, EXISTS (SELECT FROM pg_stat_replication WHERE pid = active_pid AND state IN ('catchup', 'streaming')), coalesce(wal_status, ''),
coalesce(confirmed_flush_lsn - '0/0', 0)::bigint FROM pg_replication_slots WHERE database = current_database()`)
	must(t, err)
	slots, err := pgx.CollectRows(rows, pgx.RowToStructByPos[slotRow])
	if must(t, err); len(slots) > 1 {
		t.Fatalf("there are %d slots: %v", len(slots), slots)
	}
	return slices.Concat(slots, []slotRow{{}})[0]
}

// place is where the log ends.
func endOfLog(t *testing.T, store *postgres.Store) int64 {
	t.Helper()
	return read[int64](t, store, "SELECT (pg_current_wal_lsn() - '0/0')::bigint")
}

// fillLog writes megabytes to the log that concern no outbox.
func fillLog(t *testing.T, store *postgres.Store, megabytes int) {
	t.Helper()
	exec(t, store, "SELECT pg_logical_emit_message(false, 'another', repeat('x', 1 << 20)), pg_current_xact_id() FROM generate_series(1, $1)", megabytes)
}

// dropSlot removes the slot from under whoever reads it.
func dropSlot(t *testing.T, store *postgres.Store) {
	t.Helper()
	eventually(t, "a slot that can be dropped", func() bool {
		_, err := store.Pool().Exec(t.Context(), `DO $$ BEGIN
PERFORM pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE database = current_database() AND active;
PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database(); END $$`)
		return err == nil && slotOf(t, store).Name == ""
	})
}

func ids(list []skald.Message) []skald.ID {
	all := make([]skald.ID, len(list))
	for i := range list {
		all[i] = list[i].ID
	}
	return all
}

func idsOf(records []relay.Record) []skald.ID {
	all := make([]skald.ID, len(records))
	for i := range records {
		all[i] = records[i].Message.ID
	}
	return all
}

// journal keeps what a store logs, and shows it with what the test says.
type journal struct {
	mu    sync.Mutex
	lines []string
	also  io.Writer
}

func listen(t *testing.T) *journal {
	t.Helper()
	return &journal{also: t.Output()}
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// Write implements [io.Writer].
func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(line))
	if j.also != nil {
		_, _ = j.also.Write(line)
	}
	return len(line), nil
}

// has reports whether a line of the level has all of the words in it.
func (j *journal) has(level slog.Level, words ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.lines, func(line string) bool {
		for _, word := range append(words, "level="+level.String()) {
			if !strings.Contains(line, word) {
				return false
			}
		}
		return true
	})
}

// says fails the test unless it was said.
func (j *journal) says(t *testing.T, level slog.Level, words ...string) {
	t.Helper()
	if !j.has(level, words...) {
		j.mu.Lock()
		defer j.mu.Unlock()
		t.Errorf("no line %s %q among:\n%s", level, words, strings.Join(j.lines, ""))
	}
}

// runs has a relay of the store publish until stop is called, or the test ends.
func runs(t *testing.T, source relay.Source, publisher relay.Publisher, config relay.Config) (r *relay.Relay, stop func()) {
	t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := relay.New(source, publisher, config)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		must(t, <-ended)
	})
	t.Cleanup(stop)
	return r, stop
}

// relayConfig is that of a relay which notices soon.
var relayConfig = relay.Config{LeaseTTL: 2 * time.Second}

// arrive waits until every message was published, and fails the test when those of a key were
// not in order. What is there more than once counts as where it is first.
func arrive(t *testing.T, broker *skaldtest.Broker, want []skald.Message) {
	t.Helper()
	first := func() []skald.ID {
		seen, order := map[skald.ID]bool{}, []skald.ID(nil)
		for _, m := range broker.Messages("orders") {
			if !seen[m.ID] && slices.ContainsFunc(want, func(w skald.Message) bool { return w.ID == m.ID }) {
				order = append(order, m.ID)
			}
			seen[m.ID] = true
		}
		return order
	}
	eventually(t, "all that was committed at the broker", func() bool { return len(first()) == len(want) })
	keys := map[skald.ID]string{}
	perKey := func(list []skald.ID) map[string][]skald.ID {
		all := map[string][]skald.ID{}
		for _, id := range list {
			all[keys[id]] = append(all[keys[id]], id)
		}
		return all
	}
	for _, m := range want {
		keys[m.ID] = m.Key
	}
	got := perKey(first())
	for key, order := range perKey(ids(want)) {
		if !slices.Equal(got[key], order) {
			t.Errorf("of key %s were published\n%v, not\n%v", key, got[key], order)
		}
	}
}
