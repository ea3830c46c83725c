package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
)

const (
	addMessages = `INSERT INTO skald_outbox (bucket, id, channel, key, type, message)
SELECT (SELECT bucket FROM skald_relay), * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[])`
	// A value that depends on a row of the set is computed for each of them in turn.
	emitMessages = "SELECT pg_logical_emit_message(true, 'skald', m) FROM unnest($1::bytea[]) AS m"
	lockKeys     = "SELECT pg_advisory_xact_lock_shared($1), (SELECT count(pg_advisory_xact_lock(k)) FROM unnest($2::bigint[]) AS k)"
	lockAllKeys  = "SELECT pg_advisory_xact_lock($1)"
)

// everyKey is the lock that a transaction of few keys takes shared and one of very many takes
// alone.
const everyKey int64 = 0x736b616c64_6b6579

// maxKeyLocks is for how many keys locks are taken one by one: the server's table of locks has
// room for some ten thousand of all transactions together.
const maxKeyLocks = 1000

// AddMessages implements [outbox.Store].
func (s *Store) AddMessages(ctx context.Context, tx skald.Tx, messages []skald.Message) error {
	doing := fmt.Sprintf("add %d messages to the outbox", len(messages))
	x, err := s.session(tx)
	if err != nil {
		return failure(doing, err)
	}
	if len(messages) == 0 {
		return nil
	}
	if x.tx != nil {
		x.tx.added = true
	}
	encoded := make([][]byte, len(messages))
	for i := range messages {
		encoded[i], _ = messages[i].MarshalBinary() // has no error
	}
	if s.config.Relay == Emit {
		return x.exec(ctx, doing, emitMessages, encoded)
	}
	if s.config.Relay != TailOnly {
		if err := s.lockKeys(ctx, x, messages); err != nil {
			return err
		}
	}
	ids, channels := make([][16]byte, len(messages)), make([]string, len(messages))
	keys, types := make([]string, len(messages)), make([]string, len(messages))
	for i := range messages {
		m := &messages[i]
		ids[i], channels[i], keys[i], types[i] = m.ID, m.Channel, m.Key, m.Type
	}
	return x.exec(ctx, doing, addMessages, ids, channels, keys, types, encoded)
}

// lockKeys holds the messages' keys until the transaction ends, before their sequence numbers are
// drawn: within a key these are in the order of the commits then. Locks are taken in the order
// of their numbers, so that two such calls do not wait for each other.
func (s *Store) lockKeys(ctx context.Context, x session, messages []skald.Message) error {
	const doing = "lock the keys of messages"
	locks := make([]int64, 0, len(messages))
	for i := range messages {
		if m := &messages[i]; m.Key != "" { // one without a key has no order
			locks = append(locks, keyLock(m.Channel, m.Key))
		}
	}
	slices.Sort(locks)
	locks = slices.Compact(locks)
	switch {
	case len(locks) == 0:
		return nil
	case len(locks) > maxKeyLocks:
		return x.exec(ctx, doing, lockAllKeys, everyKey)
	default:
		return x.exec(ctx, doing, lockKeys, everyKey, locks)
	}
}

// keyLock is the number of a key's lock: FNV-1a, in 64 bits.
func keyLock(channel, key string) int64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(channel) {
		h = (h ^ uint64(channel[i])) * prime
	}
	h *= prime // between the two, a byte of zero
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * prime
	}
	return int64(h)
}

// Arm implements [outbox.Store].
func (s *Store) Arm() { s.news.expect(time.Now()) }
