package conform

import (
	"context"
	"fmt"
	"reflect"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
)

var batchCases = []storeCase{
	{"the store says what type of transaction handlers get", func(s store) {
		if got, want := reflect.TypeOf(s.begin().Tx()), s.Store.TxType(); got != want {
			s.broken("handlers get %v, and TxType says %v", got, want)
		}
	}},
	{"a handler's Commit fails, and nothing becomes visible by it", func(s store) {
		b := s.begin()
		s.must(s.Store.AddMessages(s.Context(), b.Tx(), messages("k", 1)), "add a message")
		if b.Tx().Commit() == nil {
			s.broken("Commit on the batch's transaction returned nil")
		}
		s.must(b.Rollback(), "roll the batch back")
		s.outboxHas(nil)
	}},
	{"a handler's Rollback makes the batch fail", func(s store) {
		b := s.begin()
		s.must(s.Store.AddMessages(s.Context(), b.Tx(), messages("k", 1)), "add a message")
		_ = b.Tx().Rollback()
		if b.Commit(s.Context()) == nil {
			s.broken("the batch committed although a handler had called Rollback")
		}
		s.must(b.Rollback(), "roll the batch back")
		s.outboxHas(nil)
	}},
	{"a commit makes everything of a batch visible", func(s store) {
		w := newWrites()
		s.batch(func(tx skald.Tx) error { return w.write(s.Context(), s.Store, tx) })
		w.check(s, true)
	}},
	{"a rollback undoes everything of a batch", func(s store) {
		b, w := s.begin(), newWrites()
		s.must(w.write(s.Context(), s.Store, b.Tx()), "write")
		s.must(b.Rollback(), "roll back")
		w.check(s, false)
	}},
	// Faults: 44.
	{"a rollback to the savepoint undoes everything since, and nothing before", func(s store) {
		b, ctx, before, since := s.begin(), s.Context(), newWrites(), newWrites()
		s.must(before.write(ctx, s.Store, b.Tx()), "write before the savepoint")
		s.must(b.Savepoint(ctx), "set a savepoint")
		s.must(since.write(ctx, s.Store, b.Tx()), "write since the savepoint")
		s.must(b.RollbackTo(ctx), "roll back to the savepoint")
		s.must(b.Commit(ctx), "commit")
		before.check(s, true)
		since.check(s, false)
	}},
	{"a released savepoint keeps what was written since", func(s store) {
		b, ctx, w := s.begin(), s.Context(), newWrites()
		s.must(b.Savepoint(ctx), "set a savepoint")
		s.must(w.write(ctx, s.Store, b.Tx()), "write since the savepoint")
		s.must(b.Release(ctx), "release the savepoint")
		s.must(b.Commit(ctx), "commit")
		w.check(s, true)
	}},
	{"a flush of nothing changes nothing", func(s store) {
		b, ctx, w := s.begin(), s.Context(), newWrites()
		s.must(b.Flush(ctx), "flush before the first statement")
		s.must(w.write(ctx, s.Store, b.Tx()), "write")
		s.must(b.Flush(ctx), "flush")
		s.must(b.Commit(ctx), "commit")
		w.check(s, true)
	}},
	{"savepoints follow one another", func(s store) {
		b, ctx := s.begin(), s.Context()
		var want []skald.Message
		for i := range 6 {
			m := message("k")
			s.must(b.Savepoint(ctx), "set a savepoint")
			s.must(s.Store.AddMessages(ctx, b.Tx(), []skald.Message{m}), "add a message")
			if i%2 == 0 {
				want = append(want, m)
				s.must(b.Release(ctx), "release the savepoint")
			} else {
				s.must(b.RollbackTo(ctx), "roll back to the savepoint")
			}
		}
		s.must(b.Commit(ctx), "commit")
		s.outboxHas(want)
	}},
	{"a rollback after the commit does nothing", func(s store) {
		b, want := s.begin(), messages("k", 1)
		s.must(s.Store.AddMessages(s.Context(), b.Tx(), want), "add a message")
		s.must(b.Commit(s.Context()), "commit")
		s.must(b.Rollback(), "roll back after the commit")
		s.outboxHas(want)
	}},
	{"a rollback from another goroutine ends a handler's statements", rollsBackFromOutside},
	{"a batch does not begin when the context has ended", func(s store) {
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		if b, err := s.Store.Begin(ctx); err == nil {
			_ = b.Rollback()
			s.broken("Begin took a context that had ended")
		}
	}},
	{"a batch that loses its context is not committed, and frees the store", func(s store) {
		ctx, cancel := context.WithCancel(s.Context())
		b, err := s.Store.Begin(ctx)
		s.must(err, "begin a batch")
		s.must(s.Store.AddMessages(ctx, b.Tx(), messages("k", 1)), "add a message")
		cancel()
		if b.Commit(ctx) == nil {
			s.broken("the batch committed with a context that had ended")
		}
		s.must(b.Rollback(), "roll back")
		s.outboxHas(nil)
	}},
}

func rollsBackFromOutside(s store) {
	b, ctx := s.begin(), s.patient()
	started, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		for {
			if err := s.Store.AddMessages(ctx, b.Tx(), messages("k", 1)); err != nil {
				ended <- err
				return
			}
			select {
			case started <- struct{}{}:
			default:
			}
		}
	}()
	await(s.checker, "the handler's first statement", started)
	s.must(b.Rollback(), "roll back")
	if err := await(s.checker, "the handler's statements", ended); err != nil {
		s.Logf("the handler's last statement: %v", err)
	}
	if b.Commit(s.Context()) == nil {
		s.broken("the batch committed although it was rolled back")
	}
	s.outboxHas(nil)
}

// writes is one of everything that a batch writes.
type writes struct {
	message skald.Message
	handled skald.ID
	barrier inbox.Barrier
	held    inbox.Held
	lock    lock.Row
	saga    saga.Record
}

func newWrites() writes {
	key := inbox.BarrierKey{Saga: skald.NewID(), Step: "reserve", Attempt: 1}
	return writes{
		message: message("k"), handled: skald.NewID(),
		barrier: inbox.Barrier{BarrierKey: key, State: inbox.BarrierDone, Command: skald.NewID()},
		held:    parked(message(skald.NewID().String())), lock: lockRow(ticketKey(skald.NewID().String()), 1), saga: newSaga("conform.saga", skald.NewID().String()),
	}
}

func (w writes) write(ctx context.Context, store Store, tx skald.Tx) error {
	for _, write := range []func() error{
		func() error { return store.AddMessages(ctx, tx, []skald.Message{w.message}) },
		func() error { return store.RecordHandled(ctx, tx, "g", now(), []inbox.Handled{{ID: w.handled}}) },
		func() error {
			_, err := store.LockBarriers(ctx, tx, []inbox.BarrierKey{w.barrier.BarrierKey})
			return err
		},
		func() error { return store.SaveBarriers(ctx, tx, now(), []inbox.Barrier{w.barrier}) },
		func() error { return store.Hold(ctx, tx, "g", []inbox.Held{w.held}) },
		func() error {
			_, err := store.LockQueues(ctx, tx, []lock.Key{w.lock.Key})
			return err
		},
		func() error { return store.SaveLocks(ctx, tx, []lock.Row{w.lock}) },
		func() error { return store.SaveSagas(ctx, tx, []saga.Record{w.saga}) },
		func() error {
			return store.AddHistory(ctx, tx, []saga.Entry{{Saga: w.saga.ID, Number: 1, At: now(), What: saga.HistoryStarted}})
		},
	} {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// check fails unless all of it is visible, or none.
func (w writes) check(s store, visible bool) {
	s.Helper()
	seen := map[string]bool{}
	for _, r := range s.outbox(relay.Position{}) {
		seen["the outgoing message"] = seen["the outgoing message"] || r.Message.ID == w.message.ID
	}
	s.batch(func(tx skald.Tx) error {
		handled, err := s.Store.Handled(s.Context(), tx, "g", []skald.ID{w.handled})
		seen["the dedup record"] = len(handled) == 1
		s.must(err, "read dedup records")
		barriers, err := s.Store.LockBarriers(s.Context(), tx, []inbox.BarrierKey{w.barrier.BarrierKey})
		seen["the barrier"] = len(barriers) == 1
		s.must(err, "read barriers")
		rows, err := s.Store.LockQueues(s.Context(), tx, []lock.Key{w.lock.Key})
		seen["the lock"] = len(rows) == 1
		s.must(err, "read locks")
		_, held, err := s.Store.HeldAmong(s.Context(), tx, "g", nil, []skald.ID{w.held.Message.ID})
		seen["the held message"] = len(held) == 1
		return err
	})
	record, err := s.Store.ReadSaga(s.Context(), w.saga.Name, w.saga.Key)
	s.must(err, "read the saga")
	history, err := s.Store.ReadHistory(s.Context(), w.saga.ID)
	s.must(err, "read the history")
	seen["the saga"], seen["the history"] = record != nil, len(history) == 1
	for what, got := range seen {
		if got != visible {
			s.broken("%s", fmt.Sprintf("%s: visible is %t, and should be %t", what, got, visible))
		}
	}
}
