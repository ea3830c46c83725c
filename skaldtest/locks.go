package skaldtest

import (
	"cmp"
	"context"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
)

// LockQueues implements [lock.Store]. One writer at a time is lock enough.
func (s *Store) LockQueues(ctx context.Context, tx skald.Tx, keys []lock.Key) ([]lock.Row, error) {
	var found []lock.Row
	err := s.within(ctx, tx, func(v *view) error {
		for _, key := range keys {
			queue, _ := v.locks.get(key)
			found = append(found, queue...)
		}
		return nil
	})
	return found, err
}

// LockedBy implements [lock.Store].
func (s *Store) LockedBy(ctx context.Context, tx skald.Tx, root skald.ID) ([]lock.Key, error) {
	var keys []lock.Key
	err := s.within(ctx, tx, func(v *view) error {
		for key, queue := range v.locks.all() {
			if lockIndex(queue, root) >= 0 {
				keys = append(keys, key)
			}
		}
		slices.SortFunc(keys, compareLocks)
		return nil
	})
	return keys, err
}

// lockIndex is where a root is in a queue, -1 when it is not.
func lockIndex(queue []lock.Row, root skald.ID) int {
	return slices.IndexFunc(queue, func(r lock.Row) bool { return r.Root == root })
}

func compareLocks(a, b lock.Key) int {
	return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Key, b.Key))
}

// SaveLocks implements [lock.Store].
func (s *Store) SaveLocks(ctx context.Context, tx skald.Tx, rows []lock.Row) error {
	return s.within(ctx, tx, func(v *view) error {
		for _, r := range rows {
			queue := v.lockQueue(r.Key, r.Root)
			queue = append(queue, r)
			slices.SortFunc(queue, func(a, b lock.Row) int { return cmp.Compare(a.Place, b.Place) })
			v.locks.put(r.Key, queue)
		}
		return nil
	})
}

// DeleteLocks implements [lock.Store].
func (s *Store) DeleteLocks(ctx context.Context, tx skald.Tx, rows []lock.Row) error {
	return s.within(ctx, tx, func(v *view) error {
		for _, r := range rows {
			if queue := v.lockQueue(r.Key, r.Root); len(queue) > 0 {
				v.locks.put(r.Key, queue)
			} else {
				v.locks.delete(r.Key)
			}
		}
		return nil
	})
}

// lockQueue is a copy of a key's queue without the row of a root.
func (v *view) lockQueue(key lock.Key, root skald.ID) []lock.Row {
	queue, _ := v.locks.get(key)
	return slices.DeleteFunc(slices.Clone(queue), func(r lock.Row) bool { return r.Root == root })
}

// WakeHeld implements [lock.Store].
func (s *Store) WakeHeld(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) error {
	return s.within(ctx, tx, func(v *view) error {
		for _, id := range ids {
			if row, ok := v.heldOf(group, id); ok && row.held.State == inbox.HeldRetrying {
				v.putHeld(row.due())
			}
		}
		return nil
	})
}

// ListLocks implements [lock.Store].
func (s *Store) ListLocks(ctx context.Context, resource skald.Resource, after lock.Key, limit int) ([]lock.Row, error) {
	var list []lock.Row
	err := s.read(ctx, func(v *view) {
		for _, key := range sorted(&v.locks, compareLocks) {
			if compareLocks(key, after) <= 0 || resource != "" && key.Resource != resource || limit <= 0 {
				continue
			}
			queue, _ := v.locks.get(key)
			list = append(list, queue...)
			limit--
		}
	})
	return list, err
}
