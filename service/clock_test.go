package service_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// watched counts how often its service looks for what is due.
type watched struct {
	*skaldtest.Store
	looks atomic.Int32
}

func (w *watched) NextDue(ctx context.Context, versions []saga.Version) (time.Time, bool, error) {
	w.looks.Add(1)
	return w.Store.NextDue(ctx, versions)
}

func (w *watched) NextHeld(ctx context.Context, group string) (time.Time, bool, error) {
	w.looks.Add(1)
	return w.Store.NextHeld(ctx, group)
}

func (w *watched) DueHeld(ctx context.Context, group string, now time.Time, limit int) ([]inbox.Held, error) {
	w.looks.Add(1)
	return w.Store.DueHeld(ctx, group, now, limit)
}

// jump puts the clock of all services ahead, or back.
func (s *shop) jump(by time.Duration) { s.skew.Add(int64(by)) }

// Faults: 71.
func TestWhenTheClockJumpsDeadlinesAreEarlyOrLateAndNothingElse(t *testing.T) {
	const hour, year = time.Hour, 365 * 24 * time.Hour
	for _, by := range []time.Duration{hour, -hour, year, -year} {
		t.Run(by.String(), func(t *testing.T) {
			stores := map[string]*watched{}
			inShop(t, func(s *shop) {
				s.deadline, s.bar = 30*time.Minute, 30*time.Minute
				s.wrap = func(name string, store *skaldtest.Store) service.Store {
					stores[name] = &watched{Store: store}
					return stores[name]
				}
			}, func(s *shop) {
				s.on(authorize.Name, func(context.Context, *skaldtest.Tx) error { return errors.New("not yet") })
				s.mustPlace("paying", 1, 500) // waits for its pivot, which is held for its next attempt
				s.pass(time.Minute)
				s.stop("kitchen")
				s.mustPlace("cooking", 1, 500) // waits for its ticket
				s.jump(by)
				s.pass(time.Minute)
				s.mustPlace("after", 1, 500)
				for _, store := range stores {
					store.looks.Store(0)
				}
				s.pass(time.Minute)
				for name, store := range stores {
					if n := store.looks.Load(); n > 4*60 {
						t.Errorf("service %s looked %d times in a minute for what is due", name, n)
					}
				}
				s.on(authorize.Name, nil)
				s.start("kitchen")
				s.pass(90 * time.Minute)
				s.stop("kitchen")
				s.mustPlace("before", 1, 500)
				s.pass(time.Minute)
				s.jump(-by) // the clock is put right
				s.pass(time.Minute)
				s.start("kitchen")
				s.pass(90 * time.Minute)
				for _, order := range []string{"paying", "cooking", "after", "before"} {
					if s.outcome(order).Status == saga.Compensated {
						s.rejected(order)
					} else {
						s.approved(order)
					}
				}
				s.nothingHeld()
			})
		})
	}
}
