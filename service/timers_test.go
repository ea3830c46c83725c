package service_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// damaged is a store that cannot read its sagas.
type damaged struct {
	*skaldtest.Store
	broken atomic.Bool
	looks  atomic.Int32
}

func (d *damaged) LoadSagas(ctx context.Context, tx skald.Tx, ids []skald.ID) ([]saga.Record, error) {
	if d.broken.Load() {
		return nil, errors.New("damaged")
	}
	return d.Store.LoadSagas(ctx, tx, ids)
}

func (d *damaged) DueSagas(ctx context.Context, versions []saga.Version, now time.Time, after saga.Due, limit int) ([]saga.Due, error) {
	d.looks.Add(1)
	return d.Store.DueSagas(ctx, versions, now, after, limit)
}

func TestATimerThatCannotFireIsTriedOnceASecond(t *testing.T) {
	var store damaged
	inShop(t, func(s *shop) {
		s.deadline = 5 * time.Second
		s.wrap = func(name string, inner *skaldtest.Store) service.Store {
			if name != "order" {
				return inner
			}
			store.Store = inner
			return &store
		}
	}, func(s *shop) {
		s.stop("kitchen")
		s.mustPlace("a", 1, 500)
		store.broken.Store(true)
		s.pass(10 * time.Second)
		before := store.looks.Load()
		s.pass(10 * time.Second)
		if looks := store.looks.Load() - before; looks > 11 {
			t.Errorf("the timers looked %d times in 10 seconds", looks)
		}
		store.broken.Store(false)
		s.pass(2 * time.Second)
		if o := s.outcome("a"); o.Status != saga.Compensating {
			t.Errorf("the saga is %s, and its deadline has passed", o.Status)
		}
		s.start("kitchen")
		s.pass(20 * time.Second)
		s.rejected("a")
	})
}
