package createorder

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// driver places orders.
type driver struct {
	system *system
	next   atomic.Int64
	failed atomic.Pointer[error]
	errors atomic.Int64
}

func (d *driver) one(ctx context.Context, mixed bool) (time.Duration, bool) {
	id := d.next.Add(1)
	began := time.Now()
	err := d.system.Run(ctx, order{ID: id, Consumer: id % consumers, Amount: 1000 + id%500, Decline: mixed && id%10 == 7})
	if err != nil {
		d.errors.Add(1)
		d.failed.CompareAndSwap(nil, &err)
	}
	return time.Since(began), err == nil
}

// window is what was seen while it was measured.
type window struct {
	perSecond float64
	latencies []time.Duration // sorted
}

func (w *window) quantile(q float64) time.Duration {
	if len(w.latencies) == 0 {
		return 0
	}
	return w.latencies[min(int(q*float64(len(w.latencies))), len(w.latencies)-1)]
}

// closed keeps that many orders open; only what ends inside the window counts.
func (d *driver) closed(ctx context.Context, open int, warm, length time.Duration, mixed bool) window {
	var group sync.WaitGroup
	all := make([][]time.Duration, open)
	measure := time.Now().Add(warm)
	end := measure.Add(length)
	for i := range all {
		group.Go(func() {
			for now := time.Now(); now.Before(end) && ctx.Err() == nil; {
				took, ok := d.one(ctx, mixed)
				if now = time.Now(); ok && now.After(measure) && now.Before(end) {
					all[i] = append(all[i], took)
				}
			}
		})
	}
	group.Wait()
	return summarize(all, length)
}

// paced starts orders at a rate; latency counts from the planned start.
func (d *driver) paced(ctx context.Context, rate float64, warm, length time.Duration) window {
	var group sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	gap := time.Duration(float64(time.Second) / rate)
	began := time.Now()
	tick := time.NewTicker(gap)
	defer tick.Stop()
	for planned := began; planned.Sub(began) < warm+length && ctx.Err() == nil; planned = planned.Add(gap) {
		for time.Now().Before(planned) {
			<-tick.C
		}
		group.Go(func() {
			_, ok := d.one(ctx, false)
			if ok && planned.Sub(began) >= warm {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, time.Since(planned))
			}
		})
	}
	group.Wait()
	return summarize([][]time.Duration{all}, length)
}

func summarize(all [][]time.Duration, length time.Duration) window {
	w := window{latencies: slices.Concat(all...)}
	slices.Sort(w.latencies)
	w.perSecond = float64(len(w.latencies)) / length.Seconds()
	return w
}
