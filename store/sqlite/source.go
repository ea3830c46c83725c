package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/skald-go/skald/relay"
)

var (
	acquireLease = newStatement(`UPDATE skald_relay SET epoch = epoch + (holder <> ?1), holder = ?1, expires_at = ?2
WHERE holder = ?1 OR holder = '' OR expires_at <= ?3 RETURNING epoch`)
	renewLease     = newStatement("UPDATE skald_relay SET expires_at = ? WHERE holder = ? AND epoch = ?")
	releaseLease   = newStatement("UPDATE skald_relay SET holder = '', expires_at = 0 WHERE holder = ? AND epoch = ?")
	checkLease     = newStatement("SELECT 1 FROM skald_relay WHERE holder = ? AND epoch = ?")
	readCheckpoint = newStatement("SELECT position_commit, position_index, mark FROM skald_relay")
	saveCheckpoint = newStatement("UPDATE skald_relay SET position_commit = ?, position_index = ?, mark = ? WHERE holder = ? AND epoch = ?")
	// seq has no gaps, because one writer draws it, and what is rolled back is not drawn.
	measureLag = newStatement(`SELECT seq, added_at, (SELECT max(seq) FROM skald_outbox) FROM skald_outbox
WHERE seq > (SELECT position_commit FROM skald_relay) ORDER BY seq LIMIT 1`)
	oldestSettled = newStatement(`SELECT seq, added_at FROM skald_outbox
WHERE seq <= (SELECT position_commit FROM skald_relay) ORDER BY seq LIMIT ?`)
	cleanOutbox = newStatement("DELETE FROM skald_outbox WHERE seq <= min(?, (SELECT position_commit FROM skald_relay))")
)

// AcquireLease implements [relay.Source].
func (s *Store) AcquireLease(ctx context.Context, holder string, ttl time.Duration) (relay.Lease, bool, error) {
	lease, acquired := relay.Lease{Holder: holder}, false
	err := s.write(ctx, func(tx *sql.Tx) error {
		now := time.Now()
		return s.query(ctx, tx, acquireLease, []any{holder, micros(now.Add(ttl)), micros(now)}, func(rows *sql.Rows) error {
			acquired = true
			return rows.Scan(&lease.Epoch)
		})
	})
	if err != nil {
		return relay.Lease{}, false, fmt.Errorf("sqlite: acquire the relay's lease: %w", err)
	}
	if !acquired {
		return relay.Lease{}, false, nil
	}
	return lease, true, nil
}

// RenewLease implements [relay.Source].
func (s *Store) RenewLease(ctx context.Context, lease relay.Lease, ttl time.Duration) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		return fenced(s.exec(ctx, tx, renewLease, micros(time.Now().Add(ttl)), lease.Holder, lease.Epoch))
	})
	if err != nil {
		return fmt.Errorf("sqlite: renew the relay's lease: %w", err)
	}
	return nil
}

// fenced is ErrFenced when an update that names the lease has changed nothing.
func fenced(changed int64, err error) error {
	if err == nil && changed == 0 {
		return relay.ErrFenced
	}
	return err
}

// ReleaseLease implements [relay.Source]. A lease that has passed to another stays there.
func (s *Store) ReleaseLease(ctx context.Context, lease relay.Lease) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		_, err := s.exec(ctx, tx, releaseLease, lease.Holder, lease.Epoch)
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: release the relay's lease: %w", err)
	}
	return nil
}

// Checkpoint implements [relay.Source].
func (s *Store) Checkpoint(ctx context.Context) (relay.Checkpoint, error) {
	var c relay.Checkpoint
	err := s.query(ctx, nil, readCheckpoint, nil, func(rows *sql.Rows) error {
		return rows.Scan(&c.Position.Commit, &c.Position.Index, &c.Mark)
	})
	if err != nil {
		return relay.Checkpoint{}, fmt.Errorf("sqlite: read the checkpoint: %w", err)
	}
	return c, nil
}

// SaveCheckpoint implements [relay.Source].
func (s *Store) SaveCheckpoint(ctx context.Context, lease relay.Lease, c relay.Checkpoint) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		return fenced(s.exec(ctx, tx, saveCheckpoint, int64(c.Position.Commit), int64(c.Position.Index), c.Mark, lease.Holder, lease.Epoch))
	})
	if err != nil {
		return fmt.Errorf("sqlite: save the checkpoint %d: %w", c.Position.Commit, err)
	}
	return nil
}

// OutboxLag implements [relay.Source].
func (s *Store) OutboxLag(ctx context.Context) (relay.Lag, error) {
	var lag relay.Lag
	err := s.query(ctx, nil, measureLag, nil, func(rows *sql.Rows) error {
		var oldest, newest int64
		var added time.Time
		if err := rows.Scan(&oldest, (*momentColumn)(&added), &newest); err != nil {
			return err
		}
		lag = relay.Lag{Messages: newest - oldest + 1, Age: max(time.Since(added), 0)}
		return nil
	})
	if err != nil {
		return relay.Lag{}, fmt.Errorf("sqlite: measure the outbox's lag: %w", err)
	}
	return lag, nil
}

// CleanOutbox implements [relay.Source]. It goes from the oldest row to the first that is
// to be kept, and so reads nothing that it does not delete.
func (s *Store) CleanOutbox(ctx context.Context, before time.Time, limit int) (int, error) {
	var last int64
	old := true
	err := s.query(ctx, nil, oldestSettled, []any{limit}, func(rows *sql.Rows) error {
		var seq, added int64
		err := rows.Scan(&seq, &added)
		if old = old && added < micros(before); old {
			last = seq
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sqlite: look for what to clean in the outbox: %w", err)
	}
	if last == 0 {
		return 0, nil
	}
	var cleaned int64
	err = s.write(ctx, func(tx *sql.Tx) (err error) {
		cleaned, err = s.exec(ctx, tx, cleanOutbox, last)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sqlite: clean the outbox up to %d: %w", last, err)
	}
	return int(cleaned), nil
}
