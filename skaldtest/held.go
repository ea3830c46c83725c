package skaldtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// heldRow keeps its message in the binary form; held has no message.
type heldRow struct {
	key     inbox.ChannelKey // of the queue
	id      skald.ID
	do      inbox.BarrierKey // of a saga's do; zero otherwise
	message []byte
	held    inbox.Held
}

func (r heldRow) full() inbox.Held {
	held := r.held
	held.Message, held.Raw = decode(r.message), slices.Clone(held.Raw)
	return held
}

// due makes the message due now.
func (r heldRow) due() heldRow {
	r.held.State, r.held.NextAttempt = inbox.HeldRetrying, time.Now().UTC()
	return r
}

func newHeldRow(group string, h inbox.Held) (heldRow, error) {
	encoded, err := h.Message.MarshalBinary()
	if err != nil {
		return heldRow{}, fmt.Errorf("skaldtest: hold message %s: %w", h.Message.ID, err)
	}
	row := heldRow{key: h.Queue(), id: h.Message.ID, do: heldDo(&h.Message), message: encoded, held: h}
	row.held.Apart = row.key.Key == row.id.String()
	row.held.Message, row.held.Raw, row.held.Group = skald.Message{}, slices.Clone(h.Raw), group
	return row, nil
}

// heldDo is the barrier's key of a message that is a step's do.
func heldDo(m *skald.Message) inbox.BarrierKey {
	id, err := skald.ParseID(m.Headers.Get(skald.HeaderSaga))
	attempt, _ := strconv.Atoi(m.Headers.Get(skald.HeaderAttempt))
	if err != nil || m.Headers.Get(skald.HeaderAction) != skald.ActionDo {
		return inbox.BarrierKey{}
	}
	return inbox.BarrierKey{Saga: id, Step: m.Headers.Get(skald.HeaderStep), Attempt: attempt}
}

// queue returns a group's held messages in order of arrival; those of all for no group.
func (v *view) queue(group string) []heldRow {
	var rows []heldRow
	for _, row := range v.held.all() {
		if group == "" || row.held.Group == group {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b heldRow) int { return cmp.Compare(a.held.Place, b.held.Place) })
	return rows
}

func (v *view) heldOf(group string, id skald.ID) (heldRow, bool) {
	place, ok := v.heldPlaces.get(handledKey{group, id})
	if !ok {
		return heldRow{}, false
	}
	return v.held.get(place)
}

func (v *view) putHeld(row heldRow) {
	v.held.put(uint64(row.held.Place), row)
	v.heldPlaces.put(handledKey{row.held.Group, row.id}, uint64(row.held.Place))
}

// HeldAmong implements [inbox.HeldStore].
func (s *Store) HeldAmong(ctx context.Context, tx skald.Tx, group string, keys []inbox.ChannelKey, ids []skald.ID) ([]inbox.ChannelKey, []skald.ID, error) {
	var blocked []inbox.ChannelKey
	var held []skald.ID
	err := s.within(ctx, tx, func(v *view) error {
		inUse := map[inbox.ChannelKey]bool{}
		for _, row := range v.held.all() {
			if row.held.Group == group {
				inUse[row.key] = true
			}
		}
		for _, key := range keys {
			if inUse[key] {
				blocked = append(blocked, key)
			}
		}
		for _, id := range ids {
			if _, ok := v.heldOf(group, id); ok {
				held = append(held, id)
			}
		}
		return nil
	})
	return blocked, held, err
}

// Hold implements [inbox.HeldStore].
func (s *Store) Hold(ctx context.Context, tx skald.Tx, group string, held []inbox.Held) error {
	return s.within(ctx, tx, func(v *view) error {
		for _, h := range held {
			row, err := newHeldRow(group, h)
			if err != nil {
				return err
			}
			if there, ok := v.heldOf(group, row.id); ok {
				there.held.State, there.held.Attempts = h.State, h.Attempts
				there.held.NextAttempt, there.held.Reason = h.NextAttempt, h.Reason
				row = there
			} else {
				row.held.Place = int64(v.next(heldCounter))
			}
			v.putHeld(row)
		}
		return nil
	})
}

// Unhold implements [inbox.HeldStore].
func (s *Store) Unhold(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) error {
	return s.within(ctx, tx, func(v *view) error {
		freed := map[inbox.ChannelKey]bool{}
		for _, id := range ids {
			if row, ok := v.heldOf(group, id); ok {
				v.held.delete(uint64(row.held.Place))
				v.heldPlaces.delete(handledKey{group, id})
				freed[row.key] = true
			}
		}
		if len(freed) == 0 {
			return nil
		}
		for _, row := range v.queue(group) {
			if freed[row.key] && row.held.State == inbox.HeldFollowing {
				v.putHeld(row.due())
			}
			delete(freed, row.key)
		}
		return nil
	})
}

// ReleaseHeldDos implements [inbox.HeldStore].
func (s *Store) ReleaseHeldDos(ctx context.Context, tx skald.Tx, group string, keys []inbox.BarrierKey) ([]inbox.BarrierKey, error) {
	var found []inbox.BarrierKey
	err := s.within(ctx, tx, func(v *view) error {
		for _, row := range v.queue(group) {
			if row.do == (inbox.BarrierKey{}) || !slices.Contains(keys, row.do) {
				continue
			}
			found = append(found, row.do)
			if row.held.State != inbox.HeldFollowing {
				v.putHeld(row.due())
			}
		}
		return nil
	})
	return found, err
}

// DueHeld implements [inbox.HeldStore].
func (s *Store) DueHeld(ctx context.Context, group string, now time.Time, limit int) ([]inbox.Held, error) {
	var due []inbox.Held
	err := s.read(ctx, func(v *view) {
		isDue := map[inbox.ChannelKey]bool{}
		for _, row := range v.queue(group) {
			if _, first := isDue[row.key]; !first {
				isDue[row.key] = row.held.State == inbox.HeldRetrying && !row.held.NextAttempt.After(now)
			}
			if isDue[row.key] && len(due) < limit {
				due = append(due, row.full())
			}
		}
	})
	return due, err
}

// NextHeld implements [inbox.HeldStore].
func (s *Store) NextHeld(ctx context.Context, group string) (time.Time, bool, error) {
	var next time.Time
	var ok bool
	err := s.read(ctx, func(v *view) {
		for _, row := range v.held.all() {
			if row.held.Group != group || row.held.State != inbox.HeldRetrying {
				continue
			}
			if !ok || row.held.NextAttempt.Before(next) {
				next, ok = row.held.NextAttempt, true
			}
		}
	})
	return next, ok, err
}

// ListHeld implements [inbox.HeldStore].
func (s *Store) ListHeld(ctx context.Context, group string, after int64, limit int) ([]inbox.Held, error) {
	var list []inbox.Held
	err := s.read(ctx, func(v *view) {
		for _, row := range v.queue(group) {
			if row.held.Place > after && len(list) < limit {
				list = append(list, row.full())
			}
		}
	})
	return list, err
}

// Redrive implements [inbox.HeldStore].
func (s *Store) Redrive(ctx context.Context, group string, ids []skald.ID) (int, error) {
	found := 0
	err := s.write(ctx, func(v *view) error {
		for _, id := range ids {
			if row, ok := v.heldOf(group, id); ok && row.held.State != inbox.HeldFollowing {
				row = row.due()
				row.held.Attempts = 0
				v.putHeld(row)
				found++
			}
		}
		return nil
	})
	return found, err
}
