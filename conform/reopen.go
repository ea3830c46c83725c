package conform

import (
	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

// reopenCases are for stores that can be reopened.
var reopenCases = []storeCase{
	{"everything committed outlives the process, and nothing that was not", func(s store) {
		kept, lost := newWrites(), newWrites()
		s.batch(func(tx skald.Tx) error { return kept.write(s.Context(), s.Store, tx) })
		b := s.begin()
		s.must(lost.write(s.Context(), s.Store, b.Tx()), "write")
		s.must(b.Rollback(), "roll back")
		s.StoreUnderTest = s.Reopen(s.T)
		kept.check(s, true)
		lost.check(s, false)
	}},
	{"leases, positions and the checkpoint outlive the process", func(s store) {
		leases, lease := s.claim("a", longLease, partitions(1)...), s.acquire("a", longLease)
		leases[0].Position = inbox.Position{Incarnation: "i", Sequence: 9, Last: skald.NewID()}
		s.savePositions(leases)
		checkpoint := relay.Checkpoint{Position: relay.Position{Commit: 4}, Mark: "m"}
		s.must(s.Store.SaveCheckpoint(s.Context(), lease, checkpoint), "save a checkpoint")
		s.StoreUnderTest = s.Reopen(s.T)
		s.checkpointIs(checkpoint)
		s.notAcquired("b")
		same(s.checker, "claimed by another", claimed(s.claim("b", longLease, partitions(1)...)), nil)
		if got := s.claim("a", longLease, partitions(1)...); len(got) != 1 || got[0] != leases[0] {
			s.broken("the lease is %v, and was %v", got, leases)
		}
	}},
}
