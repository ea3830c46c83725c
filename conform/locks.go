package conform

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
)

const ticket skald.Resource = "conform.ticket"

// ticketKey is the lock on a ticket.
func ticketKey(key string) lock.Key { return lock.Key{Resource: ticket, Key: key} }

// lockRow is the row of a saga that has, or wants, a lock.
func lockRow(key lock.Key, place int) lock.Row {
	id := skald.NewID()
	return lock.Row{
		Key: key, Owner: lock.Owner{Root: id, Round: 1}, Place: place,
		Saga: id, Name: "conform.saga", Step: "reserve", Uses: 2, Since: now(),
	}
}

// waitingRow is the row of one whose message is held until then.
func waitingRow(key lock.Key, place int, group string, message skald.ID) lock.Row {
	r := lockRow(key, place)
	r.Group, r.Message = group, message
	return r
}

// lockQueue is n rows of a key, in order.
func lockQueue(key string, n int) []lock.Row {
	rows := make([]lock.Row, n)
	for i := range rows {
		rows[i] = lockRow(ticketKey(key), i+1)
	}
	return rows
}

var lockCases = []storeCase{
	{"a lock that nobody has asked for has an empty queue", func(s store) {
		s.queuesAre(nil, ticketKey("k"), ticketKey("l"))
	}},
	{"the rows of a queue come back as they were saved, in the order of their places", func(s store) {
		third := waitingRow(ticketKey("k"), 7, "g", skald.NewID())
		third.Name, third.Step, third.Round, third.Uses = "conform.other", "Gebühr zahlen", 1<<31+5, 0
		second := lockRow(ticketKey("k"), 3)
		second.Saga, second.Step, second.Since = skald.NewID(), "", time.Date(1999, 12, 31, 23, 59, 59, 1000, time.UTC)
		first := lockRow(ticketKey("k"), 1)
		s.saveLocks(third, first, second)
		s.queuesAre([]lock.Row{first, second, third}, ticketKey("k"))
		fourth := lockRow(ticketKey("k"), 8)
		s.saveLocks(fourth)
		s.queuesAre([]lock.Row{first, second, third, fourth}, ticketKey("k"))
	}},
	{"each lock has a queue of its own, whatever its key is made of", func(s store) {
		var want []lock.Row
		var keys []lock.Key
		for _, key := range []string{"k", "K", "kk", "Zürich » 東京 'quoted\" \\ % _ * > . /", strings.Repeat("é", skald.MaxKey/2), "e\u0301", "\u00e9"} {
			for _, resource := range []skald.Resource{ticket, "conform.order"} {
				keys = append(keys, lock.Key{Resource: resource, Key: key})
				want = append(want, lockRow(keys[len(keys)-1], 1))
			}
		}
		s.saveLocks(want...)
		s.queuesAre(want, keys...)
		for i := range keys {
			s.queuesAre(want[i:i+1], keys[i])
		}
	}},
	{"a row that a root has in a queue is replaced, and no other", func(s store) {
		rows, elsewhere := lockQueue("k", 3), lockRow(ticketKey("l"), 1)
		elsewhere.Owner = rows[1].Owner
		s.saveLocks(append(rows, elsewhere)...)
		again := waitingRow(rows[1].Key, 2, "g", skald.NewID())
		again.Root, again.Round, again.Name, again.Step, again.Since = rows[1].Root, 2, "conform.other", "charge", now().Add(time.Minute)
		s.replaceLock(again)
		s.queuesAre([]lock.Row{rows[0], again, rows[2]}, rows[0].Key)
		s.replaceLock(rows[1]) // and back
		s.queuesAre(rows, rows[0].Key)
		s.queuesAre([]lock.Row{elsewhere}, elsewhere.Key)
	}},
	{"the row of one root is removed from one queue, and no other", func(s store) {
		k, l := lockQueue("k", 3), lockRow(ticketKey("l"), 1)
		l.Owner = k[1].Owner
		s.saveLocks(append(k, l)...)
		absent := lockRow(k[0].Key, 1)
		s.deleteLocks(k[1], absent)
		s.queuesAre([]lock.Row{k[0], k[2]}, k[0].Key)
		s.queuesAre([]lock.Row{l}, l.Key)
		s.deleteLocks(k[0], k[2], l)
		s.queuesAre(nil, k[0].Key, l.Key)
	}},
	{"a transaction sees what it has written into a queue itself", func(s store) {
		rows, ctx := lockQueue("k", 3), s.Context()
		s.batch(func(tx skald.Tx) error {
			s.inOrder(s.mustLock(ctx, tx, rows[0].Key), nil)
			s.must(s.Store.SaveLocks(ctx, tx, rows[:2]), "save")
			s.inOrder(s.mustLock(ctx, tx, rows[0].Key), rows[:2])
			s.must(s.Store.DeleteLocks(ctx, tx, rows[:1]), "delete")
			s.must(s.Store.SaveLocks(ctx, tx, rows[2:]), "save")
			s.inOrder(s.mustLock(ctx, tx, rows[0].Key), rows[1:])
			keys, err := s.Store.LockedBy(ctx, tx, rows[2].Root)
			same(s.checker, "keys of the root", keys, []lock.Key{rows[2].Key})
			return err
		})
		s.queuesAre(rows[1:], rows[0].Key)
	}},
	{"what is rolled back of a queue was never there, and its lock is free", func(s store) {
		rows, ctx := lockQueue("k", 2), s.Context()
		s.saveLocks(rows[0])
		b := s.begin()
		s.mustLock(ctx, b.Tx(), rows[0].Key)
		s.must(s.Store.DeleteLocks(ctx, b.Tx(), rows[:1]), "delete")
		s.must(s.Store.SaveLocks(ctx, b.Tx(), rows[1:]), "save")
		s.must(b.Rollback(), "roll back")
		s.queuesAre(rows[:1], rows[0].Key)
	}},
	{"a return to the savepoint undoes what was written into queues since, and nothing before", func(s store) {
		rows, ctx := lockQueue("k", 3), s.Context()
		s.saveLocks(rows[0])
		b := s.begin()
		s.mustLock(ctx, b.Tx(), rows[0].Key)
		s.must(s.Store.SaveLocks(ctx, b.Tx(), rows[1:2]), "save before the savepoint")
		s.must(b.Savepoint(ctx), "set a savepoint")
		s.must(s.Store.DeleteLocks(ctx, b.Tx(), rows[:2]), "delete since the savepoint")
		s.must(s.Store.SaveLocks(ctx, b.Tx(), rows[2:]), "save since the savepoint")
		s.must(b.RollbackTo(ctx), "return to the savepoint")
		s.must(b.Commit(ctx), "commit")
		s.queuesAre(rows[:2], rows[0].Key)
	}},
	{"the keys in whose queues a root has a row are found, and no other", func(s store) {
		a, b, other := lockRow(ticketKey("k"), 1), waitingRow(lock.Key{Resource: "conform.order", Key: "k"}, 2, "g", skald.NewID()), lockRow(ticketKey("k"), 2)
		b.Root = a.Root
		another := lockRow(ticketKey("m"), 1)
		another.Saga = a.Root // a child's row is its root's
		s.saveLocks(a, b, other, another)
		same(s.checker, "keys of the root", s.lockedBy(a.Root), []lock.Key{a.Key, b.Key})
		same(s.checker, "keys of an unknown root", s.lockedBy(skald.NewID()), nil)
		s.deleteLocks(a)
		same(s.checker, "keys of the root", s.lockedBy(a.Root), []lock.Key{b.Key})
	}},
	{"any number of queues is locked, saved and removed at once", func(s store) {
		for _, n := range []int{0, 65, 1500} {
			rows, keys := make([]lock.Row, n), make([]lock.Key, n)
			for i := range n {
				rows[i] = lockRow(ticketKey(fmt.Sprint("k", i)), 1)
				rows[i].Root, keys[i] = rows[0].Root, rows[i].Key
			}
			s.saveLocks(rows...)
			s.queuesAre(rows, keys...)
			if n > 0 {
				same(s.checker, "keys of the root", s.lockedBy(rows[0].Root), keys)
			}
			s.deleteLocks(rows...)
			s.queuesAre(nil, keys...)
		}
	}},
	{"the list pages by key, with whole queues, of one resource or of all", listsLocks},
}

func listsLocks(s store) {
	var all []lock.Row
	for _, key := range []string{"B", "a", "b c", "ä"} { // in the order of their bytes
		all = append(all, lockQueue(key, 3)...)
	}
	before, behind := lockRow(lock.Key{Resource: "conform.order", Key: "z"}, 1), lockRow(lock.Key{Resource: "conform.tickets", Key: "A"}, 1)
	tickets := all
	all = slices.Concat([]lock.Row{before}, all, []lock.Row{behind})
	saved := slices.Clone(all)
	slices.Reverse(saved)
	s.saveLocks(saved...)
	for resource, want := range map[skald.Resource][]lock.Row{"": all, ticket: tickets, "conform.order": all[:1], "conform.none": nil} {
		s.inOrder(s.listLocks(resource, lock.Key{}, 100), want)
		for limit := 1; limit <= 3; limit++ {
			var got []lock.Row
			for after := (lock.Key{}); ; after = got[len(got)-1].Key {
				page := s.listLocks(resource, after, limit)
				if keys := slices.CompactFunc(slices.Clone(page), func(a, b lock.Row) bool { return a.Key == b.Key }); len(keys) > limit {
					s.broken("a list of at most %d keys has %d", limit, len(keys))
				}
				if got = append(got, page...); len(page) == 0 {
					break
				}
			}
			s.inOrder(got, want)
		}
	}
}

func (s store) listLocks(resource skald.Resource, after lock.Key, limit int) []lock.Row {
	s.Helper()
	rows, err := s.Store.ListLocks(s.Context(), resource, after, limit)
	s.must(err, "list locks")
	return rows
}

func (s store) mustLock(ctx context.Context, tx skald.Tx, keys ...lock.Key) []lock.Row {
	s.Helper()
	rows, err := s.Store.LockQueues(ctx, tx, keys)
	s.must(err, "lock queues")
	return rows
}

// saveLocks saves rows in a batch that has locked their queues.
func (s store) saveLocks(rows ...lock.Row) {
	s.Helper()
	s.batch(func(tx skald.Tx) error {
		if _, err := s.Store.LockQueues(s.Context(), tx, keysOf(rows)); err != nil {
			return err
		}
		return s.Store.SaveLocks(s.Context(), tx, rows)
	})
}

// replaceLock has a row in place of the one of the same key and root, in one batch.
func (s store) replaceLock(row lock.Row) {
	s.Helper()
	s.batch(func(tx skald.Tx) error {
		_, err := s.Store.LockQueues(s.Context(), tx, []lock.Key{row.Key})
		if err == nil {
			err = s.Store.DeleteLocks(s.Context(), tx, []lock.Row{row})
		}
		if err == nil {
			err = s.Store.SaveLocks(s.Context(), tx, []lock.Row{row})
		}
		return err
	})
}

func (s store) deleteLocks(rows ...lock.Row) {
	s.Helper()
	s.batch(func(tx skald.Tx) error {
		if _, err := s.Store.LockQueues(s.Context(), tx, keysOf(rows)); err != nil {
			return err
		}
		return s.Store.DeleteLocks(s.Context(), tx, rows)
	})
}

func (s store) lockedBy(root skald.ID) []lock.Key {
	s.Helper()
	var keys []lock.Key
	s.batch(func(tx skald.Tx) (err error) {
		keys, err = s.Store.LockedBy(s.Context(), tx, root)
		return err
	})
	return keys
}

// keysOf are the keys of rows, each once.
func keysOf(rows []lock.Row) []lock.Key {
	seen := map[lock.Key]bool{}
	var keys []lock.Key
	for _, r := range rows {
		if !seen[r.Key] {
			keys = append(keys, r.Key)
		}
		seen[r.Key] = true
	}
	return keys
}

// queuesAre fails unless the keys' queues have exactly these rows; those of a key are in order.
func (s store) queuesAre(want []lock.Row, keys ...lock.Key) {
	s.Helper()
	s.inOrder(inOrderOf(keys, s.queues(keys...)), want)
}

func (s store) queues(keys ...lock.Key) []lock.Row {
	s.Helper()
	var rows []lock.Row
	s.batch(func(tx skald.Tx) (err error) {
		rows, err = s.Store.LockQueues(s.Context(), tx, keys)
		return err
	})
	return rows
}

// inOrderOf puts rows of these keys into the order of the keys, and leaves those of a key in theirs.
func inOrderOf(keys []lock.Key, rows []lock.Row) []lock.Row {
	number := map[lock.Key]int{}
	for i, k := range keys {
		number[k] = i
	}
	rows = slices.DeleteFunc(slices.Clone(rows), func(r lock.Row) bool { _, ok := number[r.Key]; return !ok })
	slices.SortStableFunc(rows, func(a, b lock.Row) int { return cmp.Compare(number[a.Key], number[b.Key]) })
	return rows
}

// inOrder fails unless the rows are these, in this order.
func (s store) inOrder(got, want []lock.Row) {
	s.Helper()
	if len(got) != len(want) {
		s.broken("there are %d rows: %v; there should be %d: %v", len(got), rowsOf(got), len(want), rowsOf(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Since.Equal(w.Since) {
			g.Since = w.Since
		}
		if g != w {
			s.broken("row %d is\n\t%+v\nand should be\n\t%+v", i+1, g, w)
		}
	}
}

// rowsOf describes rows for a failure.
func rowsOf(rows []lock.Row) []string {
	var all []string
	for _, r := range rows[:min(len(rows), 20)] {
		all = append(all, fmt.Sprintf("%s, place %d: %s", r.Key, r.Place, r.Root))
	}
	return all
}
