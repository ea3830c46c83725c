package throughput

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/bench/process"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/sqlite"
)

// numbered is the event of which a transaction sends a million.
var numbered = skald.Event[int]{Name: "bench.numbered", Channel: "bench.numbered", Key: func(n int) string { return strconv.Itoa(n % keys) }}

const keys = 1000

// One transaction of a million messages is published without being kept in memory: all of
// it, and each key in order.
//
// Faults: 45.
func TestAMillionMessagesOfOneTransaction(t *testing.T) {
	measured(t, aMillionMessagesOfOneTransaction)
}

func aMillionMessagesOfOneTransaction(t *testing.T) {
	t.Helper()
	const messages = 1_000_000
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(dir, "broker"), Logger: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, server.Shutdown()) })
	broker, err := nats.Connect(t.Context(), server.Config())
	must(t, err)
	t.Cleanup(func() { must(t, broker.Close()) })
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "sender.db"), sqlite.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })

	addAll(t, store, messages)
	adding := process.Peak()
	process.ForgetPeak()
	publisher := &counted{Publisher: broker}
	r, err := relay.New(store, publisher, relay.Config{Logger: quiet})
	must(t, err)
	b := bench{options: Options{Report: silent}, result: &Result{Messages: messages}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	must(t, b.drain(ctx, "relay", r.Run, func() int { return int(publisher.published.Load()) }, func() {}))
	publishing := process.Peak()
	t.Logf("at most %d MiB to add, %d MiB to publish", adding, publishing)
	if adding > most || publishing > most {
		t.Errorf("%d messages took %d MiB to add and %d MiB to publish", messages, adding, publishing)
	}
	if n := readAll(t, broker, messages); n != messages {
		t.Errorf("%d of %d messages are at the broker", n, messages)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addAll adds all messages in one transaction, numbered from 0.
func addAll(t *testing.T, store *sqlite.Store, messages int) {
	t.Helper()
	const each = 1000
	box, err := outbox.New(store, "sender")
	must(t, err)
	tx, err := store.DB().BeginTx(t.Context(), nil)
	must(t, err)
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	batch := make([]skald.Message, each)
	for n := 0; n < messages; n += each {
		for i := range batch {
			batch[i], err = numbered.Message(n + i)
			must(t, err)
		}
		must(t, box.Add(t.Context(), tx, batch...))
	}
	must(t, tx.Commit())
}

// readAll reads every partition, which must hold each key's numbers in order, without a gap.
// A number that comes again is not counted.
func readAll(t *testing.T, broker *nats.Broker, messages int) int {
	t.Helper()
	partitions, err := broker.Partitions(t.Context(), numbered.Channel)
	must(t, err)
	next, due := map[string]int{}, make([]int, partitions)
	for n := range keys {
		key := strconv.Itoa(n)
		next[key] = n
		due[skald.Partition(key, partitions)] += messages / keys
	}
	all := 0
	for number := range partitions {
		all += readPartition(t, broker, number, due[number], next)
	}
	return all
}

func readPartition(t *testing.T, broker *nats.Broker, number, due int, next map[string]int) (read int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reader, err := broker.OpenReader(ctx, inbox.Partition{Channel: numbered.Channel, Group: "reader", Number: number}, inbox.Position{})
	must(t, err)
	for read < due {
		deliveries, err := reader.Receive(ctx)
		must(t, err)
		for i := range deliveries {
			m, n := &deliveries[i].Message, 0
			must(t, skald.Decode(m, &n))
			if n > next[m.Key] {
				t.Fatalf("key %s: %d came, and %d did not", m.Key, n, next[m.Key])
			}
			if n == next[m.Key] {
				next[m.Key] += keys
				read++
			}
		}
	}
	must(t, reader.Close())
	return read
}
