package postgres_test

import (
	"strings"
	"testing"

	"github.com/skald-go/skald/conform"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/postgres"
)

// Without a table nothing can be counted, and nothing cleaned: those cases ask for no more than that
// nothing unsettled goes. All cases read what the slot still has, none what is settled and confirmed.
func TestEmittingConformance(t *testing.T) {
	conform.TestSource(t, func(t *testing.T) conform.StoreUnderTest {
		t.Helper()
		emitting := func(s conform.StoreUnderTest) conform.StoreUnderTest {
			s.LogOnly = true
			return s
		}
		under := emitting(sourceUnderTest(t, postgres.Config{Relay: postgres.Emit}))
		reopen := under.Reopen
		under.Reopen = func(t *testing.T) conform.StoreUnderTest { t.Helper(); return emitting(reopen(t)) }
		return under
	})
}

// Faults: 44.
func TestWhatIsRolledBackIsNotEmitted(t *testing.T) {
	t.Parallel()
	store := open(t, connect(t, database(t)), postgres.Config{Relay: postgres.Emit})
	kept, ctx := messages(3, "k"), t.Context()
	r := reads(t, store)
	must(t, adding(t, store, messages(2, "lost")...).Rollback(ctx))
	add(t, store, kept[0])
	b := begin(t, store)
	must(t, store.AddMessages(ctx, b.Tx(), kept[1:2]))
	must(t, b.Savepoint(ctx))
	must(t, store.AddMessages(ctx, b.Tx(), messages(2, "lost")))
	must(t, b.RollbackTo(ctx))
	must(t, store.AddMessages(ctx, b.Tx(), kept[2:]))
	must(t, b.Commit(ctx))
	r.takes(kept...)
	if n := count(t, store, "skald_outbox"); n != 0 {
		t.Errorf("the table has %d rows", n)
	}
}

// Nobody notices by silence that messages are gone, and the error says how to go on without them.
//
// Faults: 37.
func TestWithEmitALostSlotIsAnError(t *testing.T) {
	t.Parallel()
	url := database(t)
	config := postgres.Config{Relay: postgres.Emit}
	store := open(t, connect(t, url), config)
	r, list := reads(t, store), messages(2, "k")
	add(t, store, list[0])
	r.settle(r.takes(list[0]))
	r.close()
	add(t, store, list[1])
	dropSlot(t, store)
	store = open(t, connect(t, url), config)
	checkpoint, err := store.Checkpoint(t.Context())
	must(t, err)
	for _, from := range []relay.Position{checkpoint.Position, {}} {
		_, err := store.OpenOutbox(soon(t), from)
		if err == nil || !strings.Contains(err.Error(), "only copy") || !strings.Contains(err.Error(), "skald_relay.confirmed") {
			t.Errorf("OpenOutbox returned %v", err)
		}
	}
	if name := slotOf(t, store).Name; name != "" {
		t.Errorf("the slot %s was made in silence", name)
	}
	exec(t, store, "UPDATE skald_relay SET confirmed = '0/0'")
	store = open(t, connect(t, url), config)
	r, last := reads(t, store), messages(1, "k")
	add(t, store, last...)
	r.takes(last...)
}

// The slot is the only copy of what was emitted: to poll from now on is refused, and to tail brings it.
func TestWhatWasEmittedIsNotLeftBehindByPolling(t *testing.T) {
	t.Parallel()
	url := database(t)
	emitting := open(t, connect(t, url), postgres.Config{Relay: postgres.Emit})
	list := messages(2, "k")
	add(t, emitting, list...)
	polling := open(t, connect(t, url), postgres.Config{Relay: postgres.Poll})
	if _, err := polling.OpenOutbox(soon(t), relay.Position{}); err == nil || !strings.Contains(err.Error(), "only copy") {
		t.Fatalf("opened to poll: %v", err)
	}
	reads(t, open(t, connect(t, url), postgres.Config{})).takes(list...)
}
