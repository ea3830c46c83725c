package service_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// Faults: 34.
func TestARetryWhoseCommitHasAnUnknownOutcomeIsHandledOnce(t *testing.T) {
	for _, landed := range []bool{true, false} {
		inShop(t, nil, func(s *shop) {
			tries := 0
			s.on(orderPlaced.Name, func(context.Context, *skaldtest.Tx) error {
				if tries++; tries == 1 {
					return errors.New("not yet")
				}
				if tries == 2 {
					s.stores["kitchen"].FailCommits(1, landed)
				}
				return nil
			})
			s.emit("a", 1)
			s.pass(time.Minute)
			s.emit("a", 2)
			s.pass(time.Second)
			s.expect("kitchen", "seen", "a", "1 2 ")
			if held := s.held("kitchen"); len(held) != 0 {
				t.Errorf("landed %t: still held: %+v", landed, held)
			}
			s.once()
		})
	}
}

func TestARetryThatBreaksItsBatchIsNotOvertaken(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		tries := 0
		s.on(orderPlaced.Name, func(_ context.Context, tx *skaldtest.Tx) error {
			if seen, _ := tx.Get("seen", "a"); seen != "0 " {
				return nil
			}
			switch tries++; {
			case tries == 1:
				return errors.New("not yet")
			case tries < 6:
				return tx.Rollback()
			default:
				return nil
			}
		})
		for n := range 3 {
			s.emit("a", n)
		}
		s.pass(time.Minute)
		s.expect("kitchen", "seen", "a", "0 1 2 ")
		s.once()
		s.nothingHeld()
	})
}

// curious counts how often an instance looks for held messages.
type curious struct {
	*skaldtest.Store
	looks atomic.Int32
}

func (c *curious) DueHeld(ctx context.Context, group string, now time.Time, limit int) ([]inbox.Held, error) {
	if c.looks.Add(1)%1000 == 0 { // virtual time stands still while somebody spins
		if err := slowly(time.Second)(ctx, nil); err != nil {
			return nil, err
		}
	}
	return c.Store.DueHeld(ctx, group, now, limit)
}

func TestAnInstanceDoesNotSpinOverWhatAnotherHolds(t *testing.T) {
	inShop(t, func(s *shop) { s.config.BatchSize = 2 }, func(s *shop) {
		standby := &curious{}
		s.wrap = func(_ string, store *skaldtest.Store) service.Store { standby.Store = store; return standby }
		first := s.running["kitchen"]
		s.stores["kitchen"] = s.stores["kitchen"].Connect()
		s.start("kitchen")
		var tries atomic.Int32
		s.on(orderPlaced.Name, func(ctx context.Context, tx *skaldtest.Tx) error {
			if tries.Add(1) <= 4 {
				return errors.New("not yet")
			}
			return slowly(3*time.Second)(ctx, tx)
		})
		for key := range 4 {
			s.emit(fmt.Sprint(key), key)
		}
		s.pass(time.Minute)
		if looks := standby.looks.Load(); looks > 100 {
			t.Errorf("the instance that stands by looked %d times in a minute", looks)
		}
		for key := range 4 {
			s.expect("kitchen", "seen", fmt.Sprint(key), fmt.Sprint(key, " "))
		}
		first.stop()
		if err := <-first.ended; err != nil {
			t.Error(err)
		}
	})
}

// dozing is the store of an instance that sleeps between reading what is due and handling it.
type dozing struct {
	*skaldtest.Store
	asleep atomic.Bool
	slept  atomic.Bool
}

func (d *dozing) doze(ctx context.Context) {
	for d.asleep.Load() {
		_ = slowly(time.Second)(ctx, nil) // its error says that the test is over
	}
}

func (d *dozing) DueHeld(ctx context.Context, group string, now time.Time, limit int) ([]inbox.Held, error) {
	due, err := d.Store.DueHeld(ctx, group, now, limit)
	if len(due) > 0 && !d.slept.Swap(true) {
		d.asleep.Store(true)
		time.AfterFunc(20*time.Second, func() { d.asleep.Store(false) })
	}
	d.doze(ctx)
	return due, err
}

func (d *dozing) RenewPartitions(ctx context.Context, holder string, leases []inbox.Lease, ttl time.Duration) ([]inbox.Lease, error) {
	d.doze(ctx)
	return d.Store.RenewPartitions(ctx, holder, leases, ttl)
}

// Faults: 13, 28.
func TestARetryThatAnotherInstanceHasMadeMeanwhileIsNotMadeAgain(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.stop("kitchen")
		dozy := &dozing{}
		s.wrap = func(_ string, store *skaldtest.Store) service.Store { dozy.Store = store; return dozy }
		s.start("kitchen")
		first := s.running["kitchen"]
		s.wrap = nil
		s.stores["kitchen"] = s.stores["kitchen"].Connect()
		s.start("kitchen")
		var tries atomic.Int32
		s.on(orderPlaced.Name, func(context.Context, *skaldtest.Tx) error {
			if tries.Add(1) == 1 {
				return errors.New("not yet")
			}
			return nil
		})
		s.emit("a", 0)
		s.pass(time.Minute)
		s.emit("a", 1)
		s.pass(time.Minute)
		s.expect("kitchen", "seen", "a", "0 1 ")
		if held := s.held("kitchen"); len(held) > 0 || !dozy.slept.Load() {
			t.Errorf("slept %t; still held: %+v", dozy.slept.Load(), held)
		}
		s.once()
		first.stop()
		if err := <-first.ended; err != nil {
			t.Error(err)
		}
	})
}
