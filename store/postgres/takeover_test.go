package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// The first instance stops in the middle, without a word: its lease runs out, and the server goes
// on sending to it. When it wakes up it can do no harm.
//
// Faults: 13.
func TestAnotherInstanceTakesOverFromOneThatStopped(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	url := database(t)
	first, second := open(t, connect(t, url), postgres.Config{}), open(t, connect(t, url), postgres.Config{})
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})
	r := reads(t, first)
	r.tail()
	list := messages(30, "k")
	add(t, first, list[:10]...)
	records := r.take(10) // and stops
	r.settle(records[4])
	stale, ok, err := first.AcquireLease(t.Context(), "reader", ttl)
	if must(t, err); !ok {
		t.Fatal("the lease is not its own")
	}
	if !slotOf(t, first).Active {
		t.Fatal("nobody reads the slot")
	}
	stopped := time.Now()
	taker, _ := runs(t, second, broker, relay.Config{LeaseTTL: ttl})
	add(t, second, list[10:20]...)
	eventually(t, "another that leads", taker.Leading)
	arrive(t, broker, list[5:20])
	if took := time.Since(stopped); took > ttl+5*time.Second {
		t.Errorf("it took %s", took)
	}
	if !slotOf(t, second).Active {
		t.Error("the other does not tail")
	}

	late := relay.Checkpoint{Position: records[9].Position}
	if err := first.SaveCheckpoint(t.Context(), stale, late); !errors.Is(err, relay.ErrFenced) {
		t.Errorf("a checkpoint of the first instance returned %v", err)
	}
	for err = nil; err == nil; { // what was sent to it before
		_, err = r.cursor.Next(soon(t), 10)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		t.Error("the first instance still reads the slot")
	}
	add(t, second, list[20:]...)
	arrive(t, broker, list[5:])
	if n := len(broker.Messages("orders")); n != 25 {
		t.Errorf("%d messages were published, not 25: some twice, or before the checkpoint", n)
	}
}
