package lock

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/unit"
)

// Locks are the semantic locks in a service's database. It is safe for concurrent use.
type Locks struct {
	store Store
	woken func()
}

// New returns the locks in a store. Woken, if given, is called after the commit of a transaction by which
// somebody who waited in the group got a lock; it must not block.
func New(store Store, woken func()) *Locks { return &Locks{store, woken} }

type aheadKey struct{}

// Ahead is for a function that runs in the transaction of a service's next batch, and meets locks there: told of
// their keys in its context, the batch looks at them together with all others that it meets, which saves the function a
// round trip. A saga's Run says by itself what its saga's first step locks.
func Ahead(ctx context.Context, keys ...Key) context.Context {
	return context.WithValue(ctx, aheadKey{}, append(AheadIn(ctx), keys...))
}

// AheadIn are the keys that the context was given.
func AheadIn(ctx context.Context) []Key {
	keys, _ := ctx.Value(aheadKey{}).([]Key)
	return slices.Clip(keys)
}

// Conflict is the error of a writer that belongs to no saga, and meets a saga's lock.
type Conflict struct {
	Key
	// Holder is the saga that has the lock, Name its definition's name.
	Holder skald.ID
	Name   string
	Since  time.Time
}

// Error implements error.
func (c *Conflict) Error() string {
	return fmt.Sprintf("%s is locked by saga %s (%s) since %s: try again once that has ended", c.Key, c.Name, c.Holder, c.Since.UTC().Format(time.RFC3339))
}

// Free is for who writes without a saga: in the transaction of the write, and before it. It returns a [*Conflict]
// while a saga has the lock; otherwise none can take it until the transaction has ended, and the service's batches that want to
// wait for that: keep it short. A message whose handler returns
// the conflict is tried again, and keeps nothing of its key waiting: the release may be behind it.
func (l *Locks) Free(ctx context.Context, tx skald.Tx, resource skald.Resource, key string) error {
	k := Key{resource, key}
	if err := k.check(); err != nil {
		return err
	}
	work := unit.From(ctx, tx)
	if work == nil {
		work = unit.New(tx, time.Now())
	}
	share := l.In(work)
	if err := share.load(ctx, k); err != nil {
		return err
	}
	if q := share.queues[k].now; len(q) > 0 {
		return &Conflict{k, q[0].Saga, q[0].Name, q[0].Since}
	}
	return nil
}

func (k Key) check() error {
	if err := k.Resource.Validate(); err != nil {
		return fmt.Errorf("lock: resource: %w", err)
	}
	if k.Key == "" || len(k.Key) > skald.MaxKey {
		return fmt.Errorf("lock: %s: a key of 1 to %d bytes", k.Resource, skald.MaxKey)
	}
	return nil
}

// Force takes a root's row out of a queue, whatever its round: for an operator. It reports whether there was one.
func (l *Locks) Force(ctx context.Context, tx skald.Tx, k Key, root skald.ID) (bool, error) {
	work := unit.From(ctx, tx)
	if work == nil {
		return false, fmt.Errorf("lock: release %s: it takes a batch of the service's", k)
	}
	return l.In(work).Release(ctx, k, Owner{root, math.MaxInt})
}

// List returns the queues of up to limit keys after a key: who holds each lock, and who waits for it, in order. An
// empty resource means all.
func (l *Locks) List(ctx context.Context, resource skald.Resource, after Key, limit int) ([]Row, error) {
	return l.store.ListLocks(ctx, resource, after, limit)
}
