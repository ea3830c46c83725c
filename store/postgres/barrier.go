package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

const (
	findBarriers = "SELECT n, state, command FROM skald_find_barriers($1, $2, $3)"
	saveBarriers = `INSERT INTO skald_barriers (saga, step, attempt, state, command, saved_at, untimed)
SELECT saga, step, attempt, state, command, $1, untimed
FROM unnest($2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::uuid[], $7::boolean[]) AS u (saga, step, attempt, state, command, untimed)
ON CONFLICT (saga, step, attempt) DO UPDATE SET
state = excluded.state, command = excluded.command, saved_at = excluded.saved_at, untimed = excluded.untimed`
)

// barrierArrays are the keys as parameters.
func barrierArrays(n int, key func(i int) *inbox.BarrierKey) (sagas [][16]byte, steps []string, attempts []int64) {
	sagas, steps, attempts = make([][16]byte, n), make([]string, n), make([]int64, n)
	for i := range n {
		k := key(i)
		sagas[i], steps[i], attempts[i] = k.Saga, storable(k.Step), int64(k.Attempt)
	}
	return sagas, steps, attempts
}

// LockBarriers implements [inbox.BarrierStore].
func (s *Store) LockBarriers(ctx context.Context, tx skald.Tx, keys []inbox.BarrierKey) ([]inbox.Barrier, error) {
	x, err := s.session(tx)
	if err != nil {
		return nil, failure("lock barriers", err)
	}
	var found []inbox.Barrier
	err = x.ask(ctx, askBarriers(keys, &found)...)
	return found, err
}

// askBarriers locks barriers and asks which are recorded. The lock comes first, in a statement of
// its own: the second one sees what was committed before the lock was had.
func askBarriers(keys []inbox.BarrierKey, found *[]inbox.Barrier) []question {
	if len(keys) == 0 {
		return nil
	}
	sagas, steps, attempts := barrierArrays(len(keys), func(i int) *inbox.BarrierKey { return &keys[i] })
	doing := fmt.Sprintf("lock %d barriers", len(keys))
	lock, args := lockStatement(everyBarrier, barrierNumbers(keys))
	return []question{{doing: doing, query: lock, args: args, scan: func(row) error { return nil }}, {
		doing: doing, query: findBarriers, args: []any{sagas, steps, attempts},
		scan: func(r row) error {
			var n int
			var b inbox.Barrier
			err := r.Scan(&n, (*string)(&b.State), (*idColumn)(&b.Command))
			if err == nil {
				b.BarrierKey = keys[n-1]
				*found = append(*found, b)
			}
			return err
		},
	}}
}

// barrierNumbers are the numbers of the keys' locks.
func barrierNumbers(keys []inbox.BarrierKey) []int64 {
	locks := make([]int64, len(keys))
	for i := range keys {
		k := &keys[i]
		attempt := binary.BigEndian.AppendUint64(k.Saga[:16:16], uint64(k.Attempt))
		locks[i] = lockNumber("barrier", string(attempt), storable(k.Step))
	}
	return locks
}

// SaveBarriers implements [inbox.BarrierStore].
func (s *Store) SaveBarriers(ctx context.Context, tx skald.Tx, now time.Time, barriers []inbox.Barrier) error {
	doing := fmt.Sprintf("save %d barriers", len(barriers))
	x, err := s.session(tx)
	if err != nil || len(barriers) == 0 {
		return failure(doing, err)
	}
	sagas, steps, attempts := barrierArrays(len(barriers), func(i int) *inbox.BarrierKey { return &barriers[i].BarrierKey })
	states, commands, early := make([]string, len(barriers)), make([][16]byte, len(barriers)), make([]bool, len(barriers))
	for i := range barriers {
		b := &barriers[i]
		states[i], commands[i], early[i] = string(b.State), b.Command, untimed(b.Saga, now)
	}
	return x.exec(ctx, doing, saveBarriers, now, sagas, steps, attempts, states, commands, early)
}
