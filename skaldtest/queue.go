package skaldtest

import "fmt"

// Queue defers a statement, as a store with a queue of statements does: it runs at [Tx.Flush],
// when the runtime flushes, or at the latest at the commit. When it fails, what is queued behind it
// does not run, and the transaction is broken. Get, Put and the like do not flush by themselves.
func (tx *Tx) Queue(statement func() error) { tx.queued = append(tx.queued, statement) }

// Flush runs what is queued.
func (tx *Tx) Flush() error {
	if err := tx.check(); err != nil {
		return err
	}
	queued := tx.queued
	tx.queued = nil
	for _, statement := range queued {
		if err := statement(); err != nil {
			err = fmt.Errorf("skaldtest: queued statement: %w", err)
			tx.store.db.mu.Lock()
			defer tx.store.db.mu.Unlock()
			tx.broken = err
			return err
		}
	}
	return nil
}

// check says why the transaction cannot go on.
func (tx *Tx) check() error {
	tx.store.db.mu.RLock()
	defer tx.store.db.mu.RUnlock()
	return tx.usable()
}

// mend drops what is queued, and lets a broken transaction go on.
func (tx *Tx) mend() {
	tx.queued = nil
	tx.store.db.mu.Lock()
	defer tx.store.db.mu.Unlock()
	tx.broken = nil
}
