package conform

import (
	"context"
	"slices"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

// storeCase is one promise of a store.
type storeCase struct {
	promise string
	run     func(s store)
}

// TestStore checks a store's outbox, inbox and sagas; open is called once for each case.
func TestStore(t *testing.T, open func(t *testing.T) StoreUnderTest) {
	for _, group := range []struct {
		name  string
		cases []storeCase
	}{
		{"outbox", outboxCases},
		{"batch", batchCases},
		{"dedup", dedupCases},
		{"barriers", barrierCases},
		{"held", slices.Concat(heldCases, heldQueueCases, heldApartCases, heldOperatorCases)},
		{"locks", slices.Concat(lockCases, lockWaitCases)},
		{"leases", slices.Concat(leaseCases, positionCases)},
		{"sagas", slices.Concat(sagaCases, sagaListCases, sagaVersionCases)},
	} {
		t.Run(group.name, func(t *testing.T) { runStoreCases(t, open, group.cases) })
	}
	t.Run("reopen", func(t *testing.T) {
		if open(t).Reopen != nil {
			runStoreCases(t, open, reopenCases)
		}
	})
}

// TestSource checks a store as the relay reads it; open is called once for each case.
func TestSource(t *testing.T, open func(t *testing.T) StoreUnderTest) {
	for _, group := range []struct {
		name  string
		cases []storeCase
	}{
		{"lease", relayLeaseCases}, {"cursor", cursorCases}, {"settled", settledCases}, {"unpublished", unpublishedCases},
	} {
		t.Run(group.name, func(t *testing.T) { runStoreCases(t, open, group.cases) })
	}
}

func runStoreCases(t *testing.T, open func(t *testing.T) StoreUnderTest, cases []storeCase) {
	for _, c := range cases {
		t.Run(c.promise, func(t *testing.T) {
			c.run(store{checker{t, c.promise}, open(t)})
		})
	}
}

// store is a store under test with the steps that cases are made of.
type store struct {
	checker
	StoreUnderTest
}

// tryBatch runs fn in a batch's transaction and commits it; fn's error rolls it back.
func (s store) tryBatch(ctx context.Context, fn func(tx skald.Tx) error) error {
	b, err := s.Store.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = b.Rollback() }()
	if err := fn(b.Tx()); err != nil {
		return err
	}
	return b.Commit(ctx)
}

// retried runs fn again for as long as the store says that this may help.
func (s store) retried(ctx context.Context, fn func() error) error {
	err := fn()
	for err != nil && s.Store.Retryable(err) && ctx.Err() == nil {
		err = fn()
	}
	return err
}

// batch is tryBatch that must succeed.
func (s store) batch(fn func(tx skald.Tx) error) {
	s.Helper()
	ctx := s.patient()
	s.must(s.retried(ctx, func() error { return s.tryBatch(ctx, fn) }), "run and commit a batch")
}

// begin opens a batch that the case ends; what is left open is rolled back.
func (s store) begin() inbox.Batch {
	s.Helper()
	b, err := s.Store.Begin(s.Context())
	s.must(err, "begin a batch")
	s.Cleanup(func() { _ = b.Rollback() })
	return b
}

// add puts messages into the outbox in a user's transaction, and commits it.
func (s store) add(list ...skald.Message) {
	s.Helper()
	ctx := s.patient()
	s.must(s.retried(ctx, func() error { return s.tryAdd(ctx, list, nil) }), "add messages in a user's transaction")
}

// tryAdd calls before, if given, between adding and committing.
func (s store) tryAdd(ctx context.Context, list []skald.Message, before func()) error {
	tx, commit, rollback, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	if err := s.Store.AddMessages(ctx, tx, list); err != nil {
		_ = rollback()
		return err
	}
	if before != nil {
		before()
	}
	if err := commit(); err != nil {
		_ = rollback()
		return err
	}
	s.Store.Arm()
	return nil
}

// outbox returns what is committed in the outbox behind a position. It reads up to a message
// that it adds itself, so it need not wait to see that there is no more.
func (s store) outbox(after relay.Position) []relay.Record {
	s.Helper()
	marker := message("conform-marker")
	s.add(marker)
	ctx := s.patient()
	cursor, err := s.Store.OpenOutbox(ctx, after)
	s.must(err, "open the outbox")
	defer func() { _ = cursor.Close() }()
	var all []relay.Record
	for {
		records, err := cursor.Next(ctx, 100)
		s.must(err, "read the outbox")
		for _, r := range records {
			if r.Message.ID == marker.ID {
				return all
			}
			if r.Message.Key != marker.Key {
				all = append(all, r)
			}
		}
	}
}

// outboxHas fails unless the outbox holds exactly the messages, in order.
func (s store) outboxHas(want []skald.Message) {
	s.Helper()
	var got []skald.ID
	for _, r := range s.outbox(relay.Position{}) {
		got = append(got, r.Message.ID)
	}
	if s.Coarse && len(got) > len(want) {
		got = got[len(got)-len(want):] // what is settled may still be there, in front
	}
	if !slices.Equal(got, ids(want)) {
		s.broken("the outbox holds %d messages %v, not the %d messages %v", len(got), got, len(want), ids(want))
	}
}
