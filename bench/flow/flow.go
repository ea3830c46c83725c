// Package flow measures how messages get from a commit on PostgreSQL to a receiver: through
// the library's outbox and relay to a broker, and beside that without any library.
package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skald-go/skald/bench/cluster"
)

// Options of a run.
type Options struct {
	Writers     int // at one time
	Rate        int // messages per second, for the latency
	Backlog     int // messages
	Repetitions int // whose medians count
	Warm, For   time.Duration
	// Report is told what comes next, and how many phases there are.
	Report func(phase string, done, total int)
}

// Result is one JSON line. Latencies are from the beginning of the commit to the reception, in
// milliseconds.
type Result struct {
	System      string    `json:"system"`
	Writers     int       `json:"writers"`
	Live        float64   `json:"live_messages_per_s"`
	LiveAll     []float64 `json:"live_runs"`
	Rate        int       `json:"paced_messages_per_s"`
	P50         float64   `json:"paced_commit_to_receive_p50_ms"`
	P99         float64   `json:"paced_commit_to_receive_p99_ms"`
	DrainSingle float64   `json:"backlog_drain_one_per_tx_messages_per_s"`
	DrainMany   float64   `json:"backlog_drain_hundred_per_tx_messages_per_s"`
	Repeated    int64     `json:"repeated"`
	Lost        int64     `json:"lost"`
}

// path is a way from commits to a receiver.
type path interface {
	// write commits messages in one transaction, and calls committing before it does.
	write(ctx context.Context, contents []string, committing func()) error
	// carry carries messages until its context ends, and then returns.
	carry(ctx context.Context) error
	close() error
}

// kind is a path that can be opened: receive is called for each message, by several goroutines.
type kind struct {
	name string
	open func(ctx context.Context, c *cluster.Cluster, writers int, receive func(content string)) (path, error)
}

const many = 100 // messages of one transaction

// Run measures the floor, and the library tailing the log, polling the table, and without a
// table. Repetitions take turns, so that what drifts on the machine does so for all of them.
func Run(ctx context.Context, options Options) (results []Result, err error) {
	c, err := cluster.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	kinds := []kind{floor, tail, poll, emit}
	runs := make([]measured, len(kinds))
	b := &benchmark{options: options, cluster: c, total: 4 * len(kinds) * options.Repetitions}
	for range options.Repetitions {
		for i, k := range kinds {
			if err := b.repeat(ctx, k, &runs[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
		}
	}
	options.Report("done", b.total, b.total)
	for i, k := range kinds {
		r := &runs[i]
		results = append(results, Result{
			System: k.name, Writers: options.Writers, Live: median(r.live), LiveAll: r.live, Rate: options.Rate,
			P50: median(r.p50), P99: median(r.p99), DrainSingle: median(r.single), DrainMany: median(r.many), Repeated: r.repeated, Lost: r.lost,
		})
	}
	return results, nil
}

// measured has an element for each repetition.
type measured struct {
	live, p50, p99, single, many []float64
	repeated, lost               int64
}

type benchmark struct {
	options     Options
	cluster     *cluster.Cluster
	done, total int
}

func (b *benchmark) phase(name, what string) {
	b.options.Report(name+": "+what, b.done, b.total)
	b.done++
}

// repeat is one repetition on a path of its own.
func (b *benchmark) repeat(ctx context.Context, k kind, r *measured) (err error) {
	o, m := b.options, newMeter()
	p, err := k.open(ctx, b.cluster, o.Writers, m.receive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	d := &driver{path: p, meter: m, options: o}

	b.phase(k.name, "live")
	carrying := carry(ctx, p)
	rate, err := d.live(ctx)
	if err != nil {
		return errors.Join(err, carrying.stop(ctx))
	}
	r.live = append(r.live, rate)
	b.phase(k.name, fmt.Sprintf("paced at %d/s", o.Rate))
	latencies, err := d.paced(ctx)
	if err = errors.Join(err, carrying.stop(ctx)); err != nil {
		return err
	}
	r.p50, r.p99 = append(r.p50, quantile(latencies, 0.5)), append(r.p99, quantile(latencies, 0.99))

	for _, drain := range []struct {
		each, messages int
		into           *[]float64
	}{{1, o.Backlog / 4, &r.single}, {many, o.Backlog, &r.many}} {
		b.phase(k.name, fmt.Sprintf("drain %d messages, %d to a transaction", drain.messages, drain.each))
		rate, err := d.drain(ctx, drain.messages, drain.each)
		if err != nil {
			return err
		}
		*drain.into = append(*drain.into, rate)
	}
	r.lost += m.missing()
	r.repeated += m.repeated.Load()
	return nil
}

// settling is above the time after which a path notes how far it is; for the library that is
// what the broker has surely on disk.
const settling = 3 * time.Second

// carrying is a path that carries messages in a goroutine.
type carrying struct {
	cancel context.CancelFunc
	ended  chan error
}

func carry(ctx context.Context, p path) carrying {
	ctx, cancel := context.WithCancel(ctx)
	c := carrying{cancel, make(chan error, 1)}
	go func() { c.ended <- p.carry(ctx) }()
	return c
}

// stop ends it once the path has noted how far it is, so that little is carried again.
func (c carrying) stop(ctx context.Context) error {
	pause(ctx, settling)
	c.cancel()
	return <-c.ended
}

// driver writes messages.
type driver struct {
	path    path
	meter   *meter
	options Options
}

// patience is how long all messages may take to arrive.
const patience = time.Minute

// write commits new messages in one transaction.
func (d *driver) write(ctx context.Context, n int) error {
	numbers, err := d.meter.take(n)
	if err != nil {
		return err
	}
	contents := make([]string, n)
	for i := range contents {
		contents[i] = content(numbers[i])
	}
	return d.path.write(ctx, contents, func() { d.meter.committing(numbers) })
}

// flood has all writers write until the time is over; with a rate, evenly.
func (d *driver) flood(ctx context.Context, rate int, length time.Duration) error {
	writers := d.options.Writers
	var gap time.Duration
	if rate > 0 {
		gap = time.Duration(writers) * time.Second / time.Duration(rate)
	}
	began := time.Now()
	return together(writers, func(i int) error {
		planned := began.Add(gap * time.Duration(i) / time.Duration(writers))
		for time.Since(began) < length && ctx.Err() == nil {
			if wait := time.Until(planned); gap > 0 && wait > 0 {
				pause(ctx, wait)
			}
			planned = planned.Add(gap)
			if err := d.write(ctx, 1); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// live is the rate at which messages arrive while writers write as fast as they can.
func (d *driver) live(ctx context.Context) (float64, error) {
	if err := d.flood(ctx, 0, d.options.Warm); err != nil {
		return 0, err
	}
	before, began := d.meter.arrived.Load(), time.Now()
	var during int64
	var took time.Duration
	over := make(chan struct{})
	timer := time.AfterFunc(d.options.For, func() {
		during, took = d.meter.arrived.Load()-before, time.Since(began)
		close(over)
	})
	defer timer.Stop()
	if err := d.flood(ctx, 0, d.options.For); err != nil {
		return 0, err
	}
	<-over
	return rounded(float64(during) / took.Seconds()), d.await(ctx, 0)
}

// paced are the latencies at a rate.
func (d *driver) paced(ctx context.Context) ([]time.Duration, error) {
	d.meter.record()
	if err := d.flood(ctx, d.options.Rate, d.options.For); err != nil {
		return nil, err
	}
	err := d.await(ctx, 0)
	return d.meter.recorded(), err
}

// drain is the rate at which messages arrive that were written while nothing carried them.
func (d *driver) drain(ctx context.Context, messages, each int) (float64, error) {
	writers := d.options.Writers
	err := together(writers, func(i int) error {
		for n := i * each; n < messages; n += writers * each {
			if err := d.write(ctx, each); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	all := d.meter.missing()
	carrying := carry(ctx, d.path)
	err = d.await(ctx, all-1)
	waiting, began := d.meter.missing(), time.Now() // connections are open now
	err = errors.Join(err, d.await(ctx, 0))
	took := time.Since(began)
	return rounded(float64(waiting) / took.Seconds()), errors.Join(err, carrying.stop(ctx))
}

// await waits until not more than so many messages are missing.
func (d *driver) await(ctx context.Context, missing int64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for d.meter.missing() > missing {
		select {
		case <-d.meter.news:
		case <-ctx.Done():
			return fmt.Errorf("%d messages have not arrived: %w", d.meter.missing(), ctx.Err())
		}
	}
	return nil
}

// together runs functions at the same time, and returns their errors.
func together(n int, run func(i int) error) error {
	var group sync.WaitGroup
	faults := make([]error, n)
	for i := range faults {
		group.Go(func() { faults[i] = run(i) })
	}
	group.Wait()
	return errors.Join(faults...)
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

func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
	return float64(at.Round(time.Microsecond)) / float64(time.Millisecond)
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

func rounded(x float64) float64 { return float64(int64(x + 0.5)) }
