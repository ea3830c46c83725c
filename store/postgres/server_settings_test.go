package postgres_test

import (
	"testing"

	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// Faults: 38.
func TestASlotThatTheServerHasGivenUpIsReplacedByTheTable(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgreSQL(t, "max_slot_wal_keep_size=1MB", "min_wal_size=32MB", "max_wal_size=64MB")
	reopened(t, servers.Database(t, server.URL()), func(store *postgres.Store) {
		eventually(t, "a slot that is lost", func() bool {
			fillLog(t, store, 8)
			exec(t, store, "SELECT pg_switch_wal()")
			exec(t, store, "CHECKPOINT")
			return slotOf(t, store).Status == "lost"
		})
	}, "max_slot_wal_keep_size")
}

func TestAServerWithoutLogicalReplicationIsPolledUntilItHasIt(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgreSQL(t, "wal_level=replica")
	url := servers.Database(t, server.URL())
	said := listen(t)
	store, broker := open(t, connect(t, url), postgres.Config{Logger: said.logger()}), skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
	_, stop := runs(t, store, broker, relayConfig)
	list := messages(12, "k")
	add(t, store, list[:4]...)
	arrive(t, broker, list[:4])
	eventually(t, "a word about it", func() bool { return said.has(logError, "polling the table", "wal_level") })
	add(t, store, list[4:8]...)
	arrive(t, broker, list[:8])
	stop()
	old := adding(t, store, list[8:]...)
	must(t, old.Commit(t.Context()))
	exec(t, store, "ALTER SYSTEM SET wal_level = 'logical'")
	must(t, server.Stop())
	must(t, server.Start(t.Context()))
	store = open(t, connect(t, url), postgres.Config{})
	runs(t, store, broker, relayConfig)
	arrive(t, broker, list)
	eventually(t, "a relay that tails", func() bool { return slotOf(t, store).Active })
	last := messages(2, "k")
	add(t, store, last...)
	arrive(t, broker, append(list, last...))
}
