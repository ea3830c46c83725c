package skaldtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
)

var (
	_ outbox.Store = (*Store)(nil)
	_ inbox.Store  = (*Store)(nil)
	_ relay.Source = (*Store)(nil)
	_ saga.Store   = (*Store)(nil)
)

// ErrCrashed is returned by everything that a crashed process asks of its store.
var ErrCrashed = errors.New("skaldtest: the process that uses this store has crashed")

// ErrConnectionLost is the error of an injected fault; it is retryable.
var ErrConnectionLost = errors.New("skaldtest: connection lost")

// Store is one process's handle on an in-memory database with one writer at a time:
// everything that a service needs of its store. Readers outside of a transaction see what
// is committed and wait for nobody. It is safe for concurrent use.
type Store struct {
	db      *database
	crash   sync.Once
	crashed chan struct{}
	// recorder notes what transactions read and write; nil for nobody.
	recorder *recorder
}

// NewStore returns an empty database.
func NewStore() *Store { return newStore(newDatabase()) }

func newStore(db *database) *Store { return &Store{db: db, crashed: make(chan struct{})} }

// Connect returns another process's handle on the same database.
func (s *Store) Connect() *Store { return newStore(s.db) }

// Crash kills the process that uses this handle: its open transaction is rolled back, what
// it committed stays, and everything that it asks from now on is [ErrCrashed]. Its leases
// live on until they expire. Crash returns the handle of the process that comes next.
func (s *Store) Crash() *Store {
	s.crash.Do(func() {
		s.db.mu.Lock()
		defer s.db.mu.Unlock()
		close(s.crashed)
		if s.db.open != nil && s.db.open.store == s {
			s.db.open.end(txRolledBack)
		}
	})
	return s.Connect()
}

// Backup is a copy of a database.
type Backup struct{ tables tables }

// Snapshot copies what is committed.
func (s *Store) Snapshot() *Backup {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	return &Backup{tables: s.db.tables.clone()}
}

// Restore puts the database back to a backup of it, as an operator does after a disaster.
// A transaction that is open is rolled back.
func (s *Store) Restore(b *Backup) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if s.db.open != nil {
		s.db.open.end(txRolledBack)
	}
	s.db.tables = b.tables.clone()
	s.db.wake()
}

type commitFailure struct{ landed bool }

// FailCommits makes the next n commits return [ErrConnectionLost]. When landed, they take
// effect all the same: what a client sees whose connection is cut at COMMIT.
func (s *Store) FailCommits(n int, landed bool) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	s.db.failures = slices.Concat(s.db.failures, slices.Repeat([]commitFailure{{landed}}, n))
}

// ExpensiveSavepoints makes batches say that a savepoint costs a round trip, as on a
// networked database, so that the runtime takes its other path.
func (s *Store) ExpensiveSavepoints() {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	s.db.expensive = true
}

// Get returns a committed business value.
func (s *Store) Get(table, key string) (string, bool) {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	value, ok := s.db.tables.business.rows[businessKey{table, key}]
	return value, ok
}

// List returns a table of committed business values by key.
func (s *Store) List(table string) map[string]string {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	return newView(&s.db.tables).list(table)
}

// TxType implements [inbox.Store]: handlers get a *[Tx].
func (s *Store) TxType() reflect.Type { return reflect.TypeFor[*Tx]() }

// Retryable implements [inbox.Store].
func (s *Store) Retryable(err error) bool {
	return errors.Is(err, ErrConnectionLost) || errors.Is(err, saga.ErrStale)
}

// read runs fn on what is committed.
func (s *Store) read(ctx context.Context, fn func(v *view)) error {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	fn(newView(&s.db.tables))
	return nil
}

// write runs fn in a transaction of its own.
func (s *Store) write(ctx context.Context, fn func(v *view) error) error {
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	if err := s.within(ctx, tx, fn); err != nil {
		_ = tx.rollback()
		return err
	}
	return tx.commit()
}

// within runs fn as one statement of the caller's transaction: an error undoes it.
func (s *Store) within(ctx context.Context, caller skald.Tx, fn func(v *view) error) error {
	tx, ok := caller.(*Tx)
	if !ok || tx.store.db != s.db {
		return fmt.Errorf("skaldtest: a transaction of type %T is not one of this store", caller)
	}
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := tx.usable(); err != nil {
		return err
	}
	before := len(tx.view.journal.undo)
	err := fn(tx.view)
	if err != nil {
		tx.view.journal.rollbackTo(before)
	}
	return err
}

func (s *Store) usable(ctx context.Context) error {
	select {
	case <-s.crashed:
		return ErrCrashed
	default:
		return ctx.Err()
	}
}

// wake tells those who wait for a commit; the caller holds mu.
func (db *database) wake() {
	close(db.committed)
	db.committed = make(chan struct{})
}

type businessKey struct{ table, key string }

func (v *view) list(table string) map[string]string {
	rows := map[string]string{}
	for key, value := range v.business.all() {
		if key.table == table {
			rows[key.key] = value
		}
	}
	return rows
}

// sorted returns a layer's keys in order.
func sorted[K comparable, V any](l *layer[K, V], compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(maps.Collect(l.all())), compare)
}
