package postgres_test

import (
	"testing"
	"time"

	"github.com/skald-go/skald/store/postgres"
)

// waits has a reader wait for a message, and returns a function that adds it and ends the wait.
func waits(t *testing.T, r *reader) (end func()) {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := r.cursor.Next(t.Context(), 1)
		ended <- err
	}()
	return func() {
		t.Helper()
		add(t, r.store, messages(1, "k")...)
		must(t, <-ended)
	}
}

func TestTheSlotOfAnIdleDatabaseFollowsTheLogOfABusyOne(t *testing.T) {
	t.Parallel()
	idle, busy := open(t, connect(t, database(t)), postgres.Config{}), connect(t, database(t))
	r := reads(t, idle)
	r.tail()
	end := waits(t, r)
	_, err := busy.Exec(t.Context(), "CREATE TABLE work AS SELECT n, repeat('x', 1000) FROM generate_series(1, 4000) AS n")
	must(t, err)
	written := endOfLog(t, idle)
	eventually(t, "a slot that follows", func() bool { return slotOf(t, idle).Confirmed >= written })
	if kept := read[int64](t, idle, "SELECT (confirmed - '0/0')::bigint FROM skald_relay"); kept < written {
		t.Errorf("the slot is ahead of what is noted as settled: %d", kept)
	}
	end()
}

// Nobody takes what has been read, and more of it waits than is read ahead: the server hears from the
// relay all the same.
func TestARelayThatIsStuckTellsTheServerThatItLives(t *testing.T) {
	t.Parallel()
	store := open(t, connect(t, database(t)), postgres.Config{})
	r := reads(t, store)
	r.tail()
	addNumbered(t, store, 5000)
	for range 2 {
		told := replyOf(t, store)
		eventually(t, "a further sign of life", func() bool { return replyOf(t, store).After(told) })
	}
	for n, record := range r.take(5000) {
		if numberOf(record.Message.ID) != n+1 {
			t.Fatalf("message %d came as number %d", numberOf(record.Message.ID), n+1)
		}
	}
}

// The server's patience ends before the relay would speak by itself: it asks halfway, and must hear.
func TestARelayAnswersTheServersQuestionWhetherItLives(t *testing.T) {
	t.Parallel()
	store := open(t, connect(t, database(t)), postgres.Config{})
	exec(t, store, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET wal_sender_timeout = ''2s''', current_database()); END $$")
	r := reads(t, store)
	r.tail()
	process := func() int {
		return read[int](t, store, "SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots WHERE database = current_database()")
	}
	end, before, began := waits(t, r), process(), time.Now()
	for told := replyOf(t, store); time.Since(began) < 5*time.Second; told = replyOf(t, store) {
		eventually(t, "an answer", func() bool { return replyOf(t, store).After(told) })
	}
	if after := process(); after != before || before == 0 {
		t.Errorf("the server's process was %d and is %d", before, after)
	}
	end()
}
