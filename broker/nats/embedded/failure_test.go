package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

// incarnation is the part of a position that names the stream.
func incarnation(p inbox.Position) string {
	name, _, _ := strings.Cut(p.Incarnation, "@")
	return name
}

// Faults: 17.
func TestAReaderResumesAfterARestartWhereItWas(t *testing.T) {
	dir := t.TempDir()
	server := startServer(t, dir)
	broker := connect(t, server.Config())
	publish(t, openSession(t, broker, ""), event("one", 0), event("one", 1), event("one", 2))
	p := skald.Partition("one", 4)
	at := receive(t, openReader(t, broker, "kitchen", p, inbox.Position{}), 3)[2].Position
	shutdown(t, server)

	broker = connect(t, startServer(t, dir).Config())
	publish(t, openSession(t, broker, ""), event("one", 3))
	got := receive(t, openReader(t, broker, "kitchen", p, at), 1)
	if number := got[0].Message.Headers.Get("number"); number != "3" {
		t.Errorf("number %s came, 3 was expected", number)
	}
}

func TestARestartEndsSessionAndReaderAndNewOnesWork(t *testing.T) {
	dir := t.TempDir()
	server := startServer(t, dir)
	broker := connect(t, server.Config(), func(c *nats.Config) { c.Dial = dialer(func() *embedded.Server { return server }) })
	session := openSession(t, broker, "")
	receipt := publish(t, session, event("one", 0))
	mark := durable(t, session, receipt.Number)
	p := skald.Partition("one", 4)
	reader := openReader(t, broker, "kitchen", p, inbox.Position{})
	at := receive(t, reader, 1)[0].Position
	shutdown(t, server)

	if _, err := session.Publish(testContext(t), []skald.Message{event("one", 1)}); err == nil {
		t.Error("the session published without a server")
	}
	if _, err := reader.Receive(testContext(t)); err == nil {
		t.Error("the reader received without a server")
	}
	if _, err := broker.OpenSession(testContext(t), mark); err == nil {
		t.Error("a session was opened without a server")
	}
	server = startServer(t, dir)
	if _, err := session.Publish(testContext(t), []skald.Message{event("one", 1)}); err == nil {
		t.Error("the session came back by itself")
	}
	again := openSession(t, broker, mark)
	if again.Lost() {
		t.Error("a restart that lost nothing counts as a loss")
	}
	publish(t, again, event("one", 1))
	got := receive(t, openReader(t, broker, "kitchen", p, at), 1)
	if number := got[0].Message.Headers.Get("number"); number != "1" {
		t.Errorf("number %s came, 1 was expected", number)
	}
}

// Faults: 30.
func TestAWipedBrokerIsNoticed(t *testing.T) {
	dir := t.TempDir()
	server := startServer(t, dir)
	broker := connect(t, server.Config())
	session := openSession(t, broker, "")
	mark := durable(t, session, publish(t, session, event("one", 0), event("one", 1)).Number)
	p := skald.Partition("one", 4)
	at := receive(t, openReader(t, broker, "kitchen", p, inbox.Position{}), 2)[1].Position
	shutdown(t, server)
	if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
		t.Fatal(err)
	}

	broker = connect(t, startServer(t, dir).Config())
	session = openSession(t, broker, mark)
	if !session.Lost() {
		t.Error("the session does not notice that the broker was wiped")
	}
	publish(t, session, event("one", 0), event("one", 1), event("one", 2))
	if got := receive(t, openReader(t, broker, "kitchen", p, at), 3); incarnation(got[2].Position) == incarnation(at) {
		t.Error("the stream that was made anew has the incarnation of the wiped one")
	}
}

func TestARestoredOlderCopyIsNoticed(t *testing.T) {
	dir, older := t.TempDir(), filepath.Join(t.TempDir(), "older")
	server := startServer(t, dir)
	broker := connect(t, server.Config())
	publish(t, openSession(t, broker, ""), event("one", 0))
	shutdown(t, server)
	copyFolder(t, dir, older)

	server = startServer(t, dir)
	broker = connect(t, server.Config())
	session := openSession(t, broker, "")
	publish(t, session, event("one", 1))
	mark := durable(t, session, publish(t, session, event("one", 2)).Number)
	p := skald.Partition("one", 4)
	at := receive(t, openReader(t, broker, "kitchen", p, inbox.Position{}), 3)[2].Position
	shutdown(t, server)

	broker = connect(t, startServer(t, older).Config())
	t.Run("by a reader whose position is too new", func(t *testing.T) {
		receive(t, openReader(t, broker, "kitchen", p, at), 1)
	})
	t.Run("by another relay's messages in the place of the recorded ones", func(t *testing.T) {
		publish(t, openSession(t, broker, ""), event("one", 10), event("one", 11))
		publish(t, openSession(t, broker, ""), event("one", 12))
		got := receive(t, openReader(t, broker, "kitchen", p, at), 4)
		if got[3].Position.Sequence != at.Sequence {
			t.Fatalf("the case is not what it should be: the stream is at %d, the position at %d", got[3].Position.Sequence, at.Sequence)
		}
	})
	running := openReader(t, broker, "billing", p, inbox.Position{})
	before := incarnation(receive(t, running, 4)[3].Position)
	t.Run("by the relay", func(t *testing.T) {
		if !openSession(t, broker, mark).Lost() {
			t.Error("the session does not notice that the broker was restored")
		}
	})
	t.Run("and then by readers that are under way", func(t *testing.T) {
		if _, err := running.Receive(testContext(t)); !errors.Is(err, nats.ErrIncarnation) {
			t.Errorf("the reader's error is %v", err)
		}
		if got := receive(t, openReader(t, broker, "billing", p, at), 4); incarnation(got[3].Position) == before {
			t.Error("the restored stream goes by its old incarnation")
		}
	})
}

func TestAnIntactBrokerIsNoLoss(t *testing.T) {
	broker := connect(t, startServer(t, t.TempDir()).Config())
	session := openSession(t, broker, "")
	var mark string
	for i := range 5 {
		mark = durable(t, session, publish(t, session, event("one", i), event("two", i), event("three", i)).Number)
	}
	if openSession(t, broker, mark).Lost() || openSession(t, broker, "").Lost() {
		t.Error("a broker that holds everything counts as a loss")
	}
}

func TestNothingIsDurableBeforeTheServerHasSynced(t *testing.T) {
	broker := connect(t, startServer(t, t.TempDir()).Config(), func(c *nats.Config) { c.SyncInterval = time.Hour })
	session := openSession(t, broker, "")
	publish(t, session, event("one", 0))
	if receipt, mark, err := session.Durable(testContext(t)); receipt != 0 || mark != "" || err != nil {
		t.Errorf("durable at once: receipt %d, mark %q, error %v", receipt, mark, err)
	}
}

// Faults: 24.
func TestADeletedStreamEndsTheSessionAtItsNextDurable(t *testing.T) {
	server := startServer(t, t.TempDir())
	broker := connect(t, server.Config())
	_, js := raw(t, server)
	session := openSession(t, broker, "")
	publish(t, session, event("one", 0))
	if err := js.DeleteStream(testContext(t), "SKALD_order_events"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Durable fails", func() bool {
		receipt, _, err := session.Durable(testContext(t))
		if receipt > 0 {
			t.Fatal("a receipt is durable whose stream is gone")
		}
		return err != nil
	})
}

// Faults: 31.
func TestAnotherNumberOfPartitionsIsRefused(t *testing.T) {
	server := startServer(t, t.TempDir())
	if n, err := connect(t, server.Config()).Partitions(testContext(t), channel); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	other := connect(t, server.Config(), func(c *nats.Config) { c.Partitions = 8 })
	if _, err := other.Partitions(testContext(t), channel); !errors.Is(err, nats.ErrPartitions) {
		t.Errorf("Partitions: %v", err)
	}
	if _, err := other.OpenReader(testContext(t), inbox.Partition{Channel: channel, Group: "kitchen"}, inbox.Position{}); !errors.Is(err, nats.ErrPartitions) {
		t.Errorf("OpenReader: %v", err)
	}
	if _, err := openSession(t, other, "").Publish(testContext(t), []skald.Message{event("one", 0)}); !errors.Is(err, nats.ErrPartitions) {
		t.Errorf("Publish: %v", err)
	}
}

func TestProcessesThatMakeAChannelAtOnceAgree(t *testing.T) {
	server := startServer(t, t.TempDir())
	errs := make(chan error)
	const n = 8
	for range n {
		broker := connect(t, server.Config())
		go func() {
			_, err := broker.Partitions(t.Context(), channel)
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// Faults: 82.
func TestWhatTheBrokerCannotTakeIsRejectedAndTheRestPublished(t *testing.T) {
	broker := connect(t, startServer(t, t.TempDir()).Config())
	tooLarge := event("one", 1)
	tooLarge.Payload = make([]byte, 2<<20)
	noChannel := event("one", 2)
	noChannel.Channel = "Not a channel"
	badHeader := event("two", 0)
	badHeader.Headers = skald.Headers{{Name: "specversion", Value: "9"}}
	other := keyOf(skald.Partition("one", 4), 4)
	large := event(other, 4)
	large.Payload = make([]byte, 1<<20)
	receipt := publish(t, openSession(t, broker, ""), event("one", 0), tooLarge, noChannel, event(other, 3), large, badHeader, event("one", 6))
	var rejected []int
	for _, r := range receipt.Rejected {
		rejected = append(rejected, r.Index)
		if r.Err == nil {
			t.Errorf("message %d is rejected without a reason", r.Index)
		}
	}
	if !slices.Equal(rejected, []int{1, 2, 5, 6}) {
		t.Errorf("rejected: %v, expected: 1, 2, 5, and 6, which is behind 1", rejected)
	}
	if behind := receipt.Rejected[len(receipt.Rejected)-1].Err; !errors.Is(behind, relay.ErrBehind) {
		t.Errorf("the one behind a rejected one: %v, expected ErrBehind", behind)
	}
	receive(t, openReader(t, broker, "kitchen", skald.Partition("one", 4), inbox.Position{}), 3)
}

func TestAFullChannelIsAnErrorAndNotARejection(t *testing.T) {
	broker := connect(t, startServer(t, t.TempDir()).Config(), func(c *nats.Config) { c.MaxBytes = 8 << 20 })
	session := openSession(t, broker, "")
	large := event("one", 0)
	large.Payload = make([]byte, 1<<20)
	for range 20 {
		large.ID = skald.NewID()
		receipt, err := session.Publish(testContext(t), []skald.Message{large})
		if len(receipt.Rejected) > 0 {
			t.Fatalf("rejected: %v", receipt.Rejected[0].Err)
		}
		if err != nil {
			return
		}
	}
	t.Error("20 MiB went into a channel of 8")
}

func TestWhatIsNoMessageIsHandedOverAsAFault(t *testing.T) {
	server := startServer(t, t.TempDir())
	broker := connect(t, server.Config())
	_, js := raw(t, server)
	p := skald.Partition("one", 4)
	reader := openReader(t, broker, "kitchen", p, inbox.Position{})
	subject := "skald.order.events." + string('0'+rune(p))
	garbage := [][]byte{[]byte("{}"), {1, 2, 3}, {}}
	for i, body := range garbage {
		m := client.NewMsg(subject)
		m.Data = body
		if i > 0 {
			m.Header.Set("content-type", "application/vnd.skald.pack")
		}
		if _, err := js.PublishMsg(testContext(t), m); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, openSession(t, broker, ""), event("one", 0))
	got := receive(t, reader, 4)
	for i, d := range got[:3] {
		if !errors.Is(d.Fault, skald.ErrMalformed) || string(d.Raw) != string(garbage[i]) || d.Position.Sequence != uint64(i+1) {
			t.Errorf("delivery %d: fault %v, raw %q, position %+v", i, d.Fault, d.Raw, d.Position)
		}
	}
	if got[3].Fault != nil {
		t.Error(got[3].Fault)
	}
	receive(t, openReader(t, broker, "kitchen", p, got[2].Position), 1)
}

func TestAForeignCloudEventIsTaken(t *testing.T) {
	server := startServer(t, t.TempDir())
	broker := connect(t, server.Config())
	_, js := raw(t, server)
	reader := openReader(t, broker, "kitchen", 2, inbox.Position{})
	m := client.NewMsg("skald.order.events.2")
	for name, value := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "A-1", "ce-source": "/shop", "ce-type": "com.example.Sold", "content-type": "text/plain", "ce-region": "north%20west",
	} {
		m.Header.Set(name, value)
	}
	m.Data = []byte("hello")
	if _, err := js.PublishMsg(testContext(t), m); err != nil {
		t.Fatal(err)
	}
	got := receive(t, reader, 1)[0]
	if got.Fault != nil || got.Message.Channel != channel || got.Message.Headers.Get("region") != "north west" || got.Message.ID.IsZero() || got.Position.Last != got.Message.ID {
		t.Errorf("%+v", got)
	}
}

func TestAMarkOfAnotherBrokerIsRefused(t *testing.T) {
	broker := connect(t, startServer(t, t.TempDir()).Config())
	for _, mark := range []string{"kafka", "nats1;too few", "nats1;a b x 00000000-0000-7000-8000-000000000000", "nats1;a b 1 not-an-id"} {
		if _, err := broker.OpenSession(testContext(t), mark); err == nil {
			t.Errorf("the mark %q was accepted", mark)
		}
	}
}

func TestAnUnreachableServerIsNamed(t *testing.T) {
	_, err := nats.Connect(testContext(t), nats.Config{URL: "nats://127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "Config.URL") {
		t.Errorf("the error is %v", err)
	}
}

func shutdown(t testing.TB, server *embedded.Server) {
	t.Helper()
	if err := server.Shutdown(); err != nil {
		t.Fatal(err)
	}
}
