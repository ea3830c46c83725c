package conform

import (
	"context"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

var sessionCases = []brokerCase{
	{promise: "receipts rise", run: func(b broker) {
		s, last := b.session(""), uint64(0)
		for i := range 5 {
			receipt := b.publishOn(s, b.messages("k", i)...)
			if i > 0 && receipt.Number <= last {
				b.broken("receipt %d came behind receipt %d", receipt.Number, last)
			}
			last = receipt.Number
		}
	}},
	{promise: "what is durable never falls back, and in the end it is everything", run: func(b broker) {
		s, last := b.session(""), uint64(0)
		for range 3 {
			receipt := b.publishOn(s, b.messages("k", 10)...)
			b.eventually("a durable receipt of the last publish", func() bool {
				durable, _ := b.durable(s)
				if durable < last || durable > receipt.Number {
					b.broken("receipt %d is durable behind %d, and the last one is %d", durable, last, receipt.Number)
				}
				last = durable
				return durable == receipt.Number
			})
		}
	}},
	{promise: "a session that has published nothing has nothing durable, and is no error", run: func(b broker) {
		if durable, _ := b.durable(b.session("")); durable != 0 {
			b.broken("receipt %d is durable, and there is none", durable)
		}
	}},
	{promise: "a broker that holds what it held has lost nothing", run: func(b broker) {
		first := b.session("")
		if first.Lost() {
			b.broken("with no mark at all it has lost something")
		}
		mark := b.mark(first, b.messages("k", 10)...)
		b.must(first.Close(), "close the session")
		if b.session(mark).Lost() {
			b.broken("with mark %q it has lost something", mark)
		}
		b.publish(b.messages("k", 10)...)
		if b.session(mark).Lost() {
			b.broken("with mark %q, and more published since, it has lost something", mark)
		}
	}},
	{promise: "a closed session is of no more use, and closing it again does no harm", run: func(b broker) {
		s := b.session("")
		b.publishOn(s, b.message("k"))
		b.must(s.Close(), "close the session")
		_ = s.Close()
		if _, err := s.Publish(b.patient(), b.messages("k", 1)); err == nil {
			b.broken("a closed session published")
		}
	}},
	{promise: "nothing is published when the context has ended", run: func(b broker) {
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if _, err := b.session("").Publish(ctx, b.messages("k", 1)); err == nil {
			b.broken("Publish took a context that had ended")
		}
	}},
	{promise: "a message published twice arrives at least once, in order", run: func(b broker) {
		list := b.messages("k", 5)
		b.publish(list...)
		b.publish(list...)
		last := b.message("k")
		b.publish(last)
		b.readAll("g", append(list, last))
	}},
}

var brokerFaultCases = []brokerCase{
	// Faults: 17.
	{
		promise: "a restart loses nothing that is durable, and ends the sessions", run: survivesRestart,
		needs: func(b BrokerUnderTest) bool { return b.Restart != nil },
	},
	// Faults: 30.
	{
		promise: "a broker that was wiped has lost what the mark says it held", run: noticesWipe,
		needs: func(b BrokerUnderTest) bool { return b.Wipe != nil },
	},
	{
		promise: "after a wipe readers begin at the beginning", run: restartsReaders,
		needs: func(b BrokerUnderTest) bool { return b.Wipe != nil },
	},
}

func survivesRestart(b broker) {
	s, want := b.session(""), b.messages("k", 20)
	mark := b.mark(s, want...)
	p := b.partition("g", "k")
	r := b.reader(p, inbox.Position{})
	all := b.receive(r, len(want))
	b.Restart(b.T)
	b.eventually("an error on the session from before the restart", func() bool {
		_, err := s.Publish(b.patient(), b.messages("lost", 1))
		return err != nil
	})
	_ = s.Close()
	_ = r.Close()
	again := b.reopened(mark)
	if again.Lost() {
		b.broken("with mark %q it has lost something", mark)
	}
	next := b.message("k")
	b.publishOn(again, next)
	b.resumes(all[9].Position, append(want[10:], next))
}

func noticesWipe(b broker) {
	s := b.session("")
	mark := b.mark(s, b.messages("k", 20)...)
	_ = s.Close()
	b.Wipe(b.T)
	b.remake()
	again := b.reopened(mark)
	if !again.Lost() {
		b.broken("with mark %q, from before the wipe, it has lost nothing", mark)
	}
	b.publishOn(again, b.messages("k", 40)...)
	if !b.reopened(mark).Lost() {
		b.broken("with mark %q, from before the wipe, and more published since, it has lost nothing", mark)
	}
	fresh := b.mark(again, b.messages("k", 1)...)
	if b.reopened(fresh).Lost() {
		b.broken("with mark %q, from after the wipe, it has lost something", fresh)
	}
}

func restartsReaders(b broker) {
	p := b.partition("g", "k")
	b.publish(b.messages("k", 3)...)
	r := b.reader(p, inbox.Position{})
	old := b.receive(r, 3)
	b.Wipe(b.T)
	_ = r.Close()
	b.remake()
	want := b.messages("k", 5)
	s := b.reopened("")
	b.publishOn(s, want...)
	for i, d := range old {
		b.Logf("reading on from message %d", i)
		b.isDelivered(b.receive(b.reader(p, d.Position), len(want)), want)
	}
}

// remake waits for the channel after a fault.
func (b broker) remake() {
	b.Helper()
	b.eventually("the channel", func() bool {
		_, err := b.Broker.Partitions(b.patient(), b.channel)
		return err == nil
	})
}

// reopened opens a session after a fault.
func (b broker) reopened(mark string) relay.Session {
	b.Helper()
	var s relay.Session
	b.eventually("a session after the fault", func() (ok bool) {
		var err error
		s, err = b.Broker.OpenSession(b.patient(), mark)
		return err == nil
	})
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func (b broker) durable(s relay.Session) (uint64, string) {
	b.Helper()
	durable, mark, err := s.Durable(b.patient())
	b.must(err, "ask what is durable")
	return durable, mark
}

// mark publishes messages and returns the mark once they are durable.
func (b broker) mark(s relay.Session, list ...skald.Message) string {
	b.Helper()
	receipt, mark := b.publishOn(s, list...), ""
	b.eventually("a durable receipt of the last publish", func() bool {
		var durable uint64
		durable, mark = b.durable(s)
		return durable == receipt.Number
	})
	return mark
}
