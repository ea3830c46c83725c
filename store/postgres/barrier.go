package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
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
	err = x.ask(ctx, askLocked(keys, &found, nil, nil)...)
	return found, err
}

// askLocked locks barriers and the queues of semantic locks, and asks what is recorded of them. The locks
// come first, in one statement of their own: the others see what was committed before they were had.
func askLocked(barriers []inbox.BarrierKey, recorded *[]inbox.Barrier, locks []lock.Key, queued *[]lock.Row) []question {
	if len(barriers)+len(locks) == 0 {
		return nil
	}
	query, args := lockStatement(everyBarrier, append(barrierNumbers(barriers), lockNumbers(locks)...))
	questions := []question{{
		doing: fmt.Sprintf("lock %d barriers and %d queues of semantic locks", len(barriers), len(locks)),
		query: query, args: args, scan: func(row) error { return nil },
	}}
	if len(barriers) > 0 {
		questions = append(questions, findRecorded(barriers, recorded))
	}
	if len(locks) > 0 {
		questions = append(questions, findQueues(locks, queued))
	}
	return questions
}

// findRecorded asks which barriers are recorded of those whose locks are had.
func findRecorded(keys []inbox.BarrierKey, found *[]inbox.Barrier) question {
	sagas, steps, attempts := barrierArrays(len(keys), func(i int) *inbox.BarrierKey { return &keys[i] })
	return question{
		doing: fmt.Sprintf("read %d barriers", len(keys)),
		query: findBarriers, args: []any{sagas, steps, attempts},
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
	}
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
