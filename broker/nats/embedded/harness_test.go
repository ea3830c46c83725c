package embedded_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	channel = "order.events"
	// syncInterval is short, so that what waits for it does so within a test.
	syncInterval = 20 * time.Millisecond
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// testContext ends with the test, and before a hang becomes one of the test binary.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func startServer(t testing.TB, dir string) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(embedded.Config{StoreDir: dir, SyncInterval: syncInterval, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Shutdown() })
	return server
}

func connect(t testing.TB, cfg nats.Config, changes ...func(*nats.Config)) *nats.Broker {
	t.Helper()
	cfg.Logger, cfg.TrimInterval = quiet(), 10*time.Millisecond
	for _, change := range changes {
		change(&cfg)
	}
	broker, err := nats.Connect(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	return broker
}

func openSession(t testing.TB, broker *nats.Broker, mark string) relay.Session {
	t.Helper()
	session, err := broker.OpenSession(testContext(t), mark)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

func openReader(t testing.TB, broker *nats.Broker, group string, partition int, from inbox.Position) inbox.Reader {
	t.Helper()
	reader, err := broker.OpenReader(testContext(t), inbox.Partition{Channel: channel, Group: group, Number: partition}, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

func publish(t testing.TB, session relay.Session, messages ...skald.Message) relay.Receipt {
	t.Helper()
	receipt, err := session.Publish(testContext(t), messages)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

// event is message number i of its key.
func event(key string, i int) skald.Message {
	return skald.Message{
		ID: skald.NewID(), Kind: skald.KindEvent, Channel: channel, Key: key, Type: "test.happened", Version: 1, Source: "test",
		Time: time.Now().UTC().Truncate(time.Microsecond), Headers: skald.Headers{{Name: "number", Value: fmt.Sprint(i)}},
		Payload: fmt.Appendf(nil, `{"key":%q,"number":%d}`, key, i),
	}
}

// keyOf is a key that falls into the partition.
func keyOf(partition, partitions int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("key-%d", i); skald.Partition(key, partitions) == partition {
			return key
		}
	}
}

func receive(t testing.TB, reader inbox.Reader, n int) []inbox.Delivery {
	t.Helper()
	ctx := testContext(t)
	var all []inbox.Delivery
	for len(all) < n {
		deliveries, err := reader.Receive(ctx)
		if err != nil {
			t.Fatalf("after %d of %d deliveries: %v", len(all), n, err)
		}
		all = append(all, deliveries...)
	}
	if len(all) != n {
		t.Fatalf("%d deliveries came, %d were expected", len(all), n)
	}
	return all
}

// nothingWaits fails the test when the reader has something.
func nothingWaits(t testing.TB, reader inbox.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if deliveries, err := reader.Receive(ctx); err == nil {
		t.Fatalf("%d deliveries came, none was expected", len(deliveries))
	}
}

// eventually asks until the answer is yes.
func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// durable waits until the session's receipt is surely on disk, and returns the mark.
func durable(t testing.TB, session relay.Session, receipt uint64) (mark string) {
	t.Helper()
	eventually(t, "the receipt becomes durable", func() bool {
		number, m, err := session.Durable(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		mark = m
		return number >= receipt
	})
	return mark
}

// raw is a plain client of the server.
func raw(t testing.TB, server *embedded.Server) (*client.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := server.Dial(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

func copyFolder(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
