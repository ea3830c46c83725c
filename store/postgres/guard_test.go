package postgres_test

import (
	"testing"
	"time"

	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// Whoever renews the lease looks at the slot, a store that was just opened at once.
func TestASlotThatHoldsBackMuchOfTheLogIsSaidAndThenDropped(t *testing.T) {
	t.Parallel()
	const warn, limit = 4 << 20, 16 << 20
	url := database(t)
	said := listen(t)
	guards := func() (*postgres.Store, *journal) {
		said := listen(t)
		store := open(t, connect(t, url), postgres.Config{Logger: said.logger(), WarnRetained: warn, DropRetained: limit})
		lease, _, err := store.AcquireLease(t.Context(), "reader", time.Minute)
		must(t, err)
		must(t, store.RenewLease(t.Context(), lease, time.Minute))
		return store, said
	}
	store := open(t, connect(t, url), postgres.Config{Logger: said.logger()})
	if n, err := store.Retained(t.Context()); n != 0 || err != nil {
		t.Errorf("without a slot %d bytes are retained, %v", n, err)
	}
	r, list := reads(t, store), messages(3, "k")
	r.tail()
	add(t, store, list...) // and nobody publishes them
	before, err := store.Retained(t.Context())
	must(t, err)
	for _, step := range []struct {
		megabytes       int
		warned, dropped bool
	}{{0, false, false}, {6, true, false}, {12, false, true}} {
		fillLog(t, store, step.megabytes)
		retained, err := store.Retained(t.Context())
		if must(t, err); retained < before+int64(step.megabytes)<<20 {
			t.Errorf("behind %d MiB %d bytes are retained, and were %d", step.megabytes, retained, before)
		}
		_, said := guards()
		if said.has(logWarn, "holds back much of the log") != step.warned || said.has(logError, "dropping it") != step.dropped {
			t.Errorf("with %d bytes retained it was said what is above", retained)
		}
		if (slotOf(t, store).Name == "") != step.dropped {
			t.Errorf("with %d bytes retained the slot is %v", retained, slotOf(t, store))
		}
	}
	r.close() // its connection was cut
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
	must(t, store.ReleaseLease(t.Context(), r.lease))
	runs(t, store, broker, relayConfig)
	arrive(t, broker, list)
	eventually(t, "a relay that tails again", func() bool { return slotOf(t, store).Active })
	last := messages(2, "k")
	add(t, store, last...)
	arrive(t, broker, append(list, last...))
}
