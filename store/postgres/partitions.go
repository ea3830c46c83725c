package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// Leases run by the server's clock, the one that all instances share. Rows are locked in the
// order of their keys, so that two statements do not wait for each other.
const (
	// What another surely holds is not even tried: a conflict would write to its row.
	claimPartitions = `INSERT INTO skald_partitions AS p (channel, grp, number, holder, epoch, expires_at, incarnation, sequence, last)
SELECT c.channel, c.grp, c.number, $1, 1, clock_timestamp() + $2::interval, '', 0, '00000000-0000-0000-0000-000000000000'
FROM unnest($3::text[], $4::text[], $5::integer[]) AS c (channel, grp, number)
WHERE NOT EXISTS (SELECT 1 FROM skald_partitions AS h WHERE h.channel = c.channel AND h.grp = c.grp AND h.number = c.number
AND h.holder <> $1 AND h.holder <> '' AND h.expires_at > clock_timestamp())
ORDER BY c.channel, c.grp, c.number
ON CONFLICT (channel, grp, number) DO UPDATE SET
epoch = p.epoch + (p.holder <> excluded.holder)::integer, holder = excluded.holder, expires_at = excluded.expires_at
WHERE p.holder = excluded.holder OR p.holder = '' OR p.expires_at <= clock_timestamp()
RETURNING channel, grp, number, epoch, incarnation, sequence, last`

	lockedPartitions = `WITH locked AS (SELECT p.channel, p.grp, p.number
FROM unnest($3::text[], $4::text[], $5::integer[], $6::bigint[]) AS l (channel, grp, number, epoch)
JOIN skald_partitions AS p ON p.channel = l.channel AND p.grp = l.grp AND p.number = l.number AND p.epoch = l.epoch
WHERE p.holder = $1 ORDER BY p.channel, p.grp, p.number FOR NO KEY UPDATE OF p)
`
	renewPartitions = lockedPartitions + `UPDATE skald_partitions AS p SET expires_at = clock_timestamp() + $2::interval
FROM locked AS l WHERE p.channel = l.channel AND p.grp = l.grp AND p.number = l.number
RETURNING p.channel, p.grp, p.number`
	releasePartitions = lockedPartitions + `UPDATE skald_partitions AS p SET expires_at = 'epoch', holder = ''
FROM locked AS l WHERE p.channel = l.channel AND p.grp = l.grp AND p.number = l.number AND $2::interval IS NOT NULL`

	savePositions = `WITH locked AS (SELECT l.*
FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::text[], $6::bigint[], $7::uuid[])
AS l (channel, grp, number, epoch, incarnation, sequence, last)
JOIN skald_partitions AS p ON p.channel = l.channel AND p.grp = l.grp AND p.number = l.number AND p.epoch = l.epoch
ORDER BY l.channel, l.grp, l.number FOR NO KEY UPDATE OF p),
saved AS (UPDATE skald_partitions AS p SET incarnation = l.incarnation, sequence = l.sequence, last = l.last
FROM locked AS l WHERE p.channel = l.channel AND p.grp = l.grp AND p.number = l.number RETURNING 1)
SELECT skald_require((SELECT count(*) FROM saved) = cardinality($1::text[]), '` + codeFenced + `', 'a partition has passed to another holder')`
)

// leaseArrays are the leases' keys and epochs as parameters.
func leaseArrays(leases []inbox.Lease) []any {
	n := len(leases)
	channels, groups, numbers, epochs := make([]string, n), make([]string, n), make([]int, n), make([]int64, n)
	for i := range leases {
		l := &leases[i]
		channels[i], groups[i], numbers[i], epochs[i] = l.Channel, l.Group, l.Number, l.Epoch
	}
	return []any{channels, groups, numbers, epochs}
}

// ClaimPartitions implements [inbox.LeaseStore].
func (s *Store) ClaimPartitions(ctx context.Context, holder string, partitions []inbox.Partition, ttl time.Duration) ([]inbox.Lease, error) {
	if len(partitions) == 0 {
		return nil, nil
	}
	doing := fmt.Sprintf("claim %d partitions", len(partitions))
	wanted := slices.Clone(partitions)
	slices.SortFunc(wanted, comparePartitions)
	wanted = slices.Compact(wanted)
	channels, groups, numbers := make([]string, len(wanted)), make([]string, len(wanted)), make([]int, len(wanted))
	for i, p := range wanted {
		channels[i], groups[i], numbers[i] = p.Channel, p.Group, p.Number
	}
	rows, _ := s.pool.Query(ctx, claimPartitions, holder, ttl, channels, groups, numbers)
	leases, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (inbox.Lease, error) {
		var l inbox.Lease
		var sequence int64
		err := r.Scan(&l.Channel, &l.Group, &l.Number, &l.Epoch, &l.Position.Incarnation, &sequence, (*idColumn)(&l.Position.Last))
		l.Position.Sequence = uint64(sequence)
		return l, err
	})
	if err != nil {
		return nil, failure(doing, err)
	}
	return leases, nil
}

func comparePartitions(a, b inbox.Partition) int {
	return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Number, b.Number))
}

// RenewPartitions implements [inbox.LeaseStore].
func (s *Store) RenewPartitions(ctx context.Context, holder string, leases []inbox.Lease, ttl time.Duration) ([]inbox.Lease, error) {
	if len(leases) == 0 {
		return nil, nil
	}
	rows, _ := s.pool.Query(ctx, renewPartitions, append([]any{holder, ttl}, leaseArrays(leases)...)...)
	still, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (inbox.Partition, error) {
		var p inbox.Partition
		err := r.Scan(&p.Channel, &p.Group, &p.Number)
		return p, err
	})
	if err != nil {
		return nil, failure(fmt.Sprintf("renew the leases of %d partitions", len(leases)), err)
	}
	var kept []inbox.Lease
	for _, l := range leases {
		if slices.Contains(still, l.Partition) {
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
	_, err := s.pool.Exec(ctx, releasePartitions, append([]any{holder, time.Duration(0)}, leaseArrays(leases)...)...)
	return failure(fmt.Sprintf("release %d partitions", len(leases)), err)
}

// SavePositions implements [inbox.LeaseStore].
func (s *Store) SavePositions(ctx context.Context, tx skald.Tx, leases []inbox.Lease) error {
	doing := fmt.Sprintf("save the positions of %d partitions", len(leases))
	x, err := s.session(tx)
	if err != nil || len(leases) == 0 {
		return failure(doing, err)
	}
	n := len(leases)
	incarnations, sequences, last := make([]string, n), make([]int64, n), make([][16]byte, n)
	for i := range leases {
		p := &leases[i].Position
		incarnations[i], sequences[i], last[i] = p.Incarnation, int64(p.Sequence), p.Last
	}
	return x.exec(ctx, doing, savePositions, append(leaseArrays(leases), incarnations, sequences, last)...)
}
