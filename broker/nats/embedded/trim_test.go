package embedded_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/inbox"
)

// stored is the stream's state.
func stored(t testing.TB, js jetstream.JetStream) jetstream.StreamState {
	t.Helper()
	stream, err := js.Stream(testContext(t), "SKALD_order_events")
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State
}

func TestOnlyWhatEveryGroupHasHandledIsTrimmed(t *testing.T) {
	server := startServer(t, t.TempDir())
	broker := connect(t, server.Config())
	_, js := raw(t, server)
	session := openSession(t, broker, "")
	fast, slow := openReader(t, broker, "fast", 1, inbox.Position{}), openReader(t, broker, "slow", 1, inbox.Position{})
	key := keyOf(1, 4)
	for i := range 20 {
		publish(t, session, event(key, i))
	}
	other := keyOf(3, 4)
	publish(t, session, event(other, 0)) // by nobody read: holds its followers back
	for i := 20; i < 30; i++ {
		publish(t, session, event(key, i))
	}
	handled := receive(t, fast, 30)
	fast.Committed(handled[29].Position)
	waiting := receive(t, slow, 30)
	slow.Committed(waiting[9].Position) // sequence 10
	eventually(t, "what both handled is trimmed", func() bool { return stored(t, js).FirstSeq == 10 })
	slow.Committed(waiting[29].Position)
	eventually(t, "what comes before the unread message is trimmed", func() bool { return stored(t, js).FirstSeq >= 20 })
	for range 5 { // passes go on
		publish(t, session, event(key, 99))
		nothingTrimmedFrom(t, js, 21)
	}
	for _, group := range []string{"fast", "slow"} {
		reader := openReader(t, broker, group, 3, inbox.Position{})
		reader.Committed(receive(t, reader, 1)[0].Position)
	}
	fast.Committed(last(receive(t, fast, 5)))
	slow.Committed(last(receive(t, slow, 5)))
	eventually(t, "everything but the last is trimmed", func() bool { return stored(t, js).FirstSeq >= 36 })
}

func last(deliveries []inbox.Delivery) inbox.Position { return deliveries[len(deliveries)-1].Position }

func nothingTrimmedFrom(t testing.TB, js jetstream.JetStream, sequence uint64) {
	t.Helper()
	if first := stored(t, js).FirstSeq; first > sequence {
		t.Fatalf("the stream begins at %d: unread messages from %d were trimmed", first, sequence)
	}
}

func TestAnIdlePartitionDoesNotStopTrimmingAndResumesAfterIt(t *testing.T) {
	server := startServer(t, t.TempDir())
	broker := connect(t, server.Config())
	_, js := raw(t, server)
	session := openSession(t, broker, "")
	idle, busy := openReader(t, broker, "kitchen", 0, inbox.Position{}), openReader(t, broker, "kitchen", 1, inbox.Position{})
	publish(t, session, event(keyOf(0, 4), 0))
	at := last(receive(t, idle, 1))
	idle.Committed(at)
	for i := range 50 {
		publish(t, session, event(keyOf(1, 4), i))
	}
	busy.Committed(last(receive(t, busy, 50)))
	eventually(t, "the busy partition is trimmed past the idle one", func() bool { return stored(t, js).FirstSeq > 40 })
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	publish(t, session, event(keyOf(0, 4), 1))
	got := receive(t, openReader(t, broker, "kitchen", 0, at), 1)
	if got[0].Message.Headers.Get("number") != "1" {
		t.Errorf("came: %+v", got[0].Message)
	}
}

// Faults: 23, 29.
func TestAPositionThatWasTrimmedUnreadIsAnError(t *testing.T) {
	server := startServer(t, t.TempDir())
	broker := connect(t, server.Config())
	_, js := raw(t, server)
	session := openSession(t, broker, "")
	for i := range 10 {
		publish(t, session, event(keyOf(1, 4), i))
	}
	reader := openReader(t, broker, "kitchen", 1, inbox.Position{})
	at := receive(t, reader, 10)[2].Position
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(testContext(t), "SKALD_order_events")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(testContext(t), jetstream.WithPurgeSequence(8)); err != nil {
		t.Fatal(err)
	}
	_, err = broker.OpenReader(testContext(t), inbox.Partition{Channel: channel, Group: "kitchen", Number: 1}, at)
	if !errors.Is(err, nats.ErrTrimmed) {
		t.Fatalf("the error is %v", err)
	}
	t.Run("and the beginning is what there is", func(t *testing.T) {
		receive(t, openReader(t, broker, "kitchen", 1, inbox.Position{}), 3)
	})
}

func TestAGroupThatIsDownKeepsItsMessages(t *testing.T) {
	server := startServer(t, t.TempDir())
	broker := connect(t, server.Config())
	_, js := raw(t, server)
	session := openSession(t, broker, "")
	if err := openReader(t, broker, "down", 2, inbox.Position{}).Close(); err != nil {
		t.Fatal(err)
	}
	up := openReader(t, broker, "up", 1, inbox.Position{})
	for i := range 10 {
		publish(t, session, event(keyOf(1, 4), i))
	}
	publish(t, session, event(keyOf(2, 4), 0))
	up.Committed(last(receive(t, up, 10)))
	next := openReader(t, broker, "up", 2, inbox.Position{})
	next.Committed(last(receive(t, next, 1)))
	for i := range 5 {
		publish(t, session, event(keyOf(0, 4), i))
		nothingWaits(t, up)
		nothingTrimmedFrom(t, js, 1)
	}
	received := 0
	for p := range 4 {
		want := [...]int{5, 10, 1, 0}[p]
		if reader := openReader(t, broker, "down", p, inbox.Position{}); want > 0 {
			received += len(receive(t, reader, want))
		}
	}
	if received != 16 {
		t.Errorf("%d messages waited, 16 were expected", received)
	}
}
