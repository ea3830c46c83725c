package skaldtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

// unpublishedRow keeps its message in the binary form.
type unpublishedRow struct {
	position    relay.Position
	message     []byte
	addedAt     time.Time
	attempts    int
	nextAttempt time.Time
	reason      string
}

func (r unpublishedRow) unpublished() relay.Unpublished {
	return relay.Unpublished{
		Record:   relay.Record{Position: r.position, Message: decode(r.message), AddedAt: r.addedAt},
		Attempts: r.attempts, NextAttempt: r.nextAttempt, Reason: r.reason,
	}
}

// HoldUnpublished implements [relay.UnpublishedStore].
func (s *Store) HoldUnpublished(ctx context.Context, lease relay.Lease, held []relay.Unpublished) error {
	rows := make([]unpublishedRow, len(held))
	for i := range held {
		encoded, err := held[i].Message.MarshalBinary()
		if err != nil {
			return fmt.Errorf("skaldtest: hold message %s: %w", held[i].Message.ID, err)
		}
		rows[i] = unpublishedRow{held[i].Position, encoded, held[i].AddedAt, held[i].Attempts, held[i].NextAttempt, held[i].Reason}
	}
	return s.fenced(ctx, lease, func(v *view, _ relayRow) {
		for i, row := range rows {
			id := held[i].Message.ID
			if there, ok := v.unpublished.get(id); ok {
				there.attempts, there.nextAttempt, there.reason = row.attempts, row.nextAttempt, row.reason
				row = there
			}
			v.unpublished.put(id, row)
		}
	})
}

// RemoveUnpublished implements [relay.UnpublishedStore].
func (s *Store) RemoveUnpublished(ctx context.Context, lease relay.Lease, ids []skald.ID) error {
	return s.fenced(ctx, lease, func(v *view, _ relayRow) {
		for _, id := range ids {
			v.unpublished.delete(id)
		}
	})
}

// DueUnpublished implements [relay.UnpublishedStore].
func (s *Store) DueUnpublished(ctx context.Context, now time.Time, limit int) ([]relay.Unpublished, error) {
	all, err := s.unpublished(ctx)
	isDue := map[relay.ChannelKey]bool{}
	var due []relay.Unpublished
	for _, u := range all {
		key := relay.ChannelKey{Channel: u.Message.Channel, Key: u.Message.OrderKey()}
		if _, first := isDue[key]; !first {
			isDue[key] = !u.NextAttempt.After(now)
		}
		if isDue[key] && len(due) < limit {
			due = append(due, u)
		}
	}
	return due, err
}

// ListUnpublished implements [relay.UnpublishedStore].
func (s *Store) ListUnpublished(ctx context.Context, limit int) ([]relay.Unpublished, error) {
	all, err := s.unpublished(ctx)
	return all[:min(len(all), limit)], err
}

// UnpublishedKeys implements [relay.UnpublishedStore].
func (s *Store) UnpublishedKeys(ctx context.Context) ([]relay.ChannelKey, error) {
	all, err := s.unpublished(ctx)
	var keys []relay.ChannelKey
	for _, u := range all {
		key := relay.ChannelKey{Channel: u.Message.Channel, Key: u.Message.OrderKey()}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, err
}

// unpublished returns all of them, in commit order.
func (s *Store) unpublished(ctx context.Context) ([]relay.Unpublished, error) {
	var all []relay.Unpublished
	err := s.read(ctx, func(v *view) {
		for _, row := range v.unpublished.all() {
			all = append(all, row.unpublished())
		}
	})
	slices.SortFunc(all, func(a, b relay.Unpublished) int {
		return cmp.Or(cmp.Compare(a.Position.Commit, b.Position.Commit), cmp.Compare(a.Position.Index, b.Position.Index))
	})
	return all, err
}
