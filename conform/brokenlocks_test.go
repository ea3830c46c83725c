package conform_test

import (
	"context"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/skaldtest"
)

type lining struct{ *skaldtest.Store }

func (s lining) Hold(ctx context.Context, tx skald.Tx, group string, held []inbox.Held) error {
	held = slices.Clone(held)
	for i := range held {
		held[i].Apart = false
	}
	return s.Store.Hold(ctx, tx, group, held)
}

// parting removes a message that is held again, and holds it as it is now.
type parting struct{ *skaldtest.Store }

func (s parting) Hold(ctx context.Context, tx skald.Tx, group string, held []inbox.Held) error {
	for _, h := range held {
		if err := s.Unhold(ctx, tx, group, []skald.ID{h.Message.ID}); err != nil {
			return err
		}
	}
	return s.Store.Hold(ctx, tx, group, held)
}

// rousing wakes those as well that wait for an operator.
type rousing struct{ *skaldtest.Store }

func (s rousing) WakeHeld(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) error {
	all, err := s.ListHeld(ctx, group, 0, 10_000)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(h inbox.Held) bool { return h.State == inbox.HeldFollowing || !slices.Contains(ids, h.Message.ID) })
	for i := range all {
		all[i].State, all[i].NextAttempt = inbox.HeldRetrying, all[i].HeldAt
	}
	return s.Hold(ctx, tx, group, all)
}

type freeing struct{ *skaldtest.Store }

func (s freeing) DeleteLocks(ctx context.Context, tx skald.Tx, rows []lock.Row) error {
	for _, r := range rows {
		queue, err := s.LockQueues(ctx, tx, []lock.Key{r.Key})
		if err != nil {
			return err
		}
		if err := s.Store.DeleteLocks(ctx, tx, queue); err != nil {
			return err
		}
	}
	return nil
}

// resourceless finds by a key the rows of all resources.
type resourceless struct{ *skaldtest.Store }

func (s resourceless) LockQueues(ctx context.Context, tx skald.Tx, keys []lock.Key) ([]lock.Row, error) {
	rows, err := s.Store.LockQueues(ctx, tx, keys)
	if err != nil {
		return nil, err
	}
	all, err := s.ListLocks(ctx, "", lock.Key{}, 10_000)
	for _, r := range all {
		of := func(k lock.Key) bool { return k.Key == r.Key.Key && k.Resource != r.Resource }
		if i := slices.IndexFunc(keys, of); i >= 0 && !slices.Contains(keys, r.Key) {
			r.Key = keys[i]
			rows = append(rows, r)
		}
	}
	return rows, err
}

// cutting cuts a list of locks off in the middle of a queue.
type cutting struct{ *skaldtest.Store }

func (s cutting) ListLocks(ctx context.Context, resource skald.Resource, after lock.Key, limit int) ([]lock.Row, error) {
	rows, err := s.Store.ListLocks(ctx, resource, after, limit)
	return rows[:min(len(rows), limit)], err
}

// glancing answers everything at once, but for the locks.
type glancing struct{ *skaldtest.Store }

func (s glancing) Look(ctx context.Context, tx skald.Tx, group string, q inbox.Question) (known inbox.Known, err error) {
	if known.Handled, err = s.Handled(ctx, tx, group, q.IDs); err != nil {
		return known, err
	}
	if known.Blocked, known.Held, err = s.HeldAmong(ctx, tx, group, q.Keys, q.Arrived); err != nil {
		return known, err
	}
	known.Barriers, err = s.LockBarriers(ctx, tx, q.Barriers)
	return known, err
}

// lockless has many writers, and reads queues without locking them. It knows no more of a transaction
// than the cases of its promise need.
type lockless struct{ *skaldtest.Store }

// tardy is a batch whose transaction begins with what it writes.
type tardy struct {
	inbox.Batch // nil until then
	tx          *tardyTx
}

type tardyTx struct {
	skald.Tx
	batch *tardy
}

func (s lockless) Begin(context.Context) (inbox.Batch, error) {
	b := &tardy{}
	b.tx = &tardyTx{batch: b}
	return b, nil
}

func (b *tardy) Tx() skald.Tx { return b.tx }

func (b *tardy) Commit(ctx context.Context) error {
	if b.Batch == nil {
		return nil
	}
	return b.Batch.Commit(ctx)
}

func (b *tardy) Rollback() error {
	if b.Batch == nil {
		return nil
	}
	return b.Batch.Rollback()
}

func (s lockless) LockQueues(ctx context.Context, _ skald.Tx, keys []lock.Key) ([]lock.Row, error) {
	rows, err := s.ListLocks(ctx, "", lock.Key{}, 10_000)
	return slices.DeleteFunc(rows, func(r lock.Row) bool { return !slices.Contains(keys, r.Key) }), err
}

func (s lockless) SaveLocks(ctx context.Context, tx skald.Tx, rows []lock.Row) (err error) {
	b := tx.(*tardyTx).batch
	if b.Batch == nil {
		if b.Batch, err = s.Store.Begin(ctx); err != nil {
			return err
		}
	}
	return s.Store.SaveLocks(ctx, b.Batch.Tx(), rows)
}
