package createorder

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long after a window an order may take to end.
const patience = time.Minute

// driver places orders at a system.
type driver struct {
	system *system
	next   atomic.Int64
	faults faults
	// checked is how many orders the verification has seen.
	checked int64
}

// faults counts errors and keeps the first.
type faults struct {
	first atomic.Pointer[error]
	count atomic.Int64
}

func (f *faults) add(err error) {
	f.count.Add(1)
	f.first.CompareAndSwap(nil, &err)
}

func (d *driver) one(ctx context.Context, mixed bool) bool {
	id := d.next.Add(1)
	err := d.system.run(ctx, order{ID: id, Consumer: id % consumers, Amount: 1000 + id%500, Decline: mixed && id%10 == 7})
	if err != nil {
		d.faults.add(err)
	}
	return err == nil
}

func (d *driver) resetCounts() {
	for _, count := range d.system.counts {
		count.Reset()
	}
}

// writeCounts lists the statements of an order, of those placed since there were that many, if they are
// counted.
func (d *driver) writeCounts(out io.Writer, name string, before int64) error {
	for database, count := range d.system.counts {
		if err := count.Write(out, name+", database "+database, int(d.next.Load()-before)); err != nil {
			return err
		}
	}
	return nil
}

// window is what was seen while it was measured.
type window struct {
	perSecond float64
	latencies []time.Duration // sorted
	used      usage           // for a thousand orders
}

func (w *window) quantile(q float64) float64 {
	if len(w.latencies) == 0 {
		return 0
	}
	return milliseconds(w.latencies[min(int(q*float64(len(w.latencies))), len(w.latencies)-1)])
}

// closed keeps that many orders open; only what ends inside the window counts.
func (d *driver) closed(ctx context.Context, open int, warm, length time.Duration, mixed bool) window {
	ctx, cancel := context.WithTimeoutCause(ctx, warm+length+patience, fmt.Errorf("not ended %s after the window", patience))
	defer cancel()
	var measuring, stopped atomic.Bool
	var group sync.WaitGroup
	all := make([][]time.Duration, open)
	for i := range all {
		group.Go(func() {
			for !stopped.Load() && ctx.Err() == nil {
				began := time.Now()
				switch ok := d.one(ctx, mixed); {
				case !ok:
					pause(ctx, 10*time.Millisecond)
				case measuring.Load():
					all[i] = append(all[i], time.Since(began))
				}
			}
		})
	}
	pause(ctx, warm)
	before, began := d.system.usage(ctx), time.Now()
	measuring.Store(true)
	pause(ctx, length)
	measuring.Store(false)
	took, after := time.Since(began), d.system.usage(ctx)
	stopped.Store(true)
	group.Wait()
	w := window{latencies: slices.Concat(all...)}
	slices.Sort(w.latencies)
	w.perSecond = float64(len(w.latencies)) / took.Seconds()
	w.used = after.since(before).perThousand(len(w.latencies))
	return w
}

// paced starts orders at a rate; latency counts from the planned start.
func (d *driver) paced(ctx context.Context, rate float64, warm, length time.Duration) window {
	ctx, cancel := context.WithTimeoutCause(ctx, warm+length+patience, fmt.Errorf("not ended %s after the window", patience))
	defer cancel()
	var group sync.WaitGroup
	var mu sync.Mutex
	var w window
	gap := time.Duration(float64(time.Second) / rate)
	began := time.Now()
	for planned := began; planned.Sub(began) < warm+length && ctx.Err() == nil; planned = planned.Add(gap) {
		if wait := time.Until(planned); wait > 0 {
			pause(ctx, wait)
		}
		group.Go(func() {
			if d.one(ctx, false) && planned.Sub(began) >= warm {
				took := time.Since(planned)
				mu.Lock()
				defer mu.Unlock()
				w.latencies = append(w.latencies, took)
			}
		})
	}
	group.Wait()
	slices.Sort(w.latencies)
	return w
}

// alone places orders one at a time.
func (d *driver) alone(ctx context.Context, orders int) window {
	var w window
	for range orders {
		began := time.Now()
		if d.one(ctx, false) {
			w.latencies = append(w.latencies, time.Since(began))
		}
	}
	slices.Sort(w.latencies)
	return w
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
