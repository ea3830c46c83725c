package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/relay"
)

// The relay's lease runs by the server's clock.
const (
	acquireLease = `UPDATE skald_relay SET epoch = epoch + (holder <> $1)::integer, holder = $1, expires_at = clock_timestamp() + $2::interval
WHERE holder = $1 OR holder = '' OR expires_at <= clock_timestamp() RETURNING epoch`
	renewLease     = "UPDATE skald_relay SET expires_at = clock_timestamp() + $1::interval WHERE holder = $2 AND epoch = $3"
	releaseLease   = "UPDATE skald_relay SET holder = '', expires_at = 'epoch' WHERE holder = $1 AND epoch = $2"
	readCheckpoint = "SELECT position_commit, position_index, mark FROM skald_relay"
)

// AcquireLease implements [relay.Source].
func (s *Store) AcquireLease(ctx context.Context, holder string, ttl time.Duration) (relay.Lease, bool, error) {
	lease := relay.Lease{Holder: holder}
	err := s.pool.QueryRow(ctx, acquireLease, holder, ttl).Scan(&lease.Epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return relay.Lease{}, false, nil
	}
	if err != nil {
		return relay.Lease{}, false, failure("acquire the relay's lease", err)
	}
	return lease, true, nil
}

// RenewLease implements [relay.Source]. Whoever renews also looks after the replication slot.
func (s *Store) RenewLease(ctx context.Context, lease relay.Lease, ttl time.Duration) error {
	tag, err := s.pool.Exec(ctx, renewLease, ttl, lease.Holder, lease.Epoch)
	if err == nil && tag.RowsAffected() > 0 {
		s.guard(ctx)
	}
	return failure("renew the relay's lease", fenced(tag, err))
}

// ReleaseLease implements [relay.Source]. A lease that has passed to another stays there.
func (s *Store) ReleaseLease(ctx context.Context, lease relay.Lease) error {
	_, err := s.pool.Exec(ctx, releaseLease, lease.Holder, lease.Epoch)
	return failure("release the relay's lease", err)
}

// Checkpoint implements [relay.Source].
func (s *Store) Checkpoint(ctx context.Context) (relay.Checkpoint, error) {
	var commit int64
	var c relay.Checkpoint
	err := s.pool.QueryRow(ctx, readCheckpoint).Scan(&commit, &c.Position.Index, &c.Mark)
	if err != nil {
		return relay.Checkpoint{}, failure("read the checkpoint", err)
	}
	c.Position.Commit = uint64(commit)
	return c, nil
}
