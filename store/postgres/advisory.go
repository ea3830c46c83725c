package postgres

import (
	"context"
	"slices"
)

const (
	lockMany  = "SELECT pg_advisory_xact_lock_shared($1), (SELECT count(pg_advisory_xact_lock(k)) FROM unnest($2::bigint[]) AS k)"
	lockAlone = "SELECT pg_advisory_xact_lock($1)"
)

// The locks that a transaction of few locks of a kind takes shared, and one of very many takes
// alone, in place of all of them.
const (
	everyKey     int64 = 0x736b616c64_6b6579
	everyBarrier int64 = 0x736b616c64_626172 // and every semantic lock: a batch takes both kinds at once
)

// maxLocks is for how many keys locks are taken one by one: the server's table of locks has room
// for some ten thousand of all transactions together.
const maxLocks = 1000

// lock holds advisory locks until the transaction ends. They are taken in the order of their
// numbers, so that two such calls do not wait for each other.
func (x session) lock(ctx context.Context, doing string, every int64, locks []int64) error {
	if len(locks) == 0 {
		return nil
	}
	query, args := lockStatement(every, locks)
	return x.exec(ctx, doing, query, args...)
}

func lockStatement(every int64, locks []int64) (query string, args []any) {
	slices.Sort(locks)
	locks = slices.Compact(locks)
	if len(locks) > maxLocks {
		return lockAlone, []any{every}
	}
	return lockMany, []any{every, locks}
}

// lockNumber is the number of the lock on a thing of a kind: FNV-1a, in 64 bits, with a byte of zero
// between the parts. Two things may share one.
func lockNumber(kind string, name ...string) int64 {
	const offset uint64 = 14695981039346656037
	h := hash(offset, kind)
	for _, part := range name {
		h = hash(h*fnvPrime, part)
	}
	return int64(h)
}

const fnvPrime = 1099511628211

func hash(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}
