package postgres_test

import (
	"testing"

	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

// The standby has no slot, since none is synchronised to it. What it has got of the log is published.
// What the old primary had published and never replicated was published for a transaction that is gone:
// a known limit, which synchronous replication excludes for commits but for those that are under way
// (synchronized_standby_slots does from version 17 on).
//
// Faults: 36, 40.
func TestAStandbyThatTakesOverPublishesAllThatItHas(t *testing.T) {
	t.Parallel()
	primary, broker := servers.StartPostgreSQL(t), onePartition()
	address := servers.Database(t, primary.URL())
	store := open(t, connect(t, address), postgres.Config{})
	standby := servers.StartCopy(t, primary, true)
	replica := connect(t, on(t, standby, address))
	_, stop := runs(t, store, broker, relayConfig)
	list, lost := messages(12, "k"), messages(1, "lost")
	add(t, store, list[:4]...)
	arrive(t, broker, list[:4])
	eventually(t, "a relay that tails", func() bool { return slotOf(t, store).Active })
	add(t, store, list[4:6]...)
	arrive(t, broker, list[:6])
	broker.Stop()
	add(t, store, list[6:9]...) // committed, replicated and not published
	end := endOfLog(t, store)
	eventually(t, "a standby that has it all", func() bool {
		var at int64
		must(t, replica.QueryRow(t.Context(), "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint").Scan(&at))
		return at >= end
	})
	replica.Close()
	must(t, standby.Stop())
	broker.Start()
	add(t, store, lost...)
	arrive(t, broker, lost)
	stop()
	must(t, primary.Kill())

	must(t, standby.Start(t.Context()))
	must(t, standby.Promote(t.Context()))
	said := listen(t)
	store = open(t, connect(t, on(t, standby, address)), postgres.Config{Logger: said.logger()})
	runs(t, store, broker, relayConfig)
	add(t, store, list[9:]...)
	arrive(t, broker, list)
	eventually(t, "a relay that tails", func() bool { return slotOf(t, store).Active })
	said.says(t, logError, "cannot be read on", "it is gone")
	if n := count(t, store, "skald_outbox WHERE key = 'lost'"); n != 0 {
		t.Error("the standby has what was not replicated to it")
	}
	last := messages(2, "k")
	add(t, store, last...)
	arrive(t, broker, append(list, last...))
}
