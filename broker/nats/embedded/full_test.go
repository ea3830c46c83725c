package embedded_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
)

type crate struct {
	Number  int    `json:"number"`
	Content string `json:"content"`
}

var delivered = skald.Event[crate]{Name: "crate.delivered", Channel: "crates", Key: func(c crate) string { return strconv.Itoa(c.Number) }}

// What does not fit on the broker's disk stays in the outbox. When there is room again,
// everything is published and handled, each message once. The server itself takes nothing more
// after one failed write, so this holds only if it is started again.
//
// Faults: 22.
func TestAFullDiskHoldsMessagesBackUntilThereIsRoom(t *testing.T) {
	const crates = 24 // of half a MiB
	log := &lines{}
	folder, fill, empty, ok := smallDisk(t)
	limit := func(*nats.Config) {}
	if !ok {
		t.Log("a channel that is full stands for the disk; it has room again when its messages are handled")
		folder, fill, empty = t.TempDir(), func() {}, func() {}
		limit = func(c *nats.Config) { c.MaxBytes = 8 << 20 }
	}
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(folder, "broker"), SyncInterval: syncInterval, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, server) })
	broker := connect(t, server.Config(), limit)
	sender, receiver := skaldtest.NewStore(), skaldtest.NewStore()
	publishing, err := relay.New(sender, broker, relay.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, publishing.Run)
	send(t, sender, 0, 1) // the channel is there
	eventually(t, "the first message is published", func() bool { return settled(t, sender) })

	fill()
	send(t, sender, 1, crates)
	eventually(t, "publishing fails", func() bool { return log.contain("publishing again from the checkpoint") })
	if settled(t, sender) {
		t.Error("the checkpoint passed what is not on the broker's disk")
	}
	empty()
	inBackground(t, unloader(t, receiver, broker).Run)
	eventually(t, "every crate is handled", func() bool { return len(receiver.List("crates")) == crates })
	eventually(t, "the outbox is settled", func() bool { return settled(t, sender) })
	for number, times := range receiver.List("crates") {
		if times != "x" {
			t.Errorf("crate %s was handled %d times", number, len(times))
		}
	}
}

// lines are what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) contain(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), part)
}

func inBackground(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// unloader writes an x for each time that a crate is handled.
func unloader(t *testing.T, store *skaldtest.Store, broker *nats.Broker) *inbox.Consumer {
	t.Helper()
	consumer, err := inbox.New("receiver", store, store, broker, inbox.Config{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	err = consumer.Register(inbox.Registration{
		Channel: delivered.Channel, Type: delivered.Name, Version: 1,
		Handle: func(_ context.Context, in skald.Tx, m *skald.Message) (any, error) {
			tx := in.(*skaldtest.Tx)
			times, _ := tx.Get("crates", m.Key)
			tx.Put("crates", m.Key, times+"x")
			return nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return consumer
}

func send(t *testing.T, store *skaldtest.Store, from, to int) {
	t.Helper()
	box, err := outbox.New(store, "sender")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := store.BeginTx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for number := from; number < to; number++ {
		if err := outbox.Publish(t.Context(), box, tx, delivered, crate{number, strings.Repeat("x", 512<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func settled(t *testing.T, store *skaldtest.Store) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
	defer cancel()
	lag, err := store.OutboxLag(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return lag.Messages == 0
}
