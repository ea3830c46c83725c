package postgres_test

import (
	"testing"

	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// Faults: 46.
func TestAPublicationThatIsDroppedIsMadeAgainAndNothingIsLost(t *testing.T) {
	t.Parallel()
	said := listen(t)
	store, broker := open(t, connect(t, database(t)), postgres.Config{Logger: said.logger()}), skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
	runs(t, store, broker, relayConfig)
	list := messages(30, "k")
	for i := range list {
		if i%10 == 5 {
			eventually(t, "a relay that tails", func() bool { return slotOf(t, store).Active })
			exec(t, store, "DROP PUBLICATION skald_outbox")
		}
		add(t, store, list[i])
	}
	arrive(t, broker, list)
	eventually(t, "a relay that tails again", func() bool { return slotOf(t, store).Active })
	last := messages(3, "k")
	add(t, store, last...)
	arrive(t, broker, append(list, last...))
	said.says(t, logError, "where the publication was missing")
	said.says(t, logError, "the publication is gone; making it again")
}
