package skaldtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/saga"
)

// outside lists what may come to the sagas from outside: deadlines, signals, and a cancel.
func (w *world) outside(m *moment) []action {
	var all []action
	for _, r := range m.sagas {
		if r.Status.Ended() {
			continue
		}
		in := decodeInstance(r)
		all = append(all, w.deadlines(m, r, &in)...)
		all = append(all, w.signals(m, r, &in)...)
	}
	if !m.cancelled && !m.sagas[0].Status.Ended() {
		all = append(all, w.cancelling(m))
	}
	return all
}

func decodeInstance(r *saga.Record) (in machine.Instance) {
	if err := json.Unmarshal(r.Progress, &in); err != nil {
		panic(fmt.Sprintf("skaldtest: progress of saga %q: %v", r.Name, err))
	}
	in.Status = machine.Status(r.Status)
	return in
}

// deadlines lets time pass to each of a saga's deadlines.
func (w *world) deadlines(m *moment, r *saga.Record, in *machine.Instance) []action {
	if r.DueAt.IsZero() {
		return nil
	}
	moments := []time.Time{in.Deadline}
	for _, p := range in.Steps {
		moments = append(moments, p.DueAt)
	}
	slices.SortFunc(moments, time.Time.Compare)
	moments = slices.DeleteFunc(slices.CompactFunc(moments, time.Time.Equal), time.Time.IsZero)
	all := make([]action, len(moments))
	for i, now := range moments {
		if m.now.After(now) {
			now = m.now
		}
		label := "the deadline of " + strconv.Quote(r.Step) + " passes"
		if i > 0 {
			label += ", and number " + strconv.Itoa(i+1)
		}
		all[i] = action{label: label, node: w.home, now: now, fails: true, run: func(ctx context.Context) error {
			return w.home.stepper.Transact(ctx, now, func(ctx context.Context, tx skald.Tx) error { return w.engine.Timeout(ctx, tx, r.ID) })
		}}
	}
	return all
}

// signals tells a saga what its steps wait for, or will.
func (w *world) signals(m *moment, r *saga.Record, in *machine.Instance) []action {
	var all []action
	for i, s := range w.config.signals {
		if w.step(s.step).of.Name != r.Name || !in.Takes(s.step) {
			continue
		}
		early := !slices.ContainsFunc(in.Steps, func(p machine.Progress) bool { return p.Step == s.step })
		label := "a signal, number " + strconv.Itoa(i+1) + ", comes for " + strconv.Quote(s.step)
		all = append(all, action{label: label, node: w.home, now: m.now, fails: true, extra: early, run: func(ctx context.Context) error {
			return w.home.stepper.Transact(ctx, m.now, func(ctx context.Context, tx skald.Tx) error {
				return w.engine.Signal(ctx, tx, r.ID, s.step, s.content)
			})
		}})
	}
	return all
}

// cancelling cancels the saga, once in a course.
func (w *world) cancelling(m *moment) action {
	return action{label: "the saga is cancelled", node: w.home, now: m.now, fails: true, extra: true, cancels: true, run: func(ctx context.Context) error {
		return w.home.stepper.Transact(ctx, m.now, func(ctx context.Context, tx skald.Tx) error {
			err := w.cancel(ctx, tx)
			if errors.Is(err, saga.ErrDecided) {
				return nil
			}
			return err
		})
	}}
}
