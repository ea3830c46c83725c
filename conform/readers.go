package conform

import (
	"context"
	"errors"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

var readerCases = []brokerCase{
	{promise: "a zero position begins at the start", run: func(b broker) {
		want := b.messages("k", 3)
		b.publish(want...)
		for range 2 {
			b.isDelivered(b.receive(b.reader(b.partition("g", "k"), inbox.Position{}), 3), want)
		}
	}},
	{promise: "nothing behind a position is lost when reading goes on from it", run: func(b broker) {
		want := b.messages("k", 40)
		b.publish(want[:25]...)
		b.publish(want[25:]...)
		all := b.receive(b.reader(b.partition("g", "k"), inbox.Position{}), len(want))
		b.isDelivered(all, want)
		for _, at := range []int{0, 10, 24, 25, 38} {
			b.resumes(all[at].Position, want[at+1:])
		}
	}},
	{promise: "the position of the last message is behind everything", run: func(b broker) {
		b.publish(b.messages("k", 10)...)
		p := b.partition("g", "k")
		all := b.receive(b.reader(p, inbox.Position{}), 10)
		r := b.reader(p, all[9].Position)
		next := b.message("k")
		b.publish(next)
		got := b.receive(r, 1)
		if got[0].Message.ID != next.ID {
			b.broken("behind the last message came %v, not the next one", got[0].Message.ID)
		}
	}},
	{promise: "what was committed is not lost to a reader from an earlier position", run: func(b broker) {
		want := b.messages("k", 10)
		p := b.partition("g", "k")
		r := b.reader(p, inbox.Position{})
		b.publish(want...)
		all := b.receive(r, 10)
		r.Committed(all[4].Position)
		b.must(r.Close(), "close the reader")
		b.resumes(all[4].Position, want[5:])
	}},
	{promise: "a reader that waits gets what is published then", run: func(b broker) {
		r, want := b.reader(b.partition("g", "k"), inbox.Position{}), b.messages("k", 2)
		got := make(chan []inbox.Delivery, 1)
		ctx := b.patient()
		go func() {
			deliveries, _ := receive(ctx, r, 2)
			got <- deliveries
		}()
		b.pause(50 * time.Millisecond)
		b.publish(want[0])
		b.publish(want[1])
		b.isDelivered(await(b.checker, "the wait", got), want)
	}},
	{promise: "Receive blocks until its context ends", run: func(b broker) {
		r := b.reader(b.partition("g", "k"), inbox.Position{})
		ctx, cancel := context.WithTimeout(b.Context(), 200*time.Millisecond)
		defer cancel()
		began := time.Now()
		deliveries, err := r.Receive(ctx)
		if len(deliveries) != 0 || !errors.Is(err, context.DeadlineExceeded) {
			b.broken("an empty partition gave %d messages and the error %v", len(deliveries), err)
		}
		if took := time.Since(began); took < 150*time.Millisecond || took > patience/2 {
			b.broken("with a context of 200 ms it returned after %s", took)
		}
	}},
	{promise: "Close ends a Receive that waits", run: func(b broker) {
		r, failed := b.reader(b.partition("g", "k"), inbox.Position{}), make(chan error, 1)
		ctx := b.patient()
		go func() {
			_, err := r.Receive(ctx)
			failed <- err
		}()
		b.pause(50 * time.Millisecond)
		b.must(r.Close(), "close the reader")
		if await(b.checker, "the wait", failed) == nil {
			b.broken("Receive returned without messages and without an error")
		}
	}},
	{promise: "a closed reader is of no more use, and closing it again does no harm", run: func(b broker) {
		b.publish(b.message("k"))
		r := b.reader(b.partition("g", "k"), inbox.Position{})
		b.must(r.Close(), "close the reader")
		_ = r.Close()
		if got, err := r.Receive(b.patient()); err == nil {
			b.broken("a closed reader received %d messages", len(got))
		}
	}},
	{promise: "a partition that the channel has not is an error", run: func(b broker) {
		p := b.partition("g", "k")
		p.Number = b.partitions
		if r, err := b.Broker.OpenReader(b.patient(), p, inbox.Position{}); err == nil {
			_ = r.Close()
			b.broken("partition %d of %d was opened", p.Number, b.partitions)
		}
	}},
	{
		promise: "what is no message arrives with its fault and its bytes, and stops no other",
		needs:   func(b BrokerUnderTest) bool { return b.PublishRaw != nil },
		run:     deliversFaults,
	},
}

func deliversFaults(b broker) {
	before, after := b.message("k"), b.message("k")
	raw := []byte("{\"this is\": no message")
	b.publish(before)
	b.PublishRaw(b.T, b.channel, "k", raw)
	b.publish(after)
	p := b.partition("g", "k")
	got := b.receive(b.reader(p, inbox.Position{}), 3)
	switch {
	case got[0].Message.ID != before.ID || got[0].Fault != nil || got[2].Message.ID != after.ID || got[2].Fault != nil:
		b.broken("the messages before and after it arrived as %v and %v", got[0], got[2])
	case got[1].Fault == nil || !errors.Is(got[1].Fault, skald.ErrMalformed):
		b.broken("it arrived with the fault %v, which is not ErrMalformed", got[1].Fault)
	case string(got[1].Raw) != string(raw):
		b.broken("it arrived as %q, and was %q", got[1].Raw, raw)
	}
	b.resumes(got[1].Position, []skald.Message{after})
}

// resumes fails unless a reader from the position gets the messages at the end of what it
// gets. What came packed with the message at the position may come again before them.
func (b broker) resumes(from inbox.Position, want []skald.Message) {
	b.Helper()
	r := b.reader(b.partition("g", "k"), from)
	ctx, got, missing := b.patient(), []skald.ID(nil), len(want)
	for missing > 0 {
		deliveries, err := r.Receive(ctx)
		b.must(err, "receive")
		for _, d := range deliveries {
			if missing > 0 && d.Message.ID == want[len(want)-missing].ID {
				missing--
			}
			got = append(got, d.Message.ID)
		}
		if len(got) > 1000 {
			b.broken("reading on from %v gives %v, and not %v in order", from, got[:50], ids(want))
		}
	}
	b.must(r.Close(), "close the reader")
}
