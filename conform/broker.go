package conform

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

// brokerCase is one promise of a broker.
type brokerCase struct {
	promise string
	run     func(b broker)
	// needs reports whether the hooks that the case uses are given; nil when it uses none.
	needs func(b BrokerUnderTest) bool
}

// TestBroker checks a broker as the relay publishes to it and consumers read from it; open
// is called once for each case, and once before.
func TestBroker(t *testing.T, open func(t *testing.T) BrokerUnderTest) {
	given := open(t)
	for _, group := range []struct {
		name  string
		cases []brokerCase
	}{
		{"delivery", deliveryCases}, {"readers", readerCases}, {"sessions", sessionCases}, {"faults", brokerFaultCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				if c.needs == nil || c.needs(given) {
					t.Run(c.promise, func(t *testing.T) { c.run(newBroker(t, c.promise, open(t))) })
				}
			}
		})
	}
}

// broker is a broker under test with a channel of the case's own.
type broker struct {
	checker
	BrokerUnderTest
	channel    string
	partitions int
}

func newBroker(t *testing.T, promise string, under BrokerUnderTest) broker {
	t.Helper()
	b := broker{checker: checker{t, promise}, BrokerUnderTest: under, channel: "conform." + skald.NewID().String()}
	n, err := b.Broker.Partitions(b.patient(), b.channel)
	b.must(err, "make a channel")
	if n < 4 {
		b.Fatalf("the suite needs at least 4 partitions, and the channel has %d", n)
	}
	b.partitions = n
	return b
}

// message makes a message on the case's channel.
func (b broker) message(key string) skald.Message {
	m := message(key)
	m.Channel = b.channel
	return m
}

func (b broker) messages(key string, n int) []skald.Message {
	list := make([]skald.Message, n)
	for i := range list {
		list[i] = b.message(key)
	}
	return list
}

// partition is the one that a key is in.
func (b broker) partition(group, key string) inbox.Partition {
	return inbox.Partition{Channel: b.channel, Group: group, Number: skald.Partition(key, b.partitions)}
}

func (b broker) session(mark string) relay.Session {
	b.Helper()
	s, err := b.Broker.OpenSession(b.patient(), mark)
	b.must(err, "open a session")
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// publish publishes in a session of its own, and nothing may be rejected.
func (b broker) publish(list ...skald.Message) {
	b.Helper()
	s := b.session("")
	b.publishOn(s, list...)
	b.must(s.Close(), "close the session")
}

func (b broker) publishOn(s relay.Session, list ...skald.Message) relay.Receipt {
	b.Helper()
	receipt, err := s.Publish(b.patient(), list)
	b.must(err, "publish")
	if len(receipt.Rejected) > 0 {
		b.broken("message %d was rejected: %v", receipt.Rejected[0].Index, receipt.Rejected[0].Err)
	}
	return receipt
}

func (b broker) reader(p inbox.Partition, from inbox.Position) inbox.Reader {
	b.Helper()
	r, err := b.Broker.OpenReader(b.patient(), p, from)
	b.must(err, "open a reader")
	b.Cleanup(func() { _ = r.Close() })
	return r
}

// receive reads until it has n different messages of one partition, each once.
func (b broker) receive(r inbox.Reader, n int) []inbox.Delivery {
	b.Helper()
	got, err := receive(b.patient(), r, n)
	b.must(err, "receive")
	return got
}

func receive(ctx context.Context, r inbox.Reader, n int) ([]inbox.Delivery, error) {
	var got []inbox.Delivery
	seen := map[skald.ID]bool{}
	for len(got) < n {
		deliveries, err := r.Receive(ctx)
		if err != nil {
			return got, err
		}
		for _, d := range deliveries {
			if d.Fault != nil || !seen[d.Message.ID] {
				seen[d.Message.ID] = true
				got = append(got, d)
			}
		}
	}
	return got, nil
}

// readAll reads the case's channel as a group until each partition has given what it should.
func (b broker) readAll(group string, want []skald.Message) {
	b.Helper()
	expected := map[int][]skald.Message{}
	for _, m := range want {
		p := skald.Partition(m.OrderKey(), b.partitions)
		expected[p] = append(expected[p], m)
	}
	for number, list := range expected {
		r := b.reader(inbox.Partition{Channel: b.channel, Group: group, Number: number}, inbox.Position{})
		b.isDelivered(b.receive(r, len(list)), list)
		b.must(r.Close(), "close a reader")
	}
}

// isDelivered fails unless the deliveries are the messages, in order within each key.
func (b broker) isDelivered(got []inbox.Delivery, want []skald.Message) {
	b.Helper()
	var received, published []skald.Message
	for _, d := range got {
		if d.Fault != nil {
			b.broken("a message arrived with a fault: %v", d.Fault)
		}
		received = append(received, d.Message)
	}
	published = append(published, want...)
	byKey := func(a, b skald.Message) int { return cmp.Compare(a.OrderKey(), b.OrderKey()) }
	slices.SortStableFunc(received, byKey)
	slices.SortStableFunc(published, byKey)
	if len(received) != len(published) {
		b.broken("%d messages arrived of %d", len(received), len(published))
	}
	for i := range published {
		if d := difference(onWire(received[i]), onWire(published[i])); d != "" {
			b.broken("in its key's order message %d differs: %s", i, d)
		}
	}
}

// onWire removes what the wire need not keep: the order of headers, and a content type that
// says nothing.
func onWire(m skald.Message) skald.Message {
	m.Headers = m.Headers.Clone()
	slices.SortFunc(m.Headers, func(a, b skald.Header) int { return strings.Compare(a.Name, b.Name) })
	m.ContentType = cmp.Or(m.ContentType, skald.ContentTypeJSON)
	return m
}
