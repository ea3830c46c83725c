package service_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// stopped is the store of an instance that was stopped, say by a debugger or a frozen machine,
// and does not know that its leases have expired meanwhile: they are not renewed, and it
// believes that they are, until the database fences it off.
type stopped struct {
	*skaldtest.Store
	fenced    atomic.Bool
	committed atomic.Bool // a batch whose positions the database had refused
}

// batch notices a commit after the database has fenced the instance off.
type batch struct {
	inbox.Batch
	store *stopped
}

func (s *stopped) Begin(ctx context.Context) (inbox.Batch, error) {
	b, err := s.Store.Begin(ctx)
	return &batch{b, s}, err
}

func (b *batch) Commit(ctx context.Context) error {
	if b.store.fenced.Load() {
		b.store.committed.Store(true)
	}
	return b.Batch.Commit(ctx)
}

func (s *stopped) RenewPartitions(ctx context.Context, holder string, leases []inbox.Lease, ttl time.Duration) ([]inbox.Lease, error) {
	if s.fenced.Load() {
		return s.Store.RenewPartitions(ctx, holder, leases, ttl)
	}
	return leases, nil
}

func (s *stopped) SavePositions(ctx context.Context, tx skald.Tx, leases []inbox.Lease) error {
	err := s.Store.SavePositions(ctx, tx, leases)
	if errors.Is(err, inbox.ErrFenced) {
		s.fenced.Store(true)
	}
	return err
}

// Faults: 13.
func TestAnInstanceThatLostItsPartitionsUnnoticedIsFencedOff(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.stop("kitchen")
		frozen := &stopped{Store: s.stores["kitchen"]}
		s.wrap = func(_ string, store *skaldtest.Store) service.Store { frozen.Store = store; return frozen }
		s.start("kitchen")
		first := s.running["kitchen"]
		s.wrap = nil
		s.stores["kitchen"] = s.stores["kitchen"].Connect()
		s.start("kitchen")
		s.pass(time.Minute) // the second instance has the partitions, and the first reads them still
		for i := range 10 {
			s.mustPlace(fmt.Sprint("o", i), 1, 500+i%2*5000)
		}
		s.pass(time.Minute)
		for i := range 10 {
			if order := fmt.Sprint("o", i); i%2 == 0 {
				s.approved(order)
			} else {
				s.rejected(order)
			}
		}
		s.nothingHeld()
		if !frozen.fenced.Load() {
			t.Error("the first instance was never fenced off: the test shows nothing")
		}
		if frozen.committed.Load() {
			t.Error("the first instance committed a batch after it was fenced off")
		}
		first.stop()
		if err := <-first.ended; err != nil {
			t.Error(err)
		}
	})
}
