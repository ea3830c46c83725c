package service_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// townTwins break one promise each, in a store or in what a relay is told by its broker.
var townTwins = map[string]struct {
	store  func(*skaldtest.Store) service.Store
	broker func(*skaldtest.Broker) service.Broker
}{
	"no inbox":                                 {store: func(s *skaldtest.Store) service.Store { return forgetting{s} }},
	"a consumer that ignores keys":             {store: func(s *skaldtest.Store) service.Store { return overtaking{s} }},
	"a relay acknowledging past a gap":         {broker: func(b *skaldtest.Broker) service.Broker { return eager{b} }},
	"a relay acknowledging a batch with a gap": {broker: func(b *skaldtest.Broker) service.Broker { return holed{b} }},
}

// TestEveryBrokenTwinIsCaught runs the random town on twins: the model must find each, in one
// of the first seeds.
func TestEveryBrokenTwinIsCaught(t *testing.T) {
	const seeds = 10
	for name, twin := range townTwins {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				w := inTown(t, seed, func(w *town) { w.wrapStore, w.wrapBroker = twin.store, twin.broker }, (*town).live)
				if len(w.faults) > 0 {
					t.Logf("seed %d: %s", seed, w.faults[0])
					return
				}
			}
			t.Errorf("in %d seeds no promise is broken", seeds)
		})
	}
}

// forgetting does not know what it has handled.
type forgetting struct{ *skaldtest.Store }

func (forgetting) Handled(context.Context, skald.Tx, string, []skald.ID) ([]inbox.Handled, error) {
	return nil, nil
}

func (forgetting) RecordHandled(context.Context, skald.Tx, string, time.Time, []inbox.Handled) error {
	return nil
}

// overtaking lets messages pass by held ones of their key.
type overtaking struct{ *skaldtest.Store }

func (o overtaking) HeldAmong(ctx context.Context, tx skald.Tx, group string, keys []inbox.ChannelKey, ids []skald.ID) ([]inbox.ChannelKey, []skald.ID, error) {
	_, held, err := o.Store.HeldAmong(ctx, tx, group, keys, ids)
	return nil, held, err
}

// eager makes a relay acknowledge what the broker may still lose: its checkpoint passes that.
type eager struct{ *skaldtest.Broker }

func (b eager) OpenSession(ctx context.Context, mark string) (relay.Session, error) {
	s, err := b.Broker.OpenSession(ctx, mark)
	return &eagerSession{Session: s}, err
}

type eagerSession struct {
	relay.Session
	newest uint64
}

func (s *eagerSession) Publish(ctx context.Context, messages []skald.Message) (relay.Receipt, error) {
	receipt, err := s.Session.Publish(ctx, messages)
	s.newest = receipt.Number
	return receipt, err
}

func (s *eagerSession) Durable(ctx context.Context) (uint64, string, error) {
	_, mark, err := s.Session.Durable(ctx)
	return s.newest, mark, err
}

// holed makes a relay acknowledge a batch of which a message in the middle was not stored.
type holed struct{ *skaldtest.Broker }

func (b holed) OpenSession(ctx context.Context, mark string) (relay.Session, error) {
	s, err := b.Broker.OpenSession(ctx, mark)
	return holedSession{s}, err
}

type holedSession struct{ relay.Session }

func (s holedSession) Publish(ctx context.Context, messages []skald.Message) (relay.Receipt, error) {
	if len(messages) < 3 {
		return s.Session.Publish(ctx, messages)
	}
	receipt, err := s.Session.Publish(ctx, slices.Delete(slices.Clone(messages), 1, 2))
	for i := range receipt.Rejected {
		if receipt.Rejected[i].Index > 0 {
			receipt.Rejected[i].Index++
		}
	}
	return receipt, err
}
