package conform

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

var deliveryCases = []brokerCase{
	{promise: "a channel's number of partitions stays", run: func(b broker) {
		again, err := b.Broker.Partitions(b.patient(), b.channel)
		if err != nil || again != b.partitions {
			b.broken("the channel had %d partitions, and has %d (%v)", b.partitions, again, err)
		}
	}},
	{promise: "everything published arrives, in the partition of its key", run: func(b broker) {
		var want []skald.Message
		for i := range 200 {
			want = append(want, b.message(fmt.Sprint("k", i%37)))
		}
		b.publish(want...)
		b.readAll("g", want)
	}},
	{promise: "any number of messages is published at once", run: func(b broker) {
		var want []skald.Message
		s := b.session("")
		for _, n := range []int{0, 1, 64, 65, 2500} {
			list := b.messages("k", n)
			b.publishOn(s, list...)
			want = append(want, list...)
		}
		b.readAll("g", want)
	}},
	{promise: "within a key the order is that of publishing, across batches and sessions", run: func(b broker) {
		var want []skald.Message
		for range 3 {
			s := b.session("")
			for range 5 {
				var list []skald.Message
				for i := range 20 {
					list = append(list, b.message(fmt.Sprint("k", i%3)))
				}
				b.publishOn(s, list...)
				want = append(want, list...)
			}
			b.must(s.Close(), "close the session")
		}
		b.readAll("g", want)
	}},
	{promise: "a message arrives as it was published", run: func(b broker) {
		want := peculiar()
		for i := range want {
			want[i].Channel = b.channel
		}
		b.publish(want...)
		b.readAll("g", want)
	}},
	{promise: "a message of the greatest size arrives", run: func(b broker) {
		want := b.message(strings.Repeat("k", skald.MaxKey))
		want.ContentType, want.Payload = "application/octet-stream", make([]byte, skald.MaxPayload)
		random := rand.NewChaCha8([32]byte{1})
		_, _ = random.Read(want.Payload)
		want.Headers = skald.Headers{{Name: "large", Value: strings.Repeat("v", skald.MaxHeaders-5)}}
		b.publish(b.message("before"), want, b.message("after"))
		got := b.receive(b.reader(b.partition("g", want.Key), inbox.Position{}), 1)
		for got[len(got)-1].Message.ID != want.ID {
			b.broken("another message arrived in its partition: %v", got[0].Message.ID)
		}
		b.isDelivered(got, []skald.Message{want})
	}},
	{promise: "many large messages published at once arrive", run: func(b broker) {
		list := b.messages("k", 24)
		for i := range list {
			list[i].Payload = []byte(strings.Repeat("x", skald.MaxPayload/2))
		}
		b.publish(list...)
		b.readAll("g", list)
	}},
	{promise: "messages without a key arrive without one, in the partition of their id", run: func(b broker) {
		want := b.messages("", 100)
		b.publish(want...)
		b.readAll("g", want)
	}},
	{promise: "each of two groups gets everything", run: func(b broker) {
		want := b.messages("k", 50)
		p, q := b.partition("g", "k"), b.partition("h", "k")
		first, second := b.reader(p, inbox.Position{}), b.reader(q, inbox.Position{})
		b.publish(want...)
		got := b.receive(first, len(want))
		first.Committed(got[len(got)-1].Position)
		b.isDelivered(got, want)
		b.isDelivered(b.receive(second, len(want)), want)
	}},
	{promise: "one channel's messages do not arrive on another", run: func(b broker) {
		other := newBroker(b.T, b.promise, b.BrokerUnderTest)
		b.publish(append(b.messages("k", 3), other.messages("k", 3)...)...)
		last := b.message("k")
		b.publish(last)
		got := b.receive(b.reader(b.partition("g", "k"), inbox.Position{}), 4)
		if got[3].Message.ID != last.ID {
			b.broken("the fourth message of the channel is %v", got[3].Message)
		}
	}},
	{promise: "sessions that publish at once lose nothing and keep each key's order", run: publishesConcurrently},
}

func publishesConcurrently(b broker) {
	const sessions, rounds = 4, 25
	var want []skald.Message
	ended := make(chan error, sessions)
	for i := range sessions {
		s := b.session("")
		lists := make([][]skald.Message, rounds)
		for r := range lists {
			lists[r] = b.messages(fmt.Sprint("session", i), 3)
			want = append(want, lists[r]...)
		}
		go func() { ended <- publishAll(b, s, lists) }()
	}
	for range sessions {
		b.must(await(b.checker, "a session", ended), "publish")
	}
	b.readAll("g", want)
}

func publishAll(b broker, s relay.Session, lists [][]skald.Message) error {
	for _, list := range lists {
		receipt, err := s.Publish(b.Context(), list)
		if err != nil {
			return err
		}
		if len(receipt.Rejected) > 0 {
			return receipt.Rejected[0].Err
		}
	}
	return nil
}
