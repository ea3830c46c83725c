package skaldtest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/skaldtest"
)

const channel = "order.events"

func sagas(ids ...skald.ID) []saga.Record {
	var records []saga.Record
	for _, id := range ids {
		records = append(records, saga.Record{ID: id, Name: "order.create", Version: 1, Key: id.String(), Status: saga.Running, Revision: 1})
	}
	return records
}

func messages(n int) []skald.Message {
	list := make([]skald.Message, n)
	for i := range list {
		list[i] = skald.Message{ID: skald.NewID(), Kind: skald.KindEvent, Channel: channel, Key: "k", Type: "order.placed", Version: 1}
	}
	return list
}

func session(t *testing.T, b *skaldtest.Broker, mark string) relay.Session {
	t.Helper()
	s, err := b.OpenSession(t.Context(), mark)
	must(t, err)
	return s
}

func publish(t *testing.T, b *skaldtest.Broker, list []skald.Message) {
	t.Helper()
	_, err := session(t, b, "").Publish(t.Context(), list)
	must(t, err)
}

func reader(t *testing.T, b *skaldtest.Broker, from inbox.Position) inbox.Reader {
	t.Helper()
	r, err := b.OpenReader(t.Context(), partition(), from)
	must(t, err)
	return r
}

func partition() inbox.Partition {
	return inbox.Partition{Channel: channel, Group: "g", Number: skald.Partition("k", 4)}
}

func receive(t *testing.T, r inbox.Reader) []inbox.Delivery {
	t.Helper()
	deliveries, err := r.Receive(t.Context())
	must(t, err)
	return deliveries
}

func TestAFailedPublishStoresWhatItIsToldAndEndsTheSession(t *testing.T) {
	b := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	b.FailPublish(1)
	b.CutPublish(2)
	for _, stored := range []int{0, 2} {
		s := session(t, b, "")
		if _, err := s.Publish(t.Context(), messages(3)); err == nil {
			t.Error("a failing publish passed")
		}
		if _, err := s.Publish(t.Context(), messages(3)); err == nil {
			t.Error("the session lives on after an error")
		}
		if n := len(b.Messages(channel)); n != stored {
			t.Errorf("%d messages are stored, not %d", n, stored)
		}
	}
	publish(t, b, messages(3))
}

func TestARejectedMessageIsNamedWithWhatIsBehindItAndTheOthersArePublished(t *testing.T) {
	b, list := skaldtest.NewBroker(skaldtest.BrokerConfig{}), messages(4)
	list[3].Key = "other"
	b.RejectIf(func(m *skald.Message) error {
		if m.ID == list[1].ID {
			return errors.New("too ugly")
		}
		return nil
	})
	receipt, err := session(t, b, "").Publish(t.Context(), list)
	must(t, err)
	rejected := receipt.Rejected
	if len(rejected) != 2 || rejected[0].Index != 1 || rejected[1].Index != 2 || !errors.Is(rejected[1].Err, relay.ErrBehind) || len(b.Messages(channel)) != 2 {
		t.Errorf("rejected are %v, and stored %d", receipt.Rejected, len(b.Messages(channel)))
	}
}

func TestRepeatedAndCorruptMessagesArrive(t *testing.T) {
	b, list := skaldtest.NewBroker(skaldtest.BrokerConfig{}), messages(2)
	b.Repeat(2)
	publish(t, b, list[:1])
	b.Repeat(0)
	publish(t, b, list[1:])
	if !b.Corrupt(list[1].ID) || b.Corrupt(skald.NewID()) {
		t.Error("Corrupt did not find the one message, or found another")
	}
	got := receive(t, reader(t, b, inbox.Position{}))
	if len(got) != 4 || got[2].Message.ID != list[0].ID || !errors.Is(got[3].Fault, skald.ErrMalformed) {
		t.Errorf("received were %v", got)
	}
}

func TestWhatWasTrimmedUnreadIsAnError(t *testing.T) {
	b := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	publish(t, b, messages(4))
	open := reader(t, b, inbox.Position{})
	all := receive(t, reader(t, b, inbox.Position{}))
	b.Trim(channel, 2)
	if _, err := b.OpenReader(t.Context(), partition(), all[0].Position); !errors.Is(err, skaldtest.ErrTrimmed) {
		t.Errorf("a reader was opened behind what was trimmed: %v", err)
	}
	if _, err := open.Receive(t.Context()); !errors.Is(err, skaldtest.ErrTrimmed) {
		t.Errorf("a reader read on behind what was trimmed: %v", err)
	}
	for _, from := range []inbox.Position{{}, all[1].Position} {
		if got := receive(t, reader(t, b, from)); len(got) != 2 || got[0].Message.ID != all[2].Message.ID {
			t.Errorf("from %v it received %v", from, got)
		}
	}
}

func TestAStoppedBrokerIsUnreachableUntilItStarts(t *testing.T) {
	b := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	publish(t, b, messages(1))
	r := reader(t, b, inbox.Position{})
	b.Stop()
	if _, err := r.Receive(t.Context()); !errors.Is(err, skaldtest.ErrDisconnected) {
		t.Errorf("a reader outlived the broker: %v", err)
	}
	if _, err := b.OpenSession(t.Context(), ""); !errors.Is(err, skaldtest.ErrDisconnected) {
		t.Errorf("a session was opened with a stopped broker: %v", err)
	}
	b.Start()
	receive(t, reader(t, b, inbox.Position{}))
}

func TestACrashLosesWhatWasNotSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := skaldtest.NewBroker(skaldtest.BrokerConfig{SyncInterval: time.Second})
		s := session(t, b, "")
		for range 2 {
			_, err := s.Publish(t.Context(), messages(3))
			must(t, err)
			time.Sleep(600 * time.Millisecond) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
		}
		receipt, mark, err := s.Durable(t.Context())
		must(t, err)
		b.Crash()
		if n := len(b.Messages(channel)); receipt != 1 || n != 3 {
			t.Errorf("receipt %d was durable, and %d messages are left", receipt, n)
		}
		if session(t, b, mark).Lost() {
			t.Error("what the mark says is durable was lost")
		}
	})
}

func TestARestoredBrokerIsNoticed(t *testing.T) {
	b := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	publish(t, b, messages(2))
	backup := b.Snapshot()
	publish(t, b, messages(2))
	_, mark, err := session(t, b, "").Durable(t.Context())
	must(t, err)
	all := receive(t, reader(t, b, inbox.Position{}))
	b.Restore(backup)
	if !session(t, b, mark).Lost() {
		t.Error("a broker with less than the mark says has lost nothing")
	}
	publish(t, b, messages(4))
	if !session(t, b, mark).Lost() {
		t.Error("a broker with other messages than the mark says has lost nothing")
	}
	if got := receive(t, reader(t, b, all[3].Position)); len(got) != 6 {
		t.Errorf("from a position that is lost it received %d messages, not all 6", len(got))
	}
	if got := receive(t, reader(t, b, all[1].Position)); len(got) != 4 {
		t.Errorf("from a position in the backup it received %d messages, not the 4 behind it", len(got))
	}
}

// A relay publishes X twice, a crash loses both, and another sender's Y takes the first place
// before X comes again: place and id of the second X are those that were read before.
func TestAPositionIsNotTakenForAnotherMessageInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, list := skaldtest.NewBroker(skaldtest.BrokerConfig{SyncInterval: time.Hour}), messages(2)
		x, y := list[:1], list[1:]
		publish(t, b, x)
		publish(t, b, x)
		got := receive(t, reader(t, b, inbox.Position{}))
		read := got[len(got)-1].Position
		b.Crash()
		publish(t, b, y)
		publish(t, b, x)
		got = receive(t, reader(t, b, read))
		if len(got) == 0 || got[0].Message.ID != y[0].ID {
			t.Errorf("behind the lost position the reader receives %d messages, and not the one that took its place", len(got))
		}
	})
}
