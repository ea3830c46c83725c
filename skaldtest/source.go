package skaldtest

import (
	"cmp"
	"context"
	"time"

	"github.com/skald-go/skald/relay"
)

// relayKey is the key of the one row about the relay.
type relayKey struct{}

type relayRow struct {
	holder     string
	epoch      int64
	expires    time.Time
	checkpoint relay.Checkpoint
}

// AcquireLease implements [relay.Source].
func (s *Store) AcquireLease(ctx context.Context, holder string, ttl time.Duration) (relay.Lease, bool, error) {
	var lease relay.Lease
	var ok bool
	err := s.write(ctx, func(v *view) error {
		now := time.Now()
		row, _ := v.relay.get(relayKey{})
		if row.holder != holder && row.holder != "" && now.Before(row.expires) {
			return nil
		}
		if row.holder != holder {
			row.holder = holder
			row.epoch++
		}
		row.expires = now.Add(ttl)
		v.relay.put(relayKey{}, row)
		lease, ok = relay.Lease{Holder: holder, Epoch: row.epoch}, true
		return nil
	})
	return lease, ok && err == nil, err
}

// RenewLease implements [relay.Source].
func (s *Store) RenewLease(ctx context.Context, lease relay.Lease, ttl time.Duration) error {
	return s.fenced(ctx, lease, func(v *view, row relayRow) {
		row.expires = time.Now().Add(ttl)
		v.relay.put(relayKey{}, row)
	})
}

// ReleaseLease implements [relay.Source]. A lease that has passed to another stays there.
func (s *Store) ReleaseLease(ctx context.Context, lease relay.Lease) error {
	return s.write(ctx, func(v *view) error {
		if row, _ := v.relay.get(relayKey{}); row.holder == lease.Holder && row.epoch == lease.Epoch {
			row.holder = ""
			v.relay.put(relayKey{}, row)
		}
		return nil
	})
}

// fenced runs fn in a transaction of its own if the lease is still the holder's.
func (s *Store) fenced(ctx context.Context, lease relay.Lease, fn func(v *view, row relayRow)) error {
	return s.write(ctx, func(v *view) error {
		row, _ := v.relay.get(relayKey{})
		if row.holder != lease.Holder || row.epoch != lease.Epoch {
			return relay.ErrFenced
		}
		fn(v, row)
		return nil
	})
}

// Checkpoint implements [relay.Source].
func (s *Store) Checkpoint(ctx context.Context) (relay.Checkpoint, error) {
	var row relayRow
	err := s.read(ctx, func(v *view) { row, _ = v.relay.get(relayKey{}) })
	return row.checkpoint, err
}

// SaveCheckpoint implements [relay.Source].
func (s *Store) SaveCheckpoint(ctx context.Context, lease relay.Lease, c relay.Checkpoint) error {
	return s.fenced(ctx, lease, func(v *view, row relayRow) {
		row.checkpoint = c
		v.relay.put(relayKey{}, row)
	})
}

// OutboxLag implements [relay.Source].
func (s *Store) OutboxLag(ctx context.Context) (relay.Lag, error) {
	var lag relay.Lag
	err := s.read(ctx, func(v *view) {
		row, _ := v.relay.get(relayKey{})
		newest, _ := v.counters.get(outboxCounter)
		for sequence := row.checkpoint.Position.Commit + 1; sequence <= newest; sequence++ {
			waiting, ok := v.outbox.get(sequence)
			if !ok {
				continue
			}
			if lag.Messages++; lag.Messages == 1 {
				lag.Age = time.Since(waiting.addedAt)
			}
		}
	})
	return lag, err
}

// CleanOutbox implements [relay.Source].
func (s *Store) CleanOutbox(ctx context.Context, before time.Time, limit int) (int, error) {
	cleaned := 0
	err := s.write(ctx, func(v *view) error {
		row, _ := v.relay.get(relayKey{})
		for _, sequence := range sorted(&v.outbox, cmp.Compare) {
			if sequence > row.checkpoint.Position.Commit || cleaned == limit {
				break
			}
			if settled, _ := v.outbox.get(sequence); settled.addedAt.Before(before) {
				v.outbox.delete(sequence)
				cleaned++
			}
		}
		return nil
	})
	return cleaned, err
}
