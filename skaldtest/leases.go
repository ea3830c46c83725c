package skaldtest

import (
	"context"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

type leaseRow struct {
	holder   string
	epoch    int64
	expires  time.Time
	position inbox.Position
}

// ClaimPartitions implements [inbox.LeaseStore].
func (s *Store) ClaimPartitions(ctx context.Context, holder string, partitions []inbox.Partition, ttl time.Duration) ([]inbox.Lease, error) {
	var leases []inbox.Lease
	err := s.write(ctx, func(v *view) error {
		now := time.Now()
		for _, p := range partitions {
			row, _ := v.leases.get(p)
			if row.holder != holder && row.holder != "" && now.Before(row.expires) {
				continue
			}
			if row.holder != holder {
				row.holder = holder
				row.epoch++
			}
			row.expires = now.Add(ttl)
			v.leases.put(p, row)
			leases = append(leases, inbox.Lease{Partition: p, Epoch: row.epoch, Position: row.position})
		}
		return nil
	})
	return leases, err
}

// RenewPartitions implements [inbox.LeaseStore].
func (s *Store) RenewPartitions(ctx context.Context, holder string, leases []inbox.Lease, ttl time.Duration) ([]inbox.Lease, error) {
	var kept []inbox.Lease
	err := s.write(ctx, func(v *view) error {
		expires := time.Now().Add(ttl)
		for _, lease := range leases {
			if row, _ := v.leases.get(lease.Partition); row.holder == holder && row.epoch == lease.Epoch {
				row.expires = expires
				v.leases.put(lease.Partition, row)
				kept = append(kept, lease)
			}
		}
		return nil
	})
	return kept, err
}

// ReleasePartitions implements [inbox.LeaseStore].
func (s *Store) ReleasePartitions(ctx context.Context, holder string, leases []inbox.Lease) error {
	return s.write(ctx, func(v *view) error {
		for _, lease := range leases {
			if row, _ := v.leases.get(lease.Partition); row.holder == holder && row.epoch == lease.Epoch {
				row.holder = ""
				v.leases.put(lease.Partition, row)
			}
		}
		return nil
	})
}

// SavePositions implements [inbox.LeaseStore].
func (s *Store) SavePositions(ctx context.Context, tx skald.Tx, leases []inbox.Lease) error {
	return s.within(ctx, tx, func(v *view) error {
		for _, lease := range leases {
			row, _ := v.leases.get(lease.Partition)
			if row.epoch != lease.Epoch {
				return inbox.ErrFenced
			}
			row.position = lease.Position
			v.leases.put(lease.Partition, row)
		}
		return nil
	})
}
