package conform

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

var outboxCases = []storeCase{
	{"a message exists once the user's transaction has committed", func(s store) {
		want := messages("k", 2)
		s.add(want...)
		s.outboxHas(want)
	}},
	{"no message exists of a user's transaction that was rolled back", func(s store) {
		tx, _, rollback, err := s.Begin(s.Context())
		s.must(err, "begin a user's transaction")
		s.must(s.Store.AddMessages(s.Context(), tx, messages("k", 2)), "add messages")
		s.Store.Arm()
		s.must(rollback(), "roll back")
		s.outboxHas(nil)
	}},
	{"no message exists of a batch that was rolled back", func(s store) {
		b := s.begin()
		s.must(s.Store.AddMessages(s.Context(), b.Tx(), messages("k", 2)), "add messages")
		s.must(b.Rollback(), "roll back")
		s.outboxHas(nil)
	}},
	// Faults: 44.
	{"no message exists of a savepoint that was rolled back, and those around it do", func(s store) {
		before, within, after := message("k"), message("k"), message("k")
		b, ctx := s.begin(), s.Context()
		s.must(s.Store.AddMessages(ctx, b.Tx(), []skald.Message{before}), "add a message before the savepoint")
		s.must(b.Savepoint(ctx), "set a savepoint")
		s.must(s.Store.AddMessages(ctx, b.Tx(), []skald.Message{within}), "add a message within the savepoint")
		s.must(b.RollbackTo(ctx), "roll back to the savepoint")
		s.must(s.Store.AddMessages(ctx, b.Tx(), []skald.Message{after}), "add a message after the savepoint")
		s.must(b.Commit(ctx), "commit")
		s.outboxHas([]skald.Message{before, after})
	}},
	{"a message comes out bit for bit as it was added", func(s store) {
		want := peculiar()
		s.add(want...)
		got := s.outbox(relay.Position{})
		if len(got) != len(want) {
			s.broken("%d messages came out of %d", len(got), len(want))
		}
		for i := range want {
			if d := difference(got[i].Message, want[i]); d != "" {
				s.broken("message %d: %s", i, d)
			}
		}
	}},
	{"a message of the greatest size comes out as it was added", func(s store) {
		want := message("k")
		want.Payload = make([]byte, skald.MaxPayload)
		for i := range want.Payload {
			want.Payload[i] = byte(i * 7)
		}
		s.add(want)
		if d := difference(s.outbox(relay.Position{})[0].Message, want); d != "" {
			s.broken("%.500s", d)
		}
	}},
	{"any number of messages is added at once, in order", func(s store) {
		var all []skald.Message
		for _, n := range []int{0, 1, 64, 65, 1000} {
			list := messages(fmt.Sprintf("k%d", n), n)
			s.add(list...)
			all = append(all, list...)
		}
		s.outboxHas(all)
	}},
	{"what the caller changes afterwards changes nothing in the store", func(s store) {
		m := message("k")
		m.Headers = skald.Headers{{Name: "a", Value: "1"}}
		want := m
		want.Headers, want.Payload = m.Headers.Clone(), slices.Clone(m.Payload)
		tx, commit, _, err := s.Begin(s.Context())
		s.must(err, "begin a user's transaction")
		s.must(s.Store.AddMessages(s.Context(), tx, []skald.Message{m}), "add a message")
		m.Headers[0].Value, m.Payload[0] = "changed", '!'
		s.must(commit(), "commit")
		if d := difference(s.outbox(relay.Position{})[0].Message, want); d != "" {
			s.broken("%s", d)
		}
	}},
	{"a transaction that is not the store's own type is an error", func(s store) {
		if err := s.Store.AddMessages(s.Context(), outsider{}, messages("k", 1)); err == nil {
			s.broken("the store took a transaction of type %T", outsider{})
		}
	}},
	// Faults: 42.
	{"within a key the outbox's order is the order of the commits", ordersByCommit},
	// Faults: 42.
	{"a transaction that commits late is read by a cursor that is past its beginning", readsLateCommits},
}

// ordersByCommit has writers race on few keys. Each draws a number between adding to a key
// and committing: whoever keeps the promise has that key to itself then.
func ordersByCommit(s store) {
	const writers, rounds = 4, 25
	ctx := s.patient()
	var drawn atomic.Int64
	var mu sync.Mutex
	turn := map[skald.ID]int64{}
	failed := make(chan error, writers)
	for w := range writers {
		go func() {
			failed <- s.race(ctx, rounds, func(round int) skald.Message { return message(fmt.Sprint("k", (w+round)%3)) },
				func(m skald.Message) {
					n := drawn.Add(1)
					mu.Lock()
					defer mu.Unlock()
					turn[m.ID] = n
				})
		}()
	}
	for range writers {
		s.must(await(s.checker, "a writer", failed), "add messages concurrently")
	}
	last := map[string]int64{}
	all := s.outbox(relay.Position{})
	for _, r := range all {
		if turn[r.Message.ID] < last[r.Message.Key] {
			s.broken("key %s: the message of turn %d comes behind that of turn %d", r.Message.Key, turn[r.Message.ID], last[r.Message.Key])
		}
		last[r.Message.Key] = turn[r.Message.ID]
	}
	if len(all) != writers*rounds {
		s.broken("%d messages were committed, and %d came out", writers*rounds, len(all))
	}
}

func (s store) race(ctx context.Context, rounds int, make func(round int) skald.Message, added func(m skald.Message)) error {
	for round := range rounds {
		m := make(round)
		err := s.retried(ctx, func() error {
			return s.tryAdd(ctx, []skald.Message{m}, func() { added(m) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readsLateCommits opens a transaction, lets another overtake it if the database can, and
// reads in between.
func readsLateCommits(s store) {
	ctx := s.patient()
	early, overtaking := message("early"), message("overtaking")
	tx, commit, _, err := s.Begin(ctx)
	s.must(err, "begin a user's transaction")
	s.must(s.Store.AddMessages(ctx, tx, []skald.Message{early}), "add a message")
	done := make(chan error, 1)
	go func() {
		done <- s.retried(ctx, func() error { return s.tryAdd(ctx, []skald.Message{overtaking}, nil) })
	}()
	read := make(chan []skald.ID, 1)
	cursor, err := s.Store.OpenOutbox(ctx, relay.Position{})
	s.must(err, "open the outbox")
	defer func() { _ = cursor.Close() }()
	go func() {
		var got []skald.ID
		for len(got) < 2 {
			records, err := cursor.Next(ctx, 10)
			if err != nil {
				break
			}
			for _, r := range records {
				got = append(got, r.Message.ID)
			}
		}
		read <- got
	}()
	s.pause(200 * time.Millisecond)
	s.must(commit(), "commit the early transaction")
	s.Store.Arm()
	s.must(await(s.checker, "the overtaking transaction", done), "add a message in a second transaction")
	same(s.checker, "messages read", await(s.checker, "the cursor", read), []skald.ID{early.ID, overtaking.ID})
}
