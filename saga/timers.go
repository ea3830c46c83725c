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
	versions := e.Versions()
	for ctx.Err() == nil {
		due, found, err := e.Store.NextDue(ctx, versions)
		now := e.Now()
		if err == nil && found && !due.After(now) {
			if err = e.fireDue(ctx, versions); err == nil {
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
			wait = max(min(wait, due.Sub(now)), time.Millisecond)
		}
		e.sleepUntil(ctx, wait)
	}
	return nil
}

// fireDue fires all timers that are due, some at a time. What fails stays behind and is due in
// the next round; it keeps none of the others from firing.
func (e *Engine) fireDue(ctx context.Context, versions []Version) error {
	var after Due
	failed, first := 0, error(nil)
	for now := e.Now(); ; {
		due, err := e.Store.DueSagas(ctx, versions, now, after, timerBatch)
		if err != nil {
			return err
		}
		for i, err := range e.fire(ctx, due) {
			if err == nil {
				continue
			}
			if failed++; failed == 1 {
				first = fmt.Errorf("saga %s: %w", due[i].ID, err)
			}
		}
		if len(due) < timerBatch || ctx.Err() != nil {
			break
		}
		after = due[len(due)-1]
	}
	if failed > 1 {
		return fmt.Errorf("%d of them failed, the first: %w", failed, first)
	}
	return first
}

// fire fires timers, and returns what each came to. They are one unit of work, unless one of them
// fails: then each is on its own.
func (e *Engine) fire(ctx context.Context, due []Due) []error {
	if e.fireTogether(ctx, due) == nil {
		return nil
	}
	var group sync.WaitGroup
	results := make([]error, len(due))
	for i, d := range due {
		group.Go(func() {
			results[i] = e.Transact(ctx, func(ctx context.Context, tx skald.Tx) error { return e.Timeout(ctx, tx, d.ID) })
		})
	}
	group.Wait()
	return results
}

// fireTogether loads the sagas of the timers in one statement.
func (e *Engine) fireTogether(ctx context.Context, due []Due) error {
	return e.Transact(ctx, func(ctx context.Context, tx skald.Tx) error {
		return e.within(ctx, tx, func(s *session) error {
			ids := make([]skald.ID, len(due))
			for i, d := range due {
				ids[i] = d.ID
			}
			if err := s.load(ctx, s.missing(ids)); err != nil {
				return err
			}
			for _, d := range due {
				if err := e.Timeout(ctx, tx, d.ID); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// Timeout applies a saga's deadline if it has passed, inside a batch.
func (e *Engine) Timeout(ctx context.Context, tx skald.Tx, id skald.ID) error {
	return e.within(ctx, tx, func(s *session) error {
		if !s.has(id) {
			if tracked, err := e.step(ctx, tx, id, machine.Timeout{}); tracked || err != nil {
				return err
			}
		}
		in, err := s.find(ctx, id)
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
// history; a choreography that is parked gets a new deadline. It runs inside the caller's transaction. In a
// process that does not know the saga's version it changes nothing and returns [ErrUnknownVersion].
func (e *Engine) Resume(ctx context.Context, tx skald.Tx, id skald.ID, reason string) error {
	if tracked, err := e.step(ctx, tx, id, machine.Resume{Detail: reason}); tracked || err != nil {
		return err
	}
	return e.byID(ctx, tx, id, func(s *session, in *instance) error { return s.apply(ctx, in, machine.Resume{Detail: reason}) })
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
