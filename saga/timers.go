package saga

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
)

// timerBatch is how many due sagas are handled together.
const timerBatch = 256

// timerLook is how often the timers look at the store at least: a deadline further away
// needs no wake-up.
const timerLook = time.Second

// Transact runs fn in the transaction of the service's next batch.
type Transact func(ctx context.Context, fn func(ctx context.Context, tx skald.Tx) error) error

// RunTimers fires deadlines until ctx ends: durable, because they are a column of the saga's
// row. It sleeps until the earliest of them, and looks once a second for those that another
// process has set.
func (e *Engine) RunTimers(ctx context.Context) error {
	for ctx.Err() == nil {
		due, found, err := e.Store.NextDue(ctx)
		if err == nil && found && !due.After(time.Now()) {
			if err = e.fireDue(ctx); err == nil {
				continue
			}
		}
		if err != nil && ctx.Err() == nil {
			e.Logger.Error("saga: timers could not be fired; trying again", "error", err)
			sleep(ctx, timerLook) // a failure is not repeated at once
			continue
		}
		wait := timerLook
		if found {
			wait = max(min(wait, time.Until(due)), time.Millisecond)
		}
		e.sleepUntil(ctx, wait)
	}
	return nil
}

func (e *Engine) fireDue(ctx context.Context) error {
	ids, err := e.Store.DueSagas(ctx, time.Now(), timerBatch)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	failed := make([]error, len(ids))
	for i, id := range ids {
		group.Go(func() {
			failed[i] = e.Transact(ctx, func(ctx context.Context, tx skald.Tx) error { return e.Timeout(ctx, tx, id) })
		})
	}
	group.Wait()
	for i, err := range failed {
		if err != nil {
			return fmt.Errorf("saga %s: %w", ids[i], err)
		}
	}
	return nil
}

// Timeout applies a saga's deadline if it has passed, inside a batch.
func (e *Engine) Timeout(ctx context.Context, tx skald.Tx, id skald.ID) error {
	if tracked, err := e.step(ctx, tx, id, machine.Timeout{}); tracked || err != nil {
		return err
	}
	return e.within(ctx, tx, func(s *session) error {
		in, err := s.load(ctx, id)
		if err != nil {
			return err
		}
		if in.machine.DueAt.IsZero() || s.work.Now.Before(in.machine.DueAt) {
			return nil
		}
		return s.apply(ctx, in, machine.Timeout{})
	})
}

// Resume lets an operator try again what a parked saga stands at, with a reason for the
// history; a choreography that is parked gets a new deadline. It runs inside the caller's transaction.
func (e *Engine) Resume(ctx context.Context, tx skald.Tx, id skald.ID, reason string) error {
	if tracked, err := e.step(ctx, tx, id, machine.Resume{Detail: reason}); tracked || err != nil {
		return err
	}
	return e.within(ctx, tx, func(s *session) error {
		in, err := s.load(ctx, id)
		if err != nil {
			return err
		}
		return s.apply(ctx, in, machine.Resume{Detail: reason})
	})
}

// rearm wakes the timers after a deadline was set.
func (e *Engine) rearm() {
	select {
	case e.timer <- struct{}{}:
	default:
	}
}

// sleepUntil waits that long, or until a nearer deadline is set in this process.
func (e *Engine) sleepUntil(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-e.timer:
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
