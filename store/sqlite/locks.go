package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
)

// lockColumns are what scanLock reads.
const lockColumns = "resource, key, root, place, round, saga, name, step, uses, grp, message, since"

var (
	findLocks = newBulk("SELECT "+lockColumns+" FROM skald_locks WHERE (resource, key) IN (VALUES ", "(?, ?)", ") ORDER BY resource, key, place")
	lockedBy  = newStatement("SELECT resource, key FROM skald_locks WHERE root = ? ORDER BY resource, key")
	saveLocks = newBulk("INSERT INTO skald_locks ("+lockColumns+") VALUES ", "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", ` ON CONFLICT DO UPDATE SET
place = excluded.place, round = excluded.round, saga = excluded.saga, name = excluded.name, step = excluded.step,
uses = excluded.uses, grp = excluded.grp, message = excluded.message, since = excluded.since`)
	deleteLocks = newBulk("DELETE FROM skald_locks WHERE (resource, key, root) IN (VALUES ", "(?, ?, ?)", ")")
	wakeHeld    = newBulk("UPDATE skald_held SET next_attempt = 0 WHERE grp = ? AND state = 'retrying' AND id IN (", "?", ")")
	listLocks   = newStatement("SELECT " + lockColumns + ` FROM skald_locks WHERE (resource, key) IN (
SELECT DISTINCT resource, key FROM skald_locks WHERE (resource, key) > (?1, ?2) AND (?3 = '' OR resource = ?3)
ORDER BY resource, key LIMIT ?4) ORDER BY resource, key, place`)
)

func bindLockKey(args []any, k *lock.Key) []any { return append(args, string(k.Resource), k.Key) }

func scanLocks(list *[]lock.Row) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var r lock.Row
		var message []byte
		err := rows.Scan(&r.Resource, &r.Key.Key, (*idColumn)(&r.Root), &r.Place, &r.Round, (*idColumn)(&r.Saga),
			&r.Name, &r.Step, &r.Uses, &r.Group, &message, (*momentColumn)(&r.Since))
		if err == nil && message != nil {
			err = (*idColumn)(&r.Message).Scan(message)
		}
		*list = append(*list, r)
		return err
	}
}

// LockQueues implements [lock.Store]. The one write lock excludes all others.
func (s *Store) LockQueues(ctx context.Context, tx skald.Tx, keys []lock.Key) ([]lock.Row, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var found []lock.Row
	t, err := transaction(tx)
	if err == nil {
		err = s.lock(ctx, t)
	}
	if err == nil {
		err = queryKeys(ctx, s, t, findLocks, nil, keys, bindLockKey, scanLocks(&found))
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: lock the queues of %d semantic locks: %w", len(keys), err)
	}
	return found, nil
}

// LockedBy implements [lock.Store]. It takes the write lock before it reads: a transaction that has read
// what another changes since is refused the lock.
func (s *Store) LockedBy(ctx context.Context, tx skald.Tx, root skald.ID) ([]lock.Key, error) {
	var keys []lock.Key
	t, err := transaction(tx)
	if err == nil {
		err = s.lock(ctx, t)
	}
	if err == nil {
		err = s.query(ctx, t, lockedBy, []any{root[:]}, func(rows *sql.Rows) error {
			var k lock.Key
			err := rows.Scan(&k.Resource, &k.Key)
			keys = append(keys, k)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: look for the semantic locks of saga %s: %w", root, err)
	}
	return keys, nil
}

// SaveLocks implements [lock.Store].
func (s *Store) SaveLocks(ctx context.Context, tx skald.Tx, rows []lock.Row) error {
	t, err := transaction(tx)
	if err == nil {
		_, err = execRows(ctx, s, t, saveLocks, rows, func(args []any, r *lock.Row) []any {
			var message []byte // NULL
			if !r.Message.IsZero() {
				message = r.Message[:]
			}
			return append(bindLock(args, r), int64(r.Place), int64(r.Round), r.Saga[:], r.Name, r.Step, int64(r.Uses), r.Group, message, micros(r.Since))
		})
	}
	if err != nil {
		return fmt.Errorf("sqlite: save %d rows of semantic locks: %w", len(rows), err)
	}
	return nil
}

// bindLock binds what identifies a row.
func bindLock(args []any, r *lock.Row) []any { return append(bindLockKey(args, &r.Key), r.Root[:]) }

// DeleteLocks implements [lock.Store].
func (s *Store) DeleteLocks(ctx context.Context, tx skald.Tx, rows []lock.Row) error {
	t, err := transaction(tx)
	if err == nil {
		_, err = execRows(ctx, s, t, deleteLocks, rows, bindLock)
	}
	if err != nil {
		return fmt.Errorf("sqlite: delete %d rows of semantic locks: %w", len(rows), err)
	}
	return nil
}

// WakeHeld implements [lock.Store].
func (s *Store) WakeHeld(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) error {
	t, err := transaction(tx)
	if err == nil {
		err = queryKeys(ctx, s, t, wakeHeld, []any{group}, ids, bindID, none)
	}
	if err != nil {
		return fmt.Errorf("sqlite: wake %d held messages of group %q: %w", len(ids), group, err)
	}
	return nil
}

// ListLocks implements [lock.Store].
func (s *Store) ListLocks(ctx context.Context, resource skald.Resource, after lock.Key, limit int) ([]lock.Row, error) {
	var list []lock.Row
	if after.Resource < resource {
		after = lock.Key{Resource: resource} // the search begins there
	}
	if err := s.query(ctx, nil, listLocks, []any{string(after.Resource), after.Key, string(resource), limit}, scanLocks(&list)); err != nil {
		return nil, fmt.Errorf("sqlite: list semantic locks: %w", err)
	}
	return list, nil
}
