package skaldtest

import (
	"sync"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
)

// database is what all handles of one store share.
type database struct {
	// writer is the one write lock, a channel so that waiting for it is durably blocking in
	// a bubble of testing/synctest.
	writer chan struct{}

	mu        sync.RWMutex // guards what follows; held for moments, never while waiting
	tables    tables
	open      *Tx           // the transaction that holds writer
	committed chan struct{} // closed and replaced at each commit
	failures  []commitFailure
	expensive bool // savepoints
}

func newDatabase() *database {
	return &database{writer: make(chan struct{}, 1), committed: make(chan struct{})}
}

type tables struct {
	business    table[businessKey, string]
	counters    table[counter, uint64]
	outbox      table[uint64, outboxRow]
	relay       table[relayKey, relayRow]
	unpublished table[skald.ID, unpublishedRow]
	handled     table[handledKey, handledRow]
	barriers    table[inbox.BarrierKey, barrierRow]
	locks       table[lock.Key, []lock.Row]
	held        table[uint64, heldRow]
	heldPlaces  table[handledKey, uint64]
	leases      table[inbox.Partition, leaseRow]
	sagas       table[skald.ID, saga.Record]
	liveSagas   table[sagaKey, skald.ID]
	newestSagas table[sagaKey, skald.ID]
	requests    table[sagaKey, skald.ID]
	dueSagas    table[skald.ID, time.Time]
	history     table[historyKey, saga.Entry]
	definitions table[definitionKey, string]
}

// counter names a sequence.
type counter string

const (
	outboxCounter counter = "outbox"
	heldCounter   counter = "held"
)

// view is the database as one transaction, or one reader, sees it.
type view struct {
	journal     journal
	business    layer[businessKey, string]
	counters    layer[counter, uint64]
	outbox      layer[uint64, outboxRow]
	relay       layer[relayKey, relayRow]
	unpublished layer[skald.ID, unpublishedRow]
	handled     layer[handledKey, handledRow]
	barriers    layer[inbox.BarrierKey, barrierRow]
	locks       layer[lock.Key, []lock.Row]
	held        layer[uint64, heldRow]
	heldPlaces  layer[handledKey, uint64]
	leases      layer[inbox.Partition, leaseRow]
	sagas       layer[skald.ID, saga.Record]
	liveSagas   layer[sagaKey, skald.ID]
	newestSagas layer[sagaKey, skald.ID]
	requests    layer[sagaKey, skald.ID]
	dueSagas    layer[skald.ID, time.Time]
	history     layer[historyKey, saga.Entry]
	definitions layer[definitionKey, string]
}

func newView(t *tables) *view {
	v := &view{}
	v.business.on(&t.business, &v.journal)
	v.counters.on(&t.counters, &v.journal)
	v.outbox.on(&t.outbox, &v.journal)
	v.relay.on(&t.relay, &v.journal)
	v.unpublished.on(&t.unpublished, &v.journal)
	v.handled.on(&t.handled, &v.journal)
	v.barriers.on(&t.barriers, &v.journal)
	v.locks.on(&t.locks, &v.journal)
	v.held.on(&t.held, &v.journal)
	v.heldPlaces.on(&t.heldPlaces, &v.journal)
	v.leases.on(&t.leases, &v.journal)
	v.sagas.on(&t.sagas, &v.journal)
	v.liveSagas.on(&t.liveSagas, &v.journal)
	v.newestSagas.on(&t.newestSagas, &v.journal)
	v.requests.on(&t.requests, &v.journal)
	v.dueSagas.on(&t.dueSagas, &v.journal)
	v.history.on(&t.history, &v.journal)
	v.definitions.on(&t.definitions, &v.journal)
	return v
}

// apply makes the view's changes the tables' own.
func (v *view) apply() {
	for _, layer := range []interface{ apply() }{
		&v.business, &v.counters, &v.outbox, &v.relay, &v.unpublished, &v.handled, &v.barriers, &v.locks, &v.held, &v.heldPlaces,
		&v.leases, &v.sagas, &v.liveSagas, &v.newestSagas, &v.requests, &v.dueSagas, &v.history, &v.definitions,
	} {
		layer.apply()
	}
}

// next draws the next number of a sequence; a rolled-back transaction's are drawn again.
func (v *view) next(c counter) uint64 {
	n, _ := v.counters.get(c)
	v.counters.put(c, n+1)
	return n + 1
}

// clone returns an independent copy.
func (t *tables) clone() tables {
	return tables{
		business:    t.business.clone(),
		counters:    t.counters.clone(),
		outbox:      t.outbox.clone(),
		relay:       t.relay.clone(),
		unpublished: t.unpublished.clone(),
		handled:     t.handled.clone(),
		barriers:    t.barriers.clone(),
		locks:       t.locks.clone(),
		held:        t.held.clone(),
		heldPlaces:  t.heldPlaces.clone(),
		leases:      t.leases.clone(),
		sagas:       t.sagas.clone(),
		liveSagas:   t.liveSagas.clone(),
		newestSagas: t.newestSagas.clone(),
		requests:    t.requests.clone(),
		dueSagas:    t.dueSagas.clone(),
		history:     t.history.clone(),
		definitions: t.definitions.clone(),
	}
}
