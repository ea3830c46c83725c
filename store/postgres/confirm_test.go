package postgres_test

import (
	"testing"
	"time"

	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

// replyOf is when the server heard last from the reader of the slot; the epoch before it did.
func replyOf(t *testing.T, store *postgres.Store) time.Time {
	t.Helper()
	return read[time.Time](t, store, `SELECT coalesce(max(reply_time), 'epoch') FROM pg_stat_replication AS r
JOIN pg_replication_slots AS s ON s.active_pid = r.pid WHERE s.database = current_database()`)
}

func TestTheServerForgetsNothingThatIsNotSettled(t *testing.T) {
	t.Parallel()
	store := open(t, connect(t, database(t)), postgres.Config{})
	r := reads(t, store)
	r.tail()
	list := messages(6, "k")
	for i := range list {
		add(t, store, list[i])
	}
	records := r.take(len(list))
	for n := range records[:len(records)-1] {
		r.settle(records[n])
		eventually(t, "a slot that follows what is settled", func() bool {
			return slotOf(t, store).Confirmed > int64(records[n].Position.Commit)
		})
		if n == 2 { // with much of the log behind, and nothing new: it still has to wait
			fillLog(t, store, 4)
			told := replyOf(t, store)
			eventually(t, "a sign of life", func() bool { return replyOf(t, store).After(told) })
		}
		if at, unsettled := slotOf(t, store).Confirmed, int64(records[n+1].Position.Commit); at > unsettled {
			t.Errorf("the server may forget the log up to %d, and an unsettled transaction commits at %d", at, unsettled)
		}
	}
}

// The server dies when the checkpoint is saved and it was not told yet. The reader is closed
// before, so that it cannot tell it.
//
// Faults: 6.
func TestKilledBetweenCheckpointAndSlotNothingIsLostOrReadAgain(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgreSQL(t)
	url := servers.Database(t, server.URL())
	store := open(t, connect(t, url), postgres.Config{})
	r := reads(t, store)
	r.tail()
	list := messages(6, "k")
	add(t, store, list[:2]...)
	add(t, store, list[2:]...)
	r.takes(list[:2]...)
	middle := r.takes(list[2:4]...) // of a transaction
	r.takes(list[4:]...)
	r.close()
	r.settle(middle)
	if at := slotOf(t, store).Confirmed; at >= int64(middle.Position.Commit) {
		t.Fatalf("the slot stands at %d already, and the checkpoint at %d", at, middle.Position.Commit)
	}
	must(t, server.Kill())
	must(t, server.Start(t.Context()))
	store = open(t, connect(t, url), postgres.Config{})
	r, last := reads(t, store), messages(1, "k")
	add(t, store, last...)
	r.takes(list[4], list[5], last[0])
}
