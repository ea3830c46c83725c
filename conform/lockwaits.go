package conform

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
)

// untilSure is how long a transaction that must wait is watched.
const untilSure = 150 * time.Millisecond

var lockWaitCases = []storeCase{
	{"a queue that one transaction has locked, another waits for, also when it is empty", func(s store) {
		empty, full := ticketKey("empty"), lockQueue("full", 2)
		s.saveLocks(full...)
		s.waits(empty, s.lockInBatch(empty), s.lockInBatch(empty))
		s.waits(full[0].Key, s.lockInBatch(full[0].Key), s.lockInBatch(ticketKey("a"), full[0].Key, ticketKey("z")))
	}},
	{"a user's own transaction locks queues as a batch does, and writes into them", func(s store) {
		key := ticketKey("k")
		s.waits(key, s.lockInBatch(key), s.lockByUser(key))
		s.waits(key, s.lockByUser(key), s.lockInBatch(key))
		s.waits(key, s.lockByUser(key), s.lockByUser(key))
	}},
	{"whoever locks very many queues at once has each of them alone", func(s store) {
		keys := make([]lock.Key, 1500)
		for i := range keys {
			keys[i] = ticketKey(fmt.Sprint("k", i))
		}
		one, all := s.lockInBatch(keys[700]), s.lockInBatch(keys...)
		s.waits(keys[700], all, one)
		s.waits(keys[700], one, all)
		s.waits(keys[700], all, all)
	}},
	{"of those who line up at the same time, each gets a place of its own", func(s store) {
		const contenders = 6
		ctx, ended := s.patient(), make(chan error, contenders)
		for range contenders {
			go func() { ended <- s.retried(ctx, func() error { return s.lineUp(ctx, ticketKey("k")) }) }()
		}
		for range contenders {
			s.must(await(s.checker, "a contender", ended), "line up")
		}
		queue := s.queues(ticketKey("k"))
		if len(queue) != contenders {
			s.broken("of %d that lined up, in the queue are %v", contenders, rowsOf(queue))
		}
		for i, r := range queue {
			if r.Place != i+1 {
				s.broken("row %d of the queue has place %d", i+1, r.Place)
			}
		}
	}},
	{"a store that is asked everything at once answers and locks as when it is asked one by one", looksForLocks},
}

// lineUp adds a row at a queue's end.
func (s store) lineUp(ctx context.Context, key lock.Key) error {
	return s.tryBatch(ctx, func(tx skald.Tx) error {
		rows, err := s.Store.LockQueues(ctx, tx, []lock.Key{key})
		if err != nil {
			return err
		}
		return s.Store.SaveLocks(ctx, tx, []lock.Row{lockRow(key, len(rows)+1)})
	})
}

func looksForLocks(s store) {
	together, ok := s.Store.(inbox.Looker)
	if !ok {
		return
	}
	w, rows := newWrites(), slices.Concat(lockQueue("k", 2), lockQueue("l", 1))
	s.batch(func(tx skald.Tx) error { return w.write(s.Context(), s.Store, tx) })
	s.saveLocks(rows...)
	question := inbox.Question{
		IDs: []skald.ID{w.handled, skald.NewID()}, Arrived: []skald.ID{w.held.Message.ID, skald.NewID()},
		Keys:     []inbox.ChannelKey{w.held.Queue(), {Channel: w.held.Message.Channel, Key: "free"}},
		Barriers: []inbox.BarrierKey{w.barrier.BarrierKey, {Saga: skald.NewID(), Step: "reserve", Attempt: 1}},
		Locks:    []lock.Key{rows[0].Key, ticketKey("free"), rows[2].Key},
	}
	look := func(q inbox.Question) (known inbox.Known) {
		s.batch(func(tx skald.Tx) (err error) {
			known, err = together.Look(s.Context(), tx, "g", q)
			return err
		})
		return known
	}
	known := look(question)
	if len(known.Handled) != 1 || known.Handled[0].ID != w.handled {
		s.broken("handled are %v, and should be %s", known.Handled, w.handled)
	}
	same(s.checker, "blocked keys", known.Blocked, question.Keys[:1])
	same(s.checker, "held ids", known.Held, question.Arrived[:1])
	same(s.checker, "barriers", known.Barriers, []inbox.Barrier{w.barrier})
	s.inOrder(inOrderOf(question.Locks, known.Locks), rows)
	s.inOrder(inOrderOf(question.Locks, look(inbox.Question{Locks: question.Locks}).Locks), rows)
	for range 700 {
		question.Barriers = append(question.Barriers, inbox.BarrierKey{Saga: skald.NewID(), Step: "reserve", Attempt: 1})
		question.Locks = append(question.Locks, ticketKey(skald.NewID().String()))
	}
	for _, q := range []inbox.Question{{Locks: question.Locks[:1]}, {Locks: question.Locks[:1], Barriers: question.Barriers[:1]}, question} {
		asked := s.inBatch(func(ctx context.Context, tx skald.Tx) ([]lock.Row, error) {
			known, err := together.Look(ctx, tx, "g", q)
			return known.Locks, err
		})
		s.waits(question.Locks[0], asked, s.lockInBatch(question.Locks[0]))
		s.waits(question.Locks[0], s.lockInBatch(question.Locks[0]), asked)
	}
}

// locking is a transaction that has locked queues.
type locking struct {
	tx               skald.Tx
	rows             []lock.Row // as they were found
	commit, rollback func() error
}

// locker opens a transaction that begins with locking queues.
type locker func(ctx context.Context) (locking, error)

func (s store) lockInBatch(keys ...lock.Key) locker {
	return s.inBatch(func(ctx context.Context, tx skald.Tx) ([]lock.Row, error) { return s.Store.LockQueues(ctx, tx, keys) })
}

func (s store) inBatch(find func(ctx context.Context, tx skald.Tx) ([]lock.Row, error)) locker {
	return func(ctx context.Context) (locking, error) {
		b, err := s.Store.Begin(ctx)
		if err != nil {
			return locking{}, err
		}
		rows, err := find(ctx, b.Tx())
		if err != nil {
			_ = b.Rollback()
		}
		return locking{b.Tx(), rows, func() error { return b.Commit(ctx) }, b.Rollback}, err
	}
}

func (s store) lockByUser(keys ...lock.Key) locker {
	return func(ctx context.Context) (locking, error) {
		tx, commit, rollback, err := s.Begin(ctx)
		if err != nil {
			return locking{}, err
		}
		rows, err := s.Store.LockQueues(ctx, tx, keys)
		if err != nil {
			_ = rollback()
		}
		return locking{tx, rows, commit, rollback}, err
	}
}

// waits has two transactions lock a queue: the second one goes on when the first has committed, and
// finds what that left.
func (s store) waits(key lock.Key, first, second locker) {
	s.Helper()
	ctx, found := s.patient(), s.queues(key)
	of := func(l locking) []lock.Row { return inOrderOf([]lock.Key{key}, l.rows) }
	one, err := first(ctx)
	s.must(err, "lock the queue")
	defer func() { _ = one.rollback() }()
	s.inOrder(of(one), found)
	var other locking
	locked := make(chan error, 1)
	go func() {
		locked <- s.retried(ctx, func() (err error) { other, err = second(ctx); return err })
	}()
	s.pause(untilSure)
	select {
	case err := <-locked:
		s.broken("two transactions have locked the queue at the same time (%v)", err)
	default:
	}
	row := lockRow(key, len(found)+1)
	s.must(s.Store.SaveLocks(ctx, one.tx, []lock.Row{row}), "save a row")
	s.must(one.commit(), "commit")
	s.must(await(s.checker, "the wait for the queue", locked), "lock the queue")
	s.inOrder(of(other), append(found, row))
	s.must(other.rollback(), "roll back")
}
