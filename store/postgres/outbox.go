package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/skald-go/skald"
)

const (
	addMessages = `INSERT INTO skald_outbox (bucket, id, channel, key, type, message)
SELECT (SELECT bucket FROM skald_relay), * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[])`
	// A message alone, behind its key's lock: columns that are left out get their defaults, the sequence
	// number among them, for a row that is there, and that row comes from the locks.
	addMessage = `INSERT INTO skald_outbox (bucket, id, channel, key, type, message)
SELECT (SELECT bucket FROM skald_relay), $3, $4, $5, $6, $7
FROM (SELECT pg_advisory_xact_lock_shared($1), pg_advisory_xact_lock($2) OFFSET 0) AS locked`
	// A value that depends on a row of the set is computed for each of them in turn.
	emitMessages = "SELECT pg_logical_emit_message(true, 'skald', m) FROM unnest($1::bytea[]) AS m"
)

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
	if m := &messages[0]; len(messages) == 1 && m.Key != "" && s.config.Relay != TailOnly {
		return x.exec(ctx, doing, addMessage, everyKey, lockNumber("key", m.Channel, m.Key), [16]byte(m.ID), m.Channel, m.Key, m.Type, encoded[0])
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
// drawn: within a key these are in the order of the commits then.
func (s *Store) lockKeys(ctx context.Context, x session, messages []skald.Message) error {
	locks := make([]int64, 0, len(messages))
	for i := range messages {
		if m := &messages[i]; m.Key != "" { // one without a key has no order
			locks = append(locks, lockNumber("key", m.Channel, m.Key))
		}
	}
	return x.lock(ctx, "lock the keys of messages", everyKey, locks)
}

// Arm implements [outbox.Store].
func (s *Store) Arm() { s.news.expect(time.Now()) }
