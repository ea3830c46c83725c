package conform

import (
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// shortLease expires soon; longLease does not within a case.
const (
	shortLease = 300 * time.Millisecond
	longLease  = time.Minute
)

func partitions(n int) []inbox.Partition {
	list := make([]inbox.Partition, n)
	for i := range list {
		list[i] = inbox.Partition{Channel: "conform.events", Group: "g", Number: i}
	}
	return list
}

var leaseCases = []storeCase{
	{"a free partition is claimed, from before its beginning", func(s store) {
		leases := s.claim("a", longLease, partitions(4)...)
		same(s.checker, "partitions claimed", claimed(leases), partitions(4))
		for _, l := range leases {
			if l.Position != (inbox.Position{}) {
				s.broken("a partition that nobody has read is at %v", l.Position)
			}
		}
	}},
	{"nobody claims what another holds", func(s store) {
		s.claim("a", longLease, partitions(2)...)
		same(s.checker, "partitions claimed", claimed(s.claim("b", longLease, partitions(3)...)), partitions(3)[2:])
	}},
	{"the holder claims its own again, in the same epoch", func(s store) {
		first, again := s.claim("a", longLease, partitions(1)...), s.claim("a", longLease, partitions(1)...)
		if len(again) != 1 || again[0].Epoch != first[0].Epoch {
			s.broken("claimed were %v, and then %v", first, again)
		}
	}},
	{"channel, group and number tell partitions apart", func(s store) {
		list := []inbox.Partition{{Channel: "a", Group: "g"}, {Channel: "b", Group: "g"}, {Channel: "a", Group: "h"}, {Channel: "a", Group: "g", Number: 1}}
		for i, p := range list {
			if got := s.claim(fmt.Sprint("holder", i), longLease, p); len(got) != 1 {
				s.broken("partition %v is not free", p)
			}
		}
	}},
	{"an expired lease passes to another, in a higher epoch", func(s store) {
		first := s.claim("a", shortLease, partitions(1)...)[0]
		s.eventually("a claim of an expired lease", func() bool {
			got := s.claim("b", longLease, partitions(1)...)
			if len(got) == 1 && got[0].Epoch <= first.Epoch {
				s.broken("the epoch was %d and is %d", first.Epoch, got[0].Epoch)
			}
			return len(got) == 1
		})
		same(s.checker, "partitions claimed back", claimed(s.claim("a", longLease, partitions(1)...)), nil)
	}},
	{"a renewed lease does not expire", func(s store) {
		leases := s.claim("a", shortLease, partitions(2)...)
		if kept := s.renew("a", leases, longLease); len(kept) != 2 {
			s.broken("%d leases of 2 were renewed", len(kept))
		}
		s.pause(2 * shortLease)
		same(s.checker, "partitions claimed by another", claimed(s.claim("b", longLease, partitions(2)...)), nil)
	}},
	{"renewing tells the holder what it has lost", func(s store) {
		leases := s.claim("a", longLease, partitions(3)...)
		s.must(s.Store.ReleasePartitions(s.Context(), "a", leases[:1]), "release")
		s.claim("b", longLease, leases[0].Partition)
		same(s.checker, "leases renewed", claimed(s.renew("a", leases, longLease)), claimed(leases[1:]))
	}},
	{"a released lease is free at once, in a higher epoch", func(s store) {
		leases := s.claim("a", longLease, partitions(2)...)
		s.must(s.Store.ReleasePartitions(s.Context(), "a", leases), "release")
		got := s.claim("b", longLease, partitions(2)...)
		same(s.checker, "partitions claimed", claimed(got), partitions(2))
		for _, l := range got {
			if l.Epoch <= leases[0].Epoch {
				s.broken("the epoch was %d and is %d", leases[0].Epoch, l.Epoch)
			}
		}
	}},
	{"a former holder cannot release the lease of the present one", func(s store) {
		leases := s.claim("a", longLease, partitions(1)...)
		s.must(s.Store.ReleasePartitions(s.Context(), "a", leases), "release")
		s.claim("b", longLease, partitions(1)...)
		s.must(s.Store.ReleasePartitions(s.Context(), "a", leases), "release again")
		same(s.checker, "partitions claimed", claimed(s.claim("c", longLease, partitions(1)...)), nil)
	}},
	{"of many who claim at once each partition goes to one", func(s store) {
		const holders = 4
		all := make(chan []inbox.Lease, holders)
		for h := range holders {
			go func() {
				var got []inbox.Lease
				_ = s.retried(s.Context(), func() (err error) {
					got, err = s.Store.ClaimPartitions(s.Context(), fmt.Sprint("holder", h), partitions(16), longLease)
					return err
				})
				all <- got
			}()
		}
		var got []inbox.Partition
		for range holders {
			got = append(got, claimed(await(s.checker, "a claim", all))...)
		}
		same(s.checker, "partitions claimed by all", got, partitions(16))
	}},
	{"any number of partitions is claimed, renewed and released at once", func(s store) {
		for _, n := range []int{0, 65, 300} {
			leases := s.claim("a", longLease, partitions(n)...)
			same(s.checker, "partitions claimed", claimed(leases), partitions(n))
			same(s.checker, "partitions renewed", claimed(s.renew("a", leases, longLease)), partitions(n))
			s.must(s.Store.ReleasePartitions(s.Context(), "a", leases), "release")
		}
	}},
}

var positionCases = []storeCase{
	{"positions are saved as they are, and come with the next claim", func(s store) {
		leases := s.claim("a", longLease, partitions(3)...)
		want := map[inbox.Partition]inbox.Position{}
		for i := range leases[:2] {
			leases[i].Position = inbox.Position{Incarnation: "Wölfe/1 'x'", Sequence: ^uint64(0) - uint64(i), Last: skald.NewID()}
			want[leases[i].Partition] = leases[i].Position
		}
		s.savePositions(leases[:2])
		s.must(s.Store.ReleasePartitions(s.Context(), "a", leases), "release")
		for _, l := range s.claim("b", longLease, partitions(3)...) {
			if l.Position != want[l.Partition] {
				s.broken("partition %d is at %v, and was saved at %v", l.Number, l.Position, want[l.Partition])
			}
		}
	}},
	{"a batch that was rolled back saved no position", func(s store) {
		leases := s.claim("a", longLease, partitions(1)...)
		b := s.begin()
		moved := leases[0]
		moved.Position = inbox.Position{Incarnation: "i", Sequence: 7}
		s.must(s.Store.SavePositions(s.Context(), b.Tx(), []inbox.Lease{moved}), "save a position")
		s.must(b.Rollback(), "roll back")
		if got := s.claim("a", longLease, partitions(1)...)[0].Position; got != leases[0].Position {
			s.broken("the position is %v", got)
		}
	}},
	{"a position can be set back", func(s store) {
		leases := s.claim("a", longLease, partitions(1)...)
		leases[0].Position = inbox.Position{Incarnation: "first", Sequence: 100, Last: skald.NewID()}
		s.savePositions(leases)
		leases[0].Position = inbox.Position{Incarnation: "second", Sequence: 1, Last: skald.NewID()}
		s.savePositions(leases)
		if got := s.claim("a", longLease, partitions(1)...)[0].Position; got != leases[0].Position {
			s.broken("the position is %v, not %v", got, leases[0].Position)
		}
	}},
	// Faults: 13.
	{"a former holder saves no position, and its batch is not committed", fencesPositions},
}

// fencesPositions lets a lease pass to another, then runs the former holder's batch.
func fencesPositions(s store) {
	stale := s.claim("a", longLease, partitions(2)...)
	s.must(s.Store.ReleasePartitions(s.Context(), "a", stale[1:]), "release one")
	present := s.claim("b", longLease, stale[1].Partition)
	present[0].Position = inbox.Position{Incarnation: "i", Sequence: 5}
	s.savePositions(present)
	for i := range stale {
		stale[i].Position = inbox.Position{Incarnation: "i", Sequence: 4}
	}
	err := s.tryBatch(s.Context(), func(tx skald.Tx) error {
		if err := s.Store.AddMessages(s.Context(), tx, messages("k", 1)); err != nil {
			return err
		}
		return s.Store.SavePositions(s.Context(), tx, stale)
	})
	s.isError(err, inbox.ErrFenced)
	s.outboxHas(nil)
	if got := s.claim("b", longLease, stale[1].Partition)[0].Position; got != present[0].Position {
		s.broken("the position is %v, not %v", got, present[0].Position)
	}
	if got := s.claim("a", longLease, stale[0].Partition)[0].Position; got != (inbox.Position{}) {
		s.broken("the position of the partition that it still holds is %v", got)
	}
}

func (s store) claim(holder string, ttl time.Duration, list ...inbox.Partition) []inbox.Lease {
	s.Helper()
	leases, err := s.Store.ClaimPartitions(s.Context(), holder, list, ttl)
	s.must(err, "claim partitions")
	return leases
}

func (s store) renew(holder string, leases []inbox.Lease, ttl time.Duration) []inbox.Lease {
	s.Helper()
	kept, err := s.Store.RenewPartitions(s.Context(), holder, leases, ttl)
	s.must(err, "renew leases")
	return kept
}

func (s store) savePositions(leases []inbox.Lease) {
	s.Helper()
	s.batch(func(tx skald.Tx) error { return s.Store.SavePositions(s.Context(), tx, leases) })
}

func claimed(leases []inbox.Lease) []inbox.Partition {
	var list []inbox.Partition
	for _, l := range leases {
		list = append(list, l.Partition)
	}
	return list
}
