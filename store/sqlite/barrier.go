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
	findBarriers = newBulk("SELECT saga, step, attempt, state, command FROM skald_barriers WHERE (saga, step, attempt) IN (VALUES ", "(?, ?, ?)", ")")
	saveBarriers = newBulk("INSERT INTO skald_barriers (saga, step, attempt, state, command, saved_at, untimed) VALUES ", "(?, ?, ?, ?, ?, ?, ?)",
		" ON CONFLICT DO UPDATE SET state = excluded.state, command = excluded.command, saved_at = excluded.saved_at, untimed = excluded.untimed")
)

func bindBarrierKey(args []any, k *inbox.BarrierKey) []any {
	return append(args, k.Saga[:], k.Step, int64(k.Attempt))
}

// LockBarriers implements [inbox.BarrierStore]. The one write lock excludes all others.
func (s *Store) LockBarriers(ctx context.Context, tx skald.Tx, keys []inbox.BarrierKey) ([]inbox.Barrier, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var found []inbox.Barrier
	t, err := transaction(tx)
	if err == nil {
		err = s.lock(ctx, t)
	}
	if err == nil {
		err = queryKeys(ctx, s, t, findBarriers, nil, keys, bindBarrierKey, func(rows *sql.Rows) error {
			var b inbox.Barrier
			err := rows.Scan((*idColumn)(&b.Saga), &b.Step, &b.Attempt, &b.State, (*idColumn)(&b.Command))
			found = append(found, b)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: lock %d barriers: %w", len(keys), err)
	}
	return found, nil
}

// SaveBarriers implements [inbox.BarrierStore].
func (s *Store) SaveBarriers(ctx context.Context, tx skald.Tx, now time.Time, barriers []inbox.Barrier) error {
	t, err := transaction(tx)
	if err == nil {
		_, err = execRows(ctx, s, t, saveBarriers, barriers, func(args []any, b *inbox.Barrier) []any {
			return append(bindBarrierKey(args, &b.BarrierKey), string(b.State), b.Command[:], micros(now), untimed(b.Saga, now))
		})
	}
	if err != nil {
		return fmt.Errorf("sqlite: save %d barriers: %w", len(barriers), err)
	}
	return nil
}
