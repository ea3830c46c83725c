package postgres_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

const (
	logError = slog.LevelError
	logWarn  = slog.LevelWarn
)

// reopened is the database after something was done to its slot while nobody read it. What was
// unsettled then is to be read from the table, with an error in the log, and then the log again.
func reopened(t *testing.T, url string, harm func(store *postgres.Store), problem string) {
	t.Helper()
	store := open(t, connect(t, url), postgres.Config{})
	r := reads(t, store)
	r.tail()
	settled, unsettled, later := messages(2, "k"), messages(3, "k"), messages(2, "late")
	add(t, store, settled...)
	r.settle(r.takes(settled...))
	r.close()
	old := adding(t, store, later...) // is under way meanwhile
	add(t, store, unsettled...)
	before := slotOf(t, store)
	harm(store)

	said := listen(t)
	store = open(t, connect(t, url), postgres.Config{Logger: said.logger()})
	r = reads(t, store)
	said.says(t, logError, "cannot be read on", before.Name, problem)
	seen := map[string]int{}
	for _, record := range r.take(len(unsettled)) { // and no fewer: none is lost
		seen[record.Message.ID.String()]++
	}
	must(t, old.Commit(t.Context()))
	for _, record := range r.tail() {
		seen[record.Message.ID.String()]++
	}
	for _, m := range append(unsettled, later...) {
		if seen[m.ID.String()] != 1 {
			t.Errorf("a message was read %d times", seen[m.ID.String()])
		}
	}
	if after := slotOf(t, store); after.Name != before.Name || after.Confirmed <= before.Confirmed {
		t.Errorf("the slot is %v, and was %v", after, before)
	}
	last := messages(2, "k")
	add(t, store, last...)
	r.takes(last...)
}

// Faults: 37.
func TestASlotThatSomebodyMovedIsNotReadOn(t *testing.T) {
	t.Parallel()
	reopened(t, database(t), func(store *postgres.Store) {
		exec(t, store, "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM pg_replication_slots WHERE database = current_database()")
	}, "settled up to")
}

// Faults: 37.
func TestASlotThatIsGoneIsReplacedByTheTable(t *testing.T) {
	t.Parallel()
	reopened(t, database(t), func(store *postgres.Store) { dropSlot(t, store) }, "it is gone")
}

// Faults: 37.
func TestASlotThatIsDroppedUnderTheRelayLosesNothing(t *testing.T) {
	t.Parallel()
	said := listen(t)
	store, broker := open(t, connect(t, database(t)), postgres.Config{Logger: said.logger()}), skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
	runs(t, store, broker, relayConfig)
	list := messages(40, "k")
	for i := range list {
		if i%10 == 5 {
			eventually(t, "a relay that tails", func() bool { return slotOf(t, store).Active })
			dropSlot(t, store)
		}
		add(t, store, list[i])
	}
	arrive(t, broker, list)
	eventually(t, "a relay that tails again", func() bool { return slotOf(t, store).Active })
	said.says(t, logError, "cannot be read on", "it is gone")
}

// A name that is another's is neither read nor dropped.
func TestASlotOfSomebodyElseIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	another := connect(t, database(t))
	for kind, create := range map[string]func(own *pgxpool.Pool, name string) error{
		"physical": func(own *pgxpool.Pool, name string) error {
			_, err := own.Exec(t.Context(), "SELECT pg_create_physical_replication_slot($1)", name)
			return err
		},
		"another database": func(_ *pgxpool.Pool, name string) error {
			_, err := another.Exec(t.Context(), "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
			return err
		},
		"test_decoding": func(own *pgxpool.Pool, name string) error {
			_, err := own.Exec(t.Context(), "SELECT pg_create_logical_replication_slot($1, 'test_decoding')", name)
			if err != nil { // the plugin is not everywhere
				t.Logf("a physical slot in place of it: %v", err)
				_, err = own.Exec(t.Context(), "SELECT pg_create_physical_replication_slot($1)", name)
			}
			return err
		},
	} {
		pool := connect(t, database(t))
		var name string
		must(t, pool.QueryRow(t.Context(), "SELECT current_database()").Scan(&name))
		must(t, create(pool, name))
		store := open(t, pool, postgres.Config{Slot: name})
		_, err := store.OpenOutbox(soon(t), relay.Position{})
		if err == nil || !strings.Contains(err.Error(), "Config.Slot") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: OpenOutbox returned %v", kind, err)
		}
		if n := read[int](t, store, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", name); n != 1 {
			t.Errorf("%s: the slot is gone", kind)
		}
		exec(t, store, "SELECT pg_drop_replication_slot($1) WHERE EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND database IS NULL)", name)
	}
}
