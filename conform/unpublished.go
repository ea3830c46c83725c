package conform

import (
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

var unpublishedCases = []storeCase{
	{"what could not be published comes back as it was held, in order", func(s store) {
		lease := s.acquire("a", longLease)
		var want []relay.Unpublished
		for i, m := range peculiar() {
			want = append(want, unpublished(m, uint64(i+1), now().Add(time.Hour)))
		}
		s.holdUnpublished(lease, want...)
		got := s.listUnpublished(100)
		if len(got) != len(want) {
			s.broken("%d records are held, not %d", len(got), len(want))
		}
		for i := range want {
			s.sameUnpublished(got[i], want[i])
		}
		if first := s.listUnpublished(2); len(first) != 2 {
			s.broken("with a limit of 2 there are %d", len(first))
		}
	}},
	{"what is held again gets new attempts, moment and reason, and nothing else", func(s store) {
		lease := s.acquire("a", longLease)
		first, other := unpublished(message("k"), 1, now()), unpublished(message("l"), 2, now())
		s.holdUnpublished(lease, first, other)
		again := unpublished(first.Message, 9, now().Add(time.Hour))
		again.Attempts, again.Reason = 5, "still no"
		s.holdUnpublished(lease, again)
		want := first
		want.Attempts, want.NextAttempt, want.Reason = again.Attempts, again.NextAttempt, again.Reason
		got := s.listUnpublished(10)
		if len(got) != 2 {
			s.broken("%d records are held, not 2", len(got))
		}
		s.sameUnpublished(got[0], want)
		s.sameUnpublished(got[1], other)
	}},
	{"a key is due with its first record, and those behind it come with it in order", func(s store) {
		lease := s.acquire("a", longLease)
		list := messages("k", 3)
		past, future := now().Add(-time.Second), now().Add(time.Hour)
		waits, behind := message("l"), message("l")
		s.holdUnpublished(lease, unpublished(list[0], 1, past), unpublished(waits, 2, future), unpublished(list[1], 3, future),
			unpublished(behind, 4, past), unpublished(list[2], 5, time.Time{}))
		s.dueUnpublishedAre(now(), 10, list...)
		s.dueUnpublishedAre(now(), 2, list[:2]...)
		s.removeUnpublished(lease, list[0].ID)
		s.dueUnpublishedAre(now().Add(2*time.Hour), 1, waits)
	}},
	{"records without a key do not wait for each other", func(s store) {
		lease, second := s.acquire("a", longLease), message("")
		s.holdUnpublished(lease, unpublished(message(""), 1, now().Add(time.Hour)), unpublished(second, 2, now().Add(-time.Second)))
		s.dueUnpublishedAre(now(), 10, second)
	}},
	{"the keys with a held record are known, by channel", func(s store) {
		lease, list, elsewhere := s.acquire("a", longLease), messages("k", 2), message("k")
		elsewhere.Channel = "conform.others"
		s.holdUnpublished(lease, unpublished(list[0], 1, now()), unpublished(list[1], 2, now()), unpublished(elsewhere, 3, now()))
		here, there := relay.ChannelKey{Channel: list[0].Channel, Key: "k"}, relay.ChannelKey{Channel: "conform.others", Key: "k"}
		s.unpublishedKeysAre(here, there)
		s.removeUnpublished(lease, list[0].ID, elsewhere.ID)
		s.unpublishedKeysAre(here)
		s.removeUnpublished(lease, list[1].ID)
		s.unpublishedKeysAre()
	}},
	{"a former holder holds and removes nothing", func(s store) {
		stale, present := s.handOver()
		kept := unpublished(message("k"), 1, now())
		s.holdUnpublished(present, kept)
		err := s.Store.HoldUnpublished(s.Context(), stale, []relay.Unpublished{unpublished(message("l"), 2, now())})
		s.isError(err, relay.ErrFenced)
		s.isError(s.Store.RemoveUnpublished(s.Context(), stale, []skald.ID{kept.Message.ID}), relay.ErrFenced)
		if got := s.listUnpublished(10); len(got) != 1 || got[0].Message.ID != kept.Message.ID {
			s.broken("held are %v", got)
		}
	}},
	{"any number of records is held and removed at once", func(s store) {
		lease := s.acquire("a", longLease)
		for _, n := range []int{0, 65, 500} {
			list := messages("k", n)
			held := make([]relay.Unpublished, n)
			for i := range list {
				held[i] = unpublished(list[i], uint64(i+1), now().Add(-time.Second))
			}
			s.holdUnpublished(lease, held...)
			s.dueUnpublishedAre(now(), 1000, list...)
			s.removeUnpublished(lease, ids(list)...)
			s.dueUnpublishedAre(now(), 1000)
		}
	}},
	{"held records survive the cleaning of the outbox", func(s store) {
		m := message("k")
		s.add(m)
		record, lease := s.outbox(relay.Position{})[0], s.acquire("a", longLease)
		s.holdUnpublished(lease, relay.Unpublished{Record: record, Attempts: 1, NextAttempt: now(), Reason: "no"})
		s.settle(lease, record.Position)
		s.cleans(now().Add(time.Hour), 100, 1)
		got := s.listUnpublished(10)
		if len(got) != 1 {
			s.broken("%d records are held, not 1", len(got))
		}
		if d := difference(got[0].Message, m); d != "" {
			s.broken("%s", d)
		}
	}},
}

func (s store) holdUnpublished(lease relay.Lease, held ...relay.Unpublished) {
	s.Helper()
	s.must(s.Store.HoldUnpublished(s.Context(), lease, held), "hold what could not be published")
}

func (s store) removeUnpublished(lease relay.Lease, list ...skald.ID) {
	s.Helper()
	s.must(s.Store.RemoveUnpublished(s.Context(), lease, list), "remove what was published after all")
}

func (s store) listUnpublished(limit int) []relay.Unpublished {
	s.Helper()
	list, err := s.Store.ListUnpublished(s.Context(), limit)
	s.must(err, "list what could not be published")
	return list
}

func (s store) sameUnpublished(got, want relay.Unpublished) {
	s.Helper()
	if d := difference(got.Message, want.Message); d != "" {
		s.broken("message: %s", d)
	}
	if got.Position != want.Position || got.Attempts != want.Attempts || got.Reason != want.Reason ||
		!got.NextAttempt.Equal(want.NextAttempt) || !got.AddedAt.Equal(want.AddedAt) {
		s.broken("the record is\n\t%+v\n\tand should be\n\t%+v", got, want)
	}
}

func (s store) dueUnpublishedAre(at time.Time, limit int, want ...skald.Message) {
	s.Helper()
	due, err := s.Store.DueUnpublished(s.Context(), at, limit)
	s.must(err, "read what is due")
	var got []skald.ID
	for _, u := range due {
		got = append(got, u.Message.ID)
	}
	if !slices.Equal(got, ids(want)) {
		s.broken("due are %v, not %v", got, ids(want))
	}
}

func (s store) unpublishedKeysAre(want ...relay.ChannelKey) {
	s.Helper()
	got, err := s.Store.UnpublishedKeys(s.Context())
	s.must(err, "read the keys")
	same(s.checker, "keys", got, want)
}
