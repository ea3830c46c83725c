package postgres

import (
	"context"
	"errors"
	"fmt"
)

// Transact runs fn in a transaction of its own, and commits unless fn returns an error. It saves round
// trips: the transaction begins with its first statement, and what is queued on it
// ([Tx.Queue]), the messages that are added to the outbox, and the commit leave together. A
// transaction that only does that takes a single one.
//
// Errors of what travels with the commit are Transact's. When the connection is lost during the
// commit, the transaction may have taken effect or not. A store with Config.SQL has no Transact.
func (s *Store) Transact(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) (err error) {
	if s.config.SQL {
		return errors.New("postgres: Transact gives a *Tx, and with Config.SQL transactions are *sql.Tx: begin one on Store.DB")
	}
	b, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Rollback()) }() // does nothing after the commit
	if err := fn(ctx, b.Tx().(*Tx)); err != nil {
		return err
	}
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("postgres: commit a transaction: %w", err)
	}
	return nil
}
