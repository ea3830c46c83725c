package service_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// doomed is the store of a process that dies at the commit of the batch in which a deadline
// fires.
type doomed struct {
	*skaldtest.Store
	landed bool
	fired  atomic.Bool
}

type doomedBatch struct {
	inbox.Batch
	store *doomed
}

func (d *doomed) Begin(ctx context.Context) (inbox.Batch, error) {
	b, err := d.Store.Begin(ctx)
	return &doomedBatch{Batch: b, store: d}, err
}

func (d *doomed) AddHistory(ctx context.Context, tx skald.Tx, entries []saga.Entry) error {
	if slices.ContainsFunc(entries, func(e saga.Entry) bool { return e.What == saga.HistoryTimedOut }) {
		d.fired.Store(true)
	}
	return d.Store.AddHistory(ctx, tx, entries)
}

func (b *doomedBatch) Commit(ctx context.Context) error {
	if !b.store.fired.Load() {
		return b.Batch.Commit(ctx)
	}
	var err error
	if b.store.landed {
		err = b.Batch.Commit(ctx)
	}
	b.store.Crash()
	if err == nil {
		err = skaldtest.ErrCrashed
	}
	return err
}

// Faults: 12.
func TestADeadlineThatFiresWhileTheProcessDiesFiresOnce(t *testing.T) {
	for _, landed := range []bool{false, true} {
		t.Run(fmt.Sprintf("landed %t", landed), func(t *testing.T) {
			inShop(t, func(s *shop) { s.deadline = 10 * time.Second }, func(s *shop) {
				s.stop("order")
				dying := &doomed{landed: landed}
				s.wrap = func(_ string, store *skaldtest.Store) service.Store { dying.Store = store; return dying }
				s.start("order")
				s.wrap = nil
				s.stop("kitchen")
				s.mustPlace("a", 1, 500)
				s.pass(11 * time.Second)
				if !dying.fired.Load() {
					t.Fatal("the deadline did not fire")
				}
				s.crash("order")
				s.start("order")
				s.start("kitchen")
				s.pass(time.Minute)
				s.rejected("a")
				fired := 0
				for _, line := range s.history("a") {
					if line == "create ticket: "+saga.HistoryTimedOut {
						fired++
					}
				}
				undos := 0
				for _, m := range s.broker.Messages("shop.kitchen") {
					if m.Type == rejectTicket.Name {
						undos++
					}
				}
				if fired != 1 || undos != 1 {
					t.Errorf("the deadline fired %d times, and %d undos were sent", fired, undos)
				}
				s.nothingHeld()
			})
		})
	}
}
