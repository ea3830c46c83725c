package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// replication is a connection like the relay's, of an instance that is dead or does not know yet
// that it is.
func replication(t *testing.T, url, command string) *pgconn.PgConn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url+"&replication=database&application_name=predecessor")
	must(t, err)
	t.Cleanup(func() { _ = conn.PgConn().Conn().Close() })
	conn.PgConn().Frontend().SendQuery(&pgproto3.Query{String: command})
	must(t, conn.PgConn().Frontend().Flush())
	return conn.PgConn()
}

func slotName(t *testing.T, store *postgres.Store) string {
	t.Helper()
	return "skald_" + read[string](t, store, "SELECT oid::text FROM pg_database WHERE datname = current_database()")
}

// A slot is there before it is ready, and what its maker knows of it dies with that.
//
// Faults: 37.
func TestASlotThatAPredecessorWasStillMakingIsNotTaken(t *testing.T) {
	t.Parallel()
	url := database(t)
	store := open(t, connect(t, url), postgres.Config{})
	list, late := messages(3, "k"), messages(1, "late")
	slow := adding(t, store, late...) // which the making waits for
	add(t, store, list[:2]...)
	replication(t, url, "CREATE_REPLICATION_SLOT "+slotName(t, store)+" LOGICAL pgoutput")
	eventually(t, "a slot that is being made", func() bool {
		return read[bool](t, store, `SELECT EXISTS (SELECT FROM pg_replication_slots AS s JOIN pg_locks AS l ON l.pid = s.active_pid
WHERE s.database = current_database() AND l.locktype = 'transactionid' AND NOT l.granted)`)
	})
	lease, _, err := store.AcquireLease(t.Context(), "reader", time.Minute)
	must(t, err)
	r, opened := &reader{T: t, store: store, lease: lease}, make(chan error, 1)
	go func() {
		var err error
		r.cursor, err = store.OpenOutbox(soon(t), relay.Position{})
		opened <- err
	}()
	eventually(t, "a reader that has looked at the slot", func() bool {
		return len(opened) > 0 || read[bool](t, store, "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'skald relay')")
	})
	must(t, slow.Commit(t.Context()))
	must(t, <-opened)
	t.Cleanup(r.close)
	add(t, store, list[2])
	got := map[string]int{}
	for _, record := range append(r.take(len(list)+1), r.tail()...) {
		got[record.Message.ID.String()]++
	}
	if len(got) != len(list)+1 {
		t.Errorf("read were %v: %d messages of %d", got, len(got), len(list)+1)
	}
}

// The server has not noticed yet that the reader is dead.
//
// Faults: 37.
func TestASlotThatAPredecessorStillReadsIsTakenFromIt(t *testing.T) {
	t.Parallel()
	url := database(t)
	store := open(t, connect(t, url), postgres.Config{})
	r := reads(t, store)
	r.tail()
	list := messages(3, "k")
	add(t, store, list[0])
	r.takes(list[0]) // and not settled
	r.close()
	before := slotOf(t, store)
	replication(t, url, fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names 'skald_outbox')", before.Name))
	eventually(t, "a reader of the slot", func() bool { return slotOf(t, store).Active })
	r = reads(t, open(t, connect(t, url), postgres.Config{}))
	add(t, store, list[1:]...)
	if last := r.takes(list...); !tailed(last) {
		t.Errorf("the position %v is not one of the log", last.Position)
	}
	if after := slotOf(t, store); after.Name != before.Name || !after.Active {
		t.Errorf("the slot is %v, and was %v", after, before)
	}
}

// A predecessor's slot is ready only after the reader has looked for one.
//
// Faults: 37.
func TestASlotThatTurnsUpWhileTheTableIsPolledIsReplaced(t *testing.T) {
	t.Parallel()
	said := listen(t)
	store, broker := open(t, connect(t, database(t)), postgres.Config{Logger: said.logger()}), skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
	cursor, err := store.OpenOutbox(soon(t), relay.Position{})
	must(t, err)
	list := messages(4, "k")
	add(t, store, list[:2]...)
	exec(t, store, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", slotName(t, store))
	read := 0
	for ctx := soon(t); err == nil; { // until it has tried to make its own
		var records []relay.Record
		records, err = cursor.Next(ctx, 10)
		read += len(records)
	}
	if must(t, cursor.Close()); read != 2 || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("after %d messages: %v", read, err)
	}
	runs(t, store, broker, relayConfig)
	add(t, store, list[2:]...)
	arrive(t, broker, list)
	eventually(t, "a relay that tails", func() bool { return slotOf(t, store).Active })
}
