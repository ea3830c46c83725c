package conform

import (
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

var relayLeaseCases = []storeCase{
	{"a free lease is acquired, and by its holder again in the same epoch", func(s store) {
		first := s.acquire("a", longLease)
		if again := s.acquire("a", longLease); again != first || first.Holder != "a" {
			s.broken("acquired was %v, and then %v", first, again)
		}
	}},
	{"nobody acquires a lease that another holds", func(s store) {
		s.acquire("a", longLease)
		s.notAcquired("b")
	}},
	// Faults: 13.
	{"an expired lease passes to another, in a higher epoch, and fences the former holder off", func(s store) {
		stale := s.acquire("a", shortLease)
		var present relay.Lease
		s.eventually("a lease acquired after expiry", func() (ok bool) {
			var err error
			present, ok, err = s.Store.AcquireLease(s.Context(), "b", longLease)
			s.must(err, "acquire a lease")
			return ok
		})
		if present.Epoch <= stale.Epoch {
			s.broken("the epoch was %d and is %d", stale.Epoch, present.Epoch)
		}
		s.isError(s.Store.RenewLease(s.Context(), stale, longLease), relay.ErrFenced)
		s.must(s.Store.RenewLease(s.Context(), present, longLease), "renew the present lease")
	}},
	{"a renewed lease does not expire", func(s store) {
		lease := s.acquire("a", shortLease)
		s.must(s.Store.RenewLease(s.Context(), lease, longLease), "renew")
		s.pause(2 * shortLease)
		s.notAcquired("b")
	}},
	{"a released lease is free at once, in a higher epoch", func(s store) {
		_, present := s.handOver()
		s.must(s.Store.RenewLease(s.Context(), present, longLease), "renew")
	}},
	{"a former holder cannot release the lease of the present one", func(s store) {
		stale, present := s.handOver()
		_ = s.Store.ReleaseLease(s.Context(), stale)
		s.notAcquired("c")
		s.must(s.Store.RenewLease(s.Context(), present, longLease), "renew")
	}},
	{"of many who acquire at once one succeeds", func(s store) {
		const holders = 6
		got := make(chan bool, holders)
		for h := range holders {
			go func() {
				var ok bool
				_ = s.retried(s.Context(), func() (err error) {
					_, ok, err = s.Store.AcquireLease(s.Context(), fmt.Sprint("holder", h), longLease)
					return err
				})
				got <- ok
			}()
		}
		n := 0
		for range holders {
			if await(s.checker, "an acquisition", got) {
				n++
			}
		}
		if n != 1 {
			s.broken("%d of %d acquired the lease", n, holders)
		}
	}},
	{"a checkpoint comes back as it was saved, and can be set back", func(s store) {
		s.checkpointIs(relay.Checkpoint{})
		lease := s.acquire("a", longLease)
		for _, c := range []relay.Checkpoint{
			{Position: relay.Position{Commit: 1<<63 - 1, Index: 1<<32 - 1}, Mark: "Wölfe {\"a\":'1'}\n\t%"},
			{Position: relay.Position{Commit: 7, Index: 3}},
			{},
		} {
			s.must(s.Store.SaveCheckpoint(s.Context(), lease, c), "save a checkpoint")
			s.checkpointIs(c)
		}
	}},
	// Faults: 13.
	{"a former holder saves no checkpoint", func(s store) {
		stale, present := s.handOver()
		kept := relay.Checkpoint{Position: relay.Position{Commit: 5}, Mark: "kept"}
		s.must(s.Store.SaveCheckpoint(s.Context(), present, kept), "save a checkpoint")
		s.isError(s.Store.SaveCheckpoint(s.Context(), stale, relay.Checkpoint{Position: relay.Position{Commit: 6}}), relay.ErrFenced)
		s.checkpointIs(kept)
	}},
	{"who never held the lease saves no checkpoint", func(s store) {
		s.isError(s.Store.SaveCheckpoint(s.Context(), relay.Lease{Holder: "a", Epoch: 1}, relay.Checkpoint{Mark: "m"}), relay.ErrFenced)
		present := s.acquire("b", longLease)
		forged := relay.Lease{Holder: "a", Epoch: present.Epoch}
		s.isError(s.Store.SaveCheckpoint(s.Context(), forged, relay.Checkpoint{Mark: "m"}), relay.ErrFenced)
		s.checkpointIs(relay.Checkpoint{})
	}},
}

var settledCases = []storeCase{
	{"the lag is what the checkpoint is behind", func(s store) {
		s.lagIs(0)
		s.add(messages("k", 3)...)
		records := s.outbox(relay.Position{}) // adds a fourth
		s.lagIs(4)
		lease := s.acquire("a", longLease)
		s.settle(lease, records[1].Position)
		s.lagIs(2)
		s.settle(lease, relay.Position{Commit: 1<<63 - 1})
		s.lagIs(0)
	}},
	{"the lag's age is that of the oldest unsettled message", func(s store) {
		if s.LogOnly {
			return
		}
		s.add(message("k"))
		s.pause(shortLease)
		s.add(message("k"))
		lag, err := s.Store.OutboxLag(s.Context())
		s.must(err, "measure the lag")
		if lag.Age < shortLease/2 || lag.Age > time.Minute {
			s.broken("the oldest of two messages is %s old, and the lag says %s", shortLease, lag.Age)
		}
	}},
	{"cleaning up never removes what is not settled", func(s store) {
		want := messages("k", 5)
		s.add(want...)
		s.cleans(now().Add(time.Hour), 100, 0)
		records := s.outbox(relay.Position{})
		s.settle(s.acquire("a", longLease), records[1].Position)
		s.cleans(now().Add(time.Hour), 100, 2)
		s.outboxHas(want[2:])
	}},
	{"cleaning up removes nothing younger than the moment", func(s store) {
		want := messages("k", 3)
		s.add(want...)
		s.settle(s.acquire("a", longLease), s.outbox(relay.Position{})[2].Position)
		s.cleans(now().Add(-time.Hour), 100, 0)
		s.outboxHas(want)
	}},
	{"cleaning up removes no more than the limit at once, and in the end everything", func(s store) {
		s.add(messages("k", 10)...)
		s.settle(s.acquire("a", longLease), s.outbox(relay.Position{})[9].Position)
		total := 0
		for {
			n, err := s.Store.CleanOutbox(s.Context(), now().Add(time.Hour), 4)
			s.must(err, "clean up")
			if n > 4 && !s.Coarse {
				s.broken("%d rows were removed at once with a limit of 4", n)
			}
			if total += n; n == 0 {
				break
			}
		}
		if total != 10 && !s.Coarse {
			s.broken("%d rows of 10 were removed", total)
		}
		s.outboxHas(nil)
	}},
	{"what is added after a cleaning comes behind the checkpoint", func(s store) {
		s.add(messages("k", 3)...)
		lease := s.acquire("a", longLease)
		last := s.outbox(relay.Position{})[2].Position
		s.settle(lease, relay.Position{Commit: last.Commit + 1}) // the marker too
		s.cleans(now().Add(time.Hour), 100, 4)
		s.add(message("k"))
		got := s.outbox(last)
		if len(got) != 1 || !last.Before(got[0].Position) {
			s.broken("behind position %v there is %v", last, got)
		}
	}},
}

func (s store) acquire(holder string, ttl time.Duration) relay.Lease {
	s.Helper()
	lease, ok, err := s.Store.AcquireLease(s.Context(), holder, ttl)
	s.must(err, "acquire the lease")
	if !ok {
		s.broken("%s did not get a lease that is free, expired or its own", holder)
	}
	return lease
}

func (s store) notAcquired(holder string) {
	s.Helper()
	lease, ok, err := s.Store.AcquireLease(s.Context(), holder, longLease)
	s.must(err, "try to acquire the lease")
	if ok {
		s.broken("%s acquired the lease %v, which another holds", holder, lease)
	}
}

// handOver passes the lease from one holder to another.
func (s store) handOver() (stale, present relay.Lease) {
	s.Helper()
	stale = s.acquire("a", longLease)
	s.must(s.Store.ReleaseLease(s.Context(), stale), "release the lease")
	present = s.acquire("b", longLease)
	if present.Epoch <= stale.Epoch {
		s.broken("the epoch was %d and is %d", stale.Epoch, present.Epoch)
	}
	return stale, present
}

func (s store) settle(lease relay.Lease, p relay.Position) {
	s.Helper()
	s.must(s.Store.SaveCheckpoint(s.Context(), lease, relay.Checkpoint{Position: p}), "save a checkpoint")
}

func (s store) checkpointIs(want relay.Checkpoint) {
	s.Helper()
	got, err := s.Store.Checkpoint(s.Context())
	s.must(err, "read the checkpoint")
	if got != want {
		s.broken("the checkpoint is %v, not %v", got, want)
	}
}

func (s store) lagIs(want int64) {
	s.Helper()
	if s.LogOnly {
		want = 0
	}
	got := s.lag()
	if s.Coarse {
		s.eventually("a lag of what is unsettled", func() bool {
			got = s.lag()
			return want > 0 || got == relay.Lag{}
		})
	}
	if got.Messages < want || !s.Coarse && got.Messages > want || (got.Age != 0) != (got.Messages > 0) {
		s.broken("the lag is %d messages and %s, and %d messages are unsettled", got.Messages, got.Age, want)
	}
}

func (s store) lag() relay.Lag {
	s.Helper()
	lag, err := s.Store.OutboxLag(s.Context())
	s.must(err, "measure the lag")
	return lag
}

func (s store) cleans(before time.Time, limit, want int) {
	s.Helper()
	n, err := s.Store.CleanOutbox(s.Context(), before, limit)
	s.must(err, "clean up")
	if n > want || !s.Coarse && n != want {
		s.broken("%d rows were removed, and %d are settled and old enough", n, want)
	}
}

// unpublished makes a record that could not be published.
func unpublished(m skald.Message, commit uint64, next time.Time) relay.Unpublished {
	return relay.Unpublished{
		Record:   relay.Record{Position: relay.Position{Commit: commit, Index: 2}, Message: m, AddedAt: now()},
		Attempts: 1, NextAttempt: next, Reason: "the broker says \"no\": 100 %",
	}
}
