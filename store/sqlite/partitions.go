package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

var (
	// Claims are rare and few: one statement each keeps the upsert simple.
	claimPartition = newStatement(`INSERT INTO skald_partitions (holder, expires_at, channel, grp, number, epoch, incarnation, sequence, last)
VALUES (?2, ?3, ?4, ?5, ?6, 1, '', 0, zeroblob(16))
ON CONFLICT (channel, grp, number) DO UPDATE SET
epoch = epoch + (holder <> excluded.holder), holder = excluded.holder, expires_at = excluded.expires_at
WHERE holder = excluded.holder OR holder = '' OR expires_at <= ?1
RETURNING channel, grp, number, epoch, incarnation, sequence, last`)
	renewPartitions = newBulk("UPDATE skald_partitions SET expires_at = ? WHERE holder = ? AND (channel, grp, number, epoch) IN (VALUES ",
		"(?, ?, ?, ?)", ") RETURNING channel, grp, number")
	releasePartitions = newBulk("UPDATE skald_partitions SET expires_at = 0, holder = '' WHERE holder = ? AND (channel, grp, number, epoch) IN (VALUES ",
		"(?, ?, ?, ?)", ")")
	savePositions = newBulk("UPDATE skald_partitions AS p SET incarnation = v.column5, sequence = v.column6, last = v.column7 FROM (VALUES ",
		"(?, ?, ?, ?, ?, ?, ?)", `) AS v
WHERE p.channel = v.column1 AND p.grp = v.column2 AND p.number = v.column3 AND p.epoch = v.column4`)
)

func bindLease(args []any, l *inbox.Lease) []any {
	return append(args, l.Channel, l.Group, int64(l.Number), l.Epoch)
}

// ClaimPartitions implements [inbox.LeaseStore].
func (s *Store) ClaimPartitions(ctx context.Context, holder string, partitions []inbox.Partition, ttl time.Duration) ([]inbox.Lease, error) {
	if len(partitions) == 0 {
		return nil, nil
	}
	var leases []inbox.Lease
	err := s.write(ctx, func(tx *sql.Tx) error {
		now := time.Now()
		for i := range partitions {
			p := &partitions[i]
			err := s.query(ctx, tx, claimPartition, []any{micros(now), holder, micros(now.Add(ttl)), p.Channel, p.Group, int64(p.Number)}, scanLease(&leases))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: claim %d partitions: %w", len(partitions), err)
	}
	return leases, nil
}

func scanLease(leases *[]inbox.Lease) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var l inbox.Lease
		var sequence int64
		err := rows.Scan(&l.Channel, &l.Group, &l.Number, &l.Epoch, &l.Position.Incarnation, &sequence, (*idColumn)(&l.Position.Last))
		l.Position.Sequence = uint64(sequence)
		*leases = append(*leases, l)
		return err
	}
}

// RenewPartitions implements [inbox.LeaseStore].
func (s *Store) RenewPartitions(ctx context.Context, holder string, leases []inbox.Lease, ttl time.Duration) ([]inbox.Lease, error) {
	if len(leases) == 0 {
		return nil, nil
	}
	still := map[inbox.Partition]bool{}
	err := s.write(ctx, func(tx *sql.Tx) error {
		first := []any{micros(time.Now().Add(ttl)), holder}
		return queryKeys(ctx, s, tx, renewPartitions, first, leases, bindLease, func(rows *sql.Rows) error {
			var p inbox.Partition
			err := rows.Scan(&p.Channel, &p.Group, &p.Number)
			still[p] = true
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: renew the leases of %d partitions: %w", len(leases), err)
	}
	var kept []inbox.Lease
	for _, l := range leases {
		if still[l.Partition] {
			kept = append(kept, l)
		}
	}
	return kept, nil
}

// ReleasePartitions implements [inbox.LeaseStore].
func (s *Store) ReleasePartitions(ctx context.Context, holder string, leases []inbox.Lease) error {
	if len(leases) == 0 {
		return nil
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		return queryKeys(ctx, s, tx, releasePartitions, []any{holder}, leases, bindLease, none)
	})
	if err != nil {
		return fmt.Errorf("sqlite: release %d partitions: %w", len(leases), err)
	}
	return nil
}

// SavePositions implements [inbox.LeaseStore].
func (s *Store) SavePositions(ctx context.Context, tx skald.Tx, leases []inbox.Lease) error {
	t, err := transaction(tx)
	var saved int64
	if err == nil {
		saved, err = execRows(ctx, s, t, savePositions, leases, func(args []any, l *inbox.Lease) []any {
			return append(bindLease(args, l), l.Position.Incarnation, int64(l.Position.Sequence), l.Position.Last[:])
		})
	}
	if err == nil && saved != int64(len(leases)) {
		err = inbox.ErrFenced
	}
	if err != nil {
		return fmt.Errorf("sqlite: save the positions of %d partitions: %w", len(leases), err)
	}
	return nil
}
