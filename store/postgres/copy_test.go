package postgres_test

import (
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// on is the same database on another server.
func on(t *testing.T, server *servers.Server, database string) string {
	t.Helper()
	address, err := url.Parse(database)
	must(t, err)
	other, err := url.Parse(server.URL())
	must(t, err)
	other.Path = address.Path
	return other.String()
}

// onePartition is a broker that keeps one order of all.
func onePartition() *skaldtest.Broker {
	return skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
}

// Places in the log and transaction ids are those of the original.
func TestACopyOfADatabasePublishesWhatItHoldsAndTheOriginalGoesOn(t *testing.T) {
	t.Parallel()
	server := servers.PostgreSQL(t)
	address := servers.Database(t, server)
	pool := connect(t, address)
	store := open(t, pool, postgres.Config{})
	r := reads(t, store)
	r.tail()
	list, more := messages(5, "k"), messages(2, "k")
	add(t, store, list...)
	r.settle(r.takes(list[:3]...))
	must(t, store.ReleaseLease(t.Context(), r.lease))
	r.close()
	name := read[string](t, store, "SELECT current_database()")
	pool.Close() // a template has no users
	copied := servers.Database(t, server)
	parsed, err := url.Parse(copied)
	must(t, err)
	admin := connect(t, server)
	copyOf := pgx.Identifier{parsed.Path[1:]}.Sanitize()
	_, err = admin.Exec(t.Context(), "DROP DATABASE "+copyOf)
	must(t, err)
	eventually(t, "a copy", func() bool {
		_, err := admin.Exec(t.Context(), "CREATE DATABASE "+copyOf+" TEMPLATE "+name)
		return err == nil
	})

	// As in a cluster that had seen many more transactions.
	_, err = connect(t, copied).Exec(t.Context(), "UPDATE skald_outbox SET xid = '99999999999'")
	must(t, err)
	said := listen(t)
	twin := open(t, connect(t, copied), postgres.Config{Logger: said.logger()})
	said.says(t, logError, "comes from another cluster, by dump and restore or as a copy")
	broker := onePartition()
	runs(t, twin, broker, relayConfig)
	arrive(t, broker, list) // what was settled, too
	eventually(t, "a relay that tails", func() bool { return slotOf(t, twin).Active })
	add(t, twin, more[0])
	arrive(t, broker, append(list, more[0]))

	store = open(t, connect(t, address), postgres.Config{})
	r = reads(t, store)
	add(t, store, more[1])
	r.takes(list[3], list[4], more[1])
}

// The broker is ahead of what is restored: it gets the unsettled messages again, and what comes new.
//
// Faults: 52.
func TestADatabaseFromAnOlderBackupPublishesWhatIsUnsettledInIt(t *testing.T) {
	t.Parallel()
	for _, cold := range []bool{false, true} { // a base backup, and a copy of the server's folder
		server, broker := servers.StartPostgreSQL(t), onePartition()
		address := servers.Database(t, server.URL())
		store := open(t, connect(t, address), postgres.Config{})
		list := messages(12, "k")
		r := reads(t, store)
		r.tail()
		add(t, store, list[:6]...)
		r.settle(r.takes(list[:3]...))
		r.close()
		if cold {
			must(t, server.Stop())
		}
		backup := servers.StartCopy(t, server, false)
		if cold {
			must(t, server.Start(t.Context()))
			store = open(t, connect(t, address), postgres.Config{})
		}
		r = reads(t, store)
		must(t, store.ReleaseLease(t.Context(), r.lease))
		r.close()
		_, stop := runs(t, store, broker, relayConfig)
		add(t, store, list[6:9]...)
		arrive(t, broker, list[3:9])
		stop()
		must(t, server.Kill())

		said := listen(t)
		store = open(t, connect(t, on(t, backup, address)), postgres.Config{Logger: said.logger()})
		must(t, store.ReleaseLease(t.Context(), r.lease)) // of when it was copied
		before := len(broker.Messages("orders"))
		runs(t, store, broker, relayConfig)
		add(t, store, list[9:]...)
		arrive(t, broker, list[3:])
		eventually(t, "what was unsettled, again", func() bool { return len(broker.Messages("orders")) >= before+3+3 })
		eventually(t, "a relay that tails", func() bool { return slotOf(t, store).Active })
		if !cold { // which has its slot, and nothing in it that shows that it is old
			said.says(t, logError, "cannot be read on", "it is gone")
		}
	}
}
