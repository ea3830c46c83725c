package skaldtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// handledKey is a message as one group sees it.
type handledKey struct {
	group string
	id    skald.ID
}

type handledRow struct {
	at    time.Time
	reply []byte
}

type barrierRow struct {
	at      time.Time
	barrier inbox.Barrier
}

// Handled implements [inbox.DedupStore].
func (s *Store) Handled(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) ([]inbox.Handled, error) {
	var found []inbox.Handled
	err := s.within(ctx, tx, func(v *view) error {
		for _, id := range ids {
			if row, ok := v.handled.get(handledKey{group, id}); ok {
				found = append(found, inbox.Handled{ID: id, Reply: slices.Clone(row.reply)})
			}
		}
		return nil
	})
	return found, err
}

// RecordHandled implements [inbox.DedupStore].
func (s *Store) RecordHandled(ctx context.Context, tx skald.Tx, group string, now time.Time, handled []inbox.Handled) error {
	return s.within(ctx, tx, func(v *view) error {
		for _, h := range handled {
			key := handledKey{group, h.ID}
			if _, ok := v.handled.get(key); ok {
				return fmt.Errorf("skaldtest: group %q has handled message %s already", group, h.ID)
			}
			v.handled.put(key, handledRow{now, slices.Clone(h.Reply)})
		}
		return nil
	})
}

// CleanInbox implements [inbox.DedupStore].
func (s *Store) CleanInbox(ctx context.Context, before time.Time, limit int) (int, error) {
	cleaned := 0
	err := s.write(ctx, func(v *view) error {
		for key, row := range v.handled.all() {
			if row.at.Before(before) && cleaned < limit {
				v.handled.delete(key)
				cleaned++
			}
		}
		for key, row := range v.barriers.all() {
			if row.at.Before(before) && cleaned < limit {
				v.barriers.delete(key)
				cleaned++
			}
		}
		return nil
	})
	return cleaned, err
}

// LockBarriers implements [inbox.BarrierStore]. One writer at a time is lock enough.
func (s *Store) LockBarriers(ctx context.Context, tx skald.Tx, keys []inbox.BarrierKey) ([]inbox.Barrier, error) {
	var found []inbox.Barrier
	err := s.within(ctx, tx, func(v *view) error {
		for _, key := range keys {
			if row, ok := v.barriers.get(key); ok {
				found = append(found, row.barrier)
			}
		}
		return nil
	})
	return found, err
}

// SaveBarriers implements [inbox.BarrierStore].
func (s *Store) SaveBarriers(ctx context.Context, tx skald.Tx, now time.Time, barriers []inbox.Barrier) error {
	return s.within(ctx, tx, func(v *view) error {
		for _, barrier := range barriers {
			v.barriers.put(barrier.BarrierKey, barrierRow{now, barrier})
		}
		return nil
	})
}
