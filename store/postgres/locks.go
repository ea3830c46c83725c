package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
)

const (
	findLocks = "SELECT resource, key, root, place, round, saga, name, step, uses, grp, message, since FROM skald_find_locks($1, $2)"
	lockedBy  = "SELECT resource, key FROM skald_locked_by($1)"
	saveLocks = `INSERT INTO skald_locks (resource, key, root, place, round, saga, name, step, uses, grp, message, since)
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::uuid[], $7::text[], $8::text[], $9::bigint[], $10::text[],
$11::uuid[], $12::timestamptz[])`
	deleteLocks = "SELECT skald_delete_locks($1, $2, $3)"
	wakeHeld    = "UPDATE skald_held SET next_attempt = 'epoch' WHERE grp = $1 AND state = 'retrying' AND id = ANY ($2)"
	listLocks   = `SELECT resource, key, root, place, round, saga, name, step, uses, grp, message, since FROM skald_locks
WHERE (resource, key) IN (SELECT DISTINCT resource, key FROM skald_locks
WHERE (resource, key) > ($1, $2) AND ($3 = '' OR resource = $3) ORDER BY resource, key LIMIT $4)
ORDER BY resource, key, place`
)

// lockNumbers are the numbers of the keys' advisory locks.
func lockNumbers(keys []lock.Key) []int64 {
	numbers := make([]int64, len(keys))
	for i, k := range keys {
		numbers[i] = lockNumber("semantic lock", storable(string(k.Resource)), storable(k.Key))
	}
	return numbers
}

// lockArrays are the keys as parameters.
func lockArrays(n int, key func(i int) *lock.Key) (resources, keys []string) {
	resources, keys = make([]string, n), make([]string, n)
	for i := range n {
		k := key(i)
		resources[i], keys[i] = storable(string(k.Resource)), storable(k.Key)
	}
	return resources, keys
}

// LockQueues implements [lock.Store].
func (s *Store) LockQueues(ctx context.Context, tx skald.Tx, keys []lock.Key) ([]lock.Row, error) {
	x, err := s.session(tx)
	if err != nil {
		return nil, failure("lock the queues of semantic locks", err)
	}
	var found []lock.Row
	err = x.ask(ctx, askLocked(nil, nil, keys, &found)...)
	return found, err
}

// findQueues asks for the rows of keys whose locks are had.
func findQueues(keys []lock.Key, found *[]lock.Row) question {
	resources, names := lockArrays(len(keys), func(i int) *lock.Key { return &keys[i] })
	stored := make(map[lock.Key]int, len(keys)) // which of the keys it is
	for i := range keys {
		stored[lock.Key{Resource: skald.Resource(resources[i]), Key: names[i]}] = i
	}
	slices.Sort(resources)
	return question{
		doing: fmt.Sprintf("read the queues of %d semantic locks", len(keys)),
		query: findLocks, args: []any{slices.Compact(resources), names},
		scan: func(r row) error {
			var l lock.Row
			err := r.Scan(lockFields(&l)...)
			if i, wanted := stored[l.Key]; err == nil && wanted {
				l.Key = keys[i]
				*found = append(*found, l)
			}
			return err
		},
	}
}

// lockFields are what a row is scanned into.
func lockFields(l *lock.Row) []any {
	return []any{
		(*string)(&l.Resource), &l.Key.Key, (*idColumn)(&l.Root), &l.Place, &l.Round, (*idColumn)(&l.Saga), &l.Name, &l.Step, &l.Uses, &l.Group,
		(*idColumn)(&l.Message), (*momentColumn)(&l.Since),
	}
}

// LockedBy implements [lock.Store].
func (s *Store) LockedBy(ctx context.Context, tx skald.Tx, root skald.ID) ([]lock.Key, error) {
	doing := fmt.Sprintf("look for the semantic locks of saga %s", root)
	x, err := s.session(tx)
	if err != nil {
		return nil, failure(doing, err)
	}
	var keys []lock.Key
	err = x.ask(ctx, question{doing: doing, query: lockedBy, args: []any{[16]byte(root)}, scan: func(r row) error {
		var k lock.Key
		err := r.Scan((*string)(&k.Resource), &k.Key)
		keys = append(keys, k)
		return err
	}})
	return keys, err
}

// SaveLocks implements [lock.Store].
func (s *Store) SaveLocks(ctx context.Context, tx skald.Tx, rows []lock.Row) error {
	doing := fmt.Sprintf("save %d rows of semantic locks", len(rows))
	x, err := s.session(tx)
	if err != nil || len(rows) == 0 {
		return failure(doing, err)
	}
	n := len(rows)
	resources, keys := lockArrays(n, func(i int) *lock.Key { return &rows[i].Key })
	roots, sagas, messages := make([][16]byte, n), make([][16]byte, n), make([]pgtype.UUID, n)
	places, rounds, uses, since := make([]int64, n), make([]int64, n), make([]int64, n), make([]time.Time, n)
	names, steps, groups := make([]string, n), make([]string, n), make([]string, n)
	for i := range rows {
		r := &rows[i]
		roots[i], sagas[i], messages[i] = r.Root, r.Saga, pgtype.UUID{Bytes: r.Message, Valid: !r.Message.IsZero()}
		places[i], rounds[i], uses[i], since[i] = int64(r.Place), int64(r.Round), int64(r.Uses), moment(r.Since)
		names[i], steps[i], groups[i] = storable(r.Name), storable(r.Step), r.Group
	}
	return x.exec(ctx, doing, saveLocks, resources, keys, roots, places, rounds, sagas, names, steps, uses, groups, messages, since)
}

// DeleteLocks implements [lock.Store].
func (s *Store) DeleteLocks(ctx context.Context, tx skald.Tx, rows []lock.Row) error {
	doing := fmt.Sprintf("delete %d rows of semantic locks", len(rows))
	x, err := s.session(tx)
	if err != nil || len(rows) == 0 {
		return failure(doing, err)
	}
	resources, keys := lockArrays(len(rows), func(i int) *lock.Key { return &rows[i].Key })
	roots := make([][16]byte, len(rows))
	for i := range rows {
		roots[i] = rows[i].Root
	}
	return x.exec(ctx, doing, deleteLocks, resources, keys, roots)
}

// WakeHeld implements [lock.Store].
func (s *Store) WakeHeld(ctx context.Context, tx skald.Tx, group string, list []skald.ID) error {
	doing := fmt.Sprintf("wake %d held messages of group %q", len(list), group)
	x, err := s.session(tx)
	if err != nil || len(list) == 0 {
		return failure(doing, err)
	}
	return x.exec(ctx, doing, wakeHeld, group, ids(list))
}

// ListLocks implements [lock.Store].
func (s *Store) ListLocks(ctx context.Context, resource skald.Resource, after lock.Key, limit int) ([]lock.Row, error) {
	if after.Resource < resource {
		after = lock.Key{Resource: resource} // the search begins there
	}
	rows, err := list(ctx, s, func(r pgx.CollectableRow) (lock.Row, error) {
		var l lock.Row
		err := r.Scan(lockFields(&l)...)
		return l, err
	}, listLocks, string(after.Resource), after.Key, string(resource), limit)
	return rows, failure("list semantic locks", err)
}
