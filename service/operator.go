package service

import (
	"context"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
)

// Held lists messages that wait in this service's database, in order of arrival, after the
// given place (0 for the first), at most limit.
func (s *Service) Held(ctx context.Context, after int64, limit int) ([]inbox.Held, error) {
	return s.store.ListHeld(ctx, s.name, after, limit)
}

// Redrive makes parked or retrying messages due now, and returns how many it found.
func (s *Service) Redrive(ctx context.Context, ids ...skald.ID) (int, error) {
	return s.consumer.Redrive(ctx, ids...)
}

// Discard gives held messages up for good, with a reason: see [inbox.Consumer.Discard].
func (s *Service) Discard(ctx context.Context, reason string, ids ...skald.ID) (int, error) {
	return s.consumer.Discard(ctx, reason, ids...)
}

// Resume tries again what a parked saga stands at, with a reason for its history. It changes nothing
// and returns [saga.ErrUnknownVersion] where the saga's version is not registered.
func (s *Service) Resume(ctx context.Context, id skald.ID, reason string) error {
	return s.consumer.Transact(ctx, func(ctx context.Context, tx skald.Tx) error {
		return s.engine.Resume(ctx, tx, id, reason)
	})
}

// ReleaseLock takes a semantic lock from the root saga that holds it, or that one out of the queue for it, with a
// reason: see [inbox.Consumer.ReleaseLock].
func (s *Service) ReleaseLock(ctx context.Context, k lock.Key, root skald.ID, reason string) (bool, error) {
	return s.consumer.ReleaseLock(ctx, k, root, reason)
}

// LiveVersions counts the sagas that have not ended, by name and version.
func (s *Service) LiveVersions(ctx context.Context) ([]saga.Live, error) {
	return s.store.CountLive(ctx)
}

// Live lists sagas of a version that have not ended, in the order of their business keys, after the
// given key ("" for the first), at most limit: what its removal would strand.
func (s *Service) Live(ctx context.Context, version saga.Version, after string, limit int) ([]saga.Record, error) {
	return s.store.ListLive(ctx, version, after, limit)
}

// Cancel undoes a saga, with a reason for its history: see [saga.Saga.Cancel].
func (s *Service) Cancel(ctx context.Context, id skald.ID, reason string) error {
	return s.consumer.Transact(ctx, func(ctx context.Context, tx skald.Tx) error {
		return s.engine.Cancel(ctx, tx, id, reason)
	})
}

// History is what happened to a saga so far, in order.
func (s *Service) History(ctx context.Context, id skald.ID) ([]saga.Entry, error) {
	return s.store.ReadHistory(ctx, id)
}
