package lock

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/unit"
)

// Share is a unit of work's share of the locks: the queues that it has looked at, and what it has changed in
// them, to be written once, at the end. It implements [unit.Part], and belongs to the runtime.
type Share struct {
	locks  *Locks
	work   *unit.Work
	queues map[Key]*ranks
	wanted []Key
	undo   []func()
	mark   int
	// since are the queues that were locked since the mark.
	since []Key
}

// ranks are a key's queue as it was found, and as it is now. The elements of the slices are never changed; new ones
// may come behind them.
type ranks struct {
	before, now queue
	// left are rows that were removed, or came to be had by another message, while a message waited in their name.
	left []Row
}

// In is the unit of work's share.
func (l *Locks) In(work *unit.Work) *Share {
	return work.Part(l, func() unit.Part { return &Share{locks: l, work: work, queues: map[Key]*ranks{}} }).(*Share)
}

// Mark implements [unit.Part].
func (s *Share) Mark() { s.mark, s.since = len(s.undo), nil }

// Reset implements [unit.Part]. A database may give up with a savepoint what was locked since: who wants
// it again locks it again.
func (s *Share) Reset() {
	s.rollback(s.mark)
	for _, k := range s.since {
		delete(s.queues, k)
	}
	s.since = nil
}

// Checkpoint returns a function that forgets what is changed from now on.
func (s *Share) Checkpoint() (undo func()) {
	length := len(s.undo)
	return func() { s.rollback(length) }
}

func (s *Share) rollback(length int) {
	for len(s.undo) > length {
		last := len(s.undo) - 1
		s.undo[last]()
		s.undo = s.undo[:last]
	}
}

// Want notes keys that are likely to be asked for, to be looked at together with others, the next time that any
// is.
func (s *Share) Want(keys ...Key) { s.wanted = append(s.wanted, keys...) }

// Missing are those of keys, and of what is wanted, whose queues are not known yet, each once.
func (s *Share) Missing(keys []Key) []Key {
	keys = append(s.wanted, keys...)
	s.wanted = nil
	asked := make(map[Key]bool, len(keys))
	return slices.DeleteFunc(keys, func(k Key) bool {
		known := asked[k] || s.queues[k] != nil
		asked[k] = true
		return known
	})
}

// Adopt takes what the store has of keys.
func (s *Share) Adopt(keys []Key, rows []Row) {
	all := make([]ranks, len(keys))
	for i, k := range keys {
		s.queues[k] = &all[i]
	}
	for _, r := range rows {
		q := s.queues[r.Key]
		q.before = append(q.before, r)
	}
	for i := range all {
		all[i].now = all[i].before
	}
}

func (s *Share) load(ctx context.Context, keys ...Key) error {
	if !slices.ContainsFunc(keys, func(k Key) bool { return s.queues[k] == nil }) {
		return nil
	}
	missing := s.Missing(keys)
	rows, err := s.locks.store.LockQueues(ctx, s.work.Tx, missing)
	if err != nil {
		return err
	}
	s.Adopt(missing, rows)
	s.since = append(s.since, missing...)
	return nil
}

// Ask says what becomes of a request, and changes nothing. The rows are those before the owner, the holder
// first; they are only to be read.
func (s *Share) Ask(ctx context.Context, k Key, o Owner, policy Policy) (Verdict, []Row, error) {
	if err := s.load(ctx, k); err != nil {
		return 0, nil, err
	}
	q := s.queues[k].now
	before := q
	if i := q.index(o); i >= 0 {
		before = q[:i]
	}
	return q.decide(o, policy), before[:len(before):len(before)], nil
}

// Take writes down that a step has landed under a lock that its owner was granted. The row's message, if any, is the one that
// the step came with. It is an error that another has taken the lock since.
func (s *Share) Take(r Row) error {
	s.Keep(r)
	q := s.queues[r.Key]
	i := q.now.index(r.Owner)
	if i > 0 {
		return fmt.Errorf("lock: step %q took the lock on %s, and what it called has it already for saga %s (%s): have one of them take it", r.Step, r.Key, q.now[0].Name, q.now[0].Saga)
	}
	taken := q.now[i]
	if taken.Uses++; taken.Uses == 1 {
		taken.Step, taken.Saga, taken.Name = r.Step, r.Saga, r.Name
	}
	s.replace(q, i, taken)
	return nil
}

// Keep writes down that an owner who was granted a lock has it, though no step has landed under it. The row that it
// has already becomes this round's: what the saga gave up in an earlier one does not release it. Of its family's messages
// another one than the row's may have waited, which has waited for long enough then.
func (s *Share) Keep(r Row) {
	q, by := s.queues[r.Key], r.Message
	r.Group, r.Message = "", skald.ID{}
	i := q.now.index(r.Owner)
	if i < 0 {
		s.join(q, r)
		return
	}
	kept := q.now[i]
	kept.Round, kept.Group, kept.Message = r.Round, "", skald.ID{}
	had := q.now[i]
	s.replace(q, i, kept)
	if had.waits() && had.Message != by {
		q.left = append(slices.Clip(q.left), had)
	}
}

func (s *Share) replace(q *ranks, i int, r Row) {
	next := slices.Clone(q.now)
	next[i] = r
	s.set(q, next)
}

// Join adds a row at the end of a queue, unless the owner is in it.
func (s *Share) Join(r Row) {
	if q := s.queues[r.Key]; q.now.index(r.Owner) < 0 {
		s.join(q, r)
	}
}

func (s *Share) join(q *ranks, r Row) {
	r.Place, r.Since = 1, s.work.Now
	if len(q.now) > 0 {
		r.Place += q.now[len(q.now)-1].Place
	}
	s.set(q, append(q.now, r))
}

// Row is an owner's row in a queue that was looked at.
func (s *Share) Row(k Key, o Owner) (Row, bool) {
	q := s.queues[k]
	if q == nil {
		return Row{}, false
	}
	if i := q.now.index(o); i >= 0 {
		return q.now[i], true
	}
	return Row{}, false
}

// Release removes an owner's row, if it is of no later round; the next in the queue has the lock then. It reports
// whether there was one.
func (s *Share) Release(ctx context.Context, k Key, o Owner) (bool, error) {
	return s.remove(ctx, k, o, func(Row) bool { return true })
}

// Leave ends what a step has done under the lock: it is undone, or decided. The row goes with the last one of
// them. It reports whether there was one.
func (s *Share) Leave(ctx context.Context, k Key, o Owner) (found bool, err error) {
	removed, err := s.remove(ctx, k, o, func(r Row) bool { return r.Uses <= 1 })
	if removed || err != nil {
		return removed, err
	}
	q := s.queues[k]
	i := q.now.index(o)
	if i < 0 || q.now[i].Round > o.Round {
		return false, nil
	}
	left := q.now[i]
	left.Uses--
	s.replace(q, i, left)
	return true, nil
}

// Withdraw removes the row with which a step waits that will not land, or has waited.
func (s *Share) Withdraw(ctx context.Context, k Key, o Owner, saga skald.ID, step string) error {
	_, err := s.remove(ctx, k, o, func(r Row) bool { return r.Uses == 0 && r.Saga == saga && r.Step == step })
	return err
}

// Abandon removes an owner's row if a message waits, or has waited, in its name.
func (s *Share) Abandon(ctx context.Context, k Key, o Owner, message skald.ID) error {
	_, err := s.remove(ctx, k, o, func(r Row) bool { return r.Message == message })
	return err
}

func (s *Share) remove(ctx context.Context, k Key, o Owner, which func(Row) bool) (bool, error) {
	if err := s.load(ctx, k); err != nil {
		return false, err
	}
	q := s.queues[k]
	i := q.now.index(o)
	if i < 0 || q.now[i].Round > o.Round || !which(q.now[i]) {
		return false, nil
	}
	removed := q.now[i]
	s.set(q, slices.Delete(slices.Clone(q.now), i, i+1))
	if removed.waits() {
		q.left = append(slices.Clip(q.left), removed)
	}
	return true, nil
}

// Sweep removes all rows of an owner, of this round and earlier ones.
func (s *Share) Sweep(ctx context.Context, o Owner) error {
	return s.removeAll(ctx, o, func(Row) bool { return true })
}

// AbandonAll removes those of an owner's rows in whose name a message waits, or has waited.
func (s *Share) AbandonAll(ctx context.Context, o Owner, message skald.ID) error {
	return s.removeAll(ctx, o, func(r Row) bool { return r.Message == message })
}

func (s *Share) removeAll(ctx context.Context, o Owner, which func(Row) bool) error {
	keys, err := s.locks.store.LockedBy(ctx, s.work.Tx, o.Root)
	if err != nil {
		return err
	}
	for k, q := range s.queues { // what was taken in this very unit of work
		if q.now.index(o) >= 0 && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareKeys)
	if err := s.load(ctx, keys...); err != nil {
		return err
	}
	for _, k := range keys {
		if _, err := s.remove(ctx, k, o, which); err != nil {
			return err
		}
	}
	return nil
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Key, b.Key))
}

// set changes a queue; who is first from now on has the lock since now.
func (s *Share) set(q *ranks, next queue) {
	earlier, left := q.now, q.left
	s.undo = append(s.undo, func() { q.now, q.left = earlier, left })
	if len(next) > 0 && len(earlier) > 0 && next[0].Root != earlier[0].Root {
		next[0].Since = s.work.Now
	}
	q.now = next
}

// Flush implements [unit.Part]: a statement for the rows that are gone, one for those that are new, and one for each
// group whose messages have waited for a lock that is theirs now. A row that has changed is one of both.
func (s *Share) Flush(ctx context.Context, work *unit.Work) error {
	var gone, saved []Row
	waiting := map[string][]skald.ID{}
	for _, q := range s.queues {
		wake := q.left
		if len(q.now) > 0 && q.now[0].waits() && (len(q.before) == 0 || q.before[0].Root != q.now[0].Root) {
			wake = append(slices.Clip(wake), q.now[0])
		}
		for _, r := range wake {
			waiting[r.Group] = append(waiting[r.Group], r.Message)
		}
		gone, saved = q.changes(gone, saved)
		q.before, q.left = q.now, nil
	}
	s.undo, s.mark = nil, 0
	if err := s.locks.store.DeleteLocks(ctx, work.Tx, gone); err != nil {
		return err
	}
	if err := s.locks.store.SaveLocks(ctx, work.Tx, saved); err != nil {
		return err
	}
	return s.wake(ctx, waiting)
}

// changes adds the rows that are gone, and those that are new; one that has changed is both. Both queues are in the order of their places.
func (q *ranks) changes(gone, saved []Row) (g, s []Row) {
	before, now := q.before, q.now
	for len(before) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(before) > 0 && before[0].Place < now[0].Place:
			gone, before = append(gone, before[0]), before[1:]
		case len(before) == 0 || now[0].Place < before[0].Place:
			saved, now = append(saved, now[0]), now[1:]
		default:
			if before[0] != now[0] {
				gone, saved = append(gone, before[0]), append(saved, now[0])
			}
			before, now = before[1:], now[1:]
		}
	}
	return gone, saved
}

func (r *Row) waits() bool { return !r.Message.IsZero() }

func (s *Share) wake(ctx context.Context, waiting map[string][]skald.ID) error {
	for group, messages := range waiting {
		if err := s.locks.store.WakeHeld(ctx, s.work.Tx, group, messages); err != nil {
			return err
		}
	}
	if len(waiting) > 0 && s.locks.woken != nil {
		s.work.Committed = append(s.work.Committed, s.locks.woken)
	}
	return nil
}
