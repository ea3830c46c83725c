package createorder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Options of a run.
type Options struct {
	Concurrency []int
	Warm, For   time.Duration
	// Report is told what comes next, and how many phases there are.
	Report func(phase string, done, total int)
}

// Result is one JSON line. Latencies are in milliseconds.
type Result struct {
	System        string             `json:"system"`
	Sweep         map[string]float64 `json:"sagas_per_s_by_concurrency"`
	Best          int                `json:"best_concurrency"`
	Happy         float64            `json:"happy_sagas_per_s"`
	FullP50       float64            `json:"happy_full_load_p50_ms"`
	FullP99       float64            `json:"happy_full_load_p99_ms"`
	Mixed         float64            `json:"decline10_sagas_per_s"`
	HalfRate      float64            `json:"half_load_offered_per_s"`
	HalfP50       float64            `json:"half_load_p50_ms"`
	HalfP99       float64            `json:"half_load_p99_ms"`
	LightP50      float64            `json:"one_at_a_time_p50_ms"`
	Checked       int64              `json:"sagas_verified"`
	NotTerminal   int64              `json:"not_terminal"`
	Wrong         int64              `json:"wrong"`
	Duplicates    int64              `json:"duplicate_executions"`
	Errors        int64              `json:"errors"`
	FirstError    string             `json:"first_error,omitempty"`
	OK            bool               `json:"verified_ok"`
	HalfLoad      []float64          `json:"-"` // every latency at half load, sorted
	Concurrencies []int              `json:"-"`
}

// Run measures on databases and a broker in a temporary folder.
func Run(ctx context.Context, options Options) (_ Result, err error) {
	dir, err := os.MkdirTemp("", "skald-bench-")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := start(ctx, filepath.Clean(dir))
	if err != nil {
		return Result{}, err
	}
	b := &benchmark{options: options, driver: &driver{system: s}, total: len(options.Concurrency) + 3}
	b.result = Result{System: "skald on SQLite and embedded NATS", Sweep: map[string]float64{}, Concurrencies: options.Concurrency}
	b.measure(ctx)
	v, err := s.verify(ctx)
	b.finish(v)
	if closed := s.Close(); err == nil {
		err = closed
	}
	return b.result, err
}

type benchmark struct {
	options     Options
	driver      *driver
	result      Result
	done, total int
}

func (b *benchmark) phase(format string, args ...any) {
	b.options.Report(fmt.Sprintf(format, args...), b.done, b.total)
	b.done++
}

func (b *benchmark) measure(ctx context.Context) {
	r, o := &b.result, b.options
	b.phase("one at a time")
	light := b.driver.closed(ctx, 1, o.Warm, o.For/2, false)
	r.LightP50 = milliseconds(light.quantile(0.5))
	for _, open := range o.Concurrency {
		b.phase("%d open", open)
		w := b.driver.closed(ctx, open, o.Warm, o.For, false)
		r.Sweep[strconv.Itoa(open)] = round(w.perSecond)
		if w.perSecond > r.Happy {
			r.Best, r.Happy, r.FullP50, r.FullP99 = open, round(w.perSecond), milliseconds(w.quantile(0.5)), milliseconds(w.quantile(0.99))
		}
	}
	b.phase("one in ten declined, %d open", r.Best)
	mixed := b.driver.closed(ctx, max(r.Best, 1), o.Warm, o.For, true)
	r.Mixed, r.HalfRate = round(mixed.perSecond), round(r.Happy/2)
	b.phase("half load, %.0f/s", r.HalfRate)
	half := b.driver.paced(ctx, max(r.HalfRate, 1), o.Warm, o.For)
	r.HalfP50, r.HalfP99 = milliseconds(half.quantile(0.5)), milliseconds(half.quantile(0.99))
	for _, l := range half.latencies {
		r.HalfLoad = append(r.HalfLoad, milliseconds(l))
	}
	b.options.Report("done", b.total, b.total)
}

func (b *benchmark) finish(v verdict) {
	r := &b.result
	r.Checked, r.NotTerminal, r.Wrong, r.Duplicates = v.Orders, v.NotTerminal, v.Wrong, v.Duplicates
	r.Errors = b.driver.errors.Load()
	if first := b.driver.failed.Load(); first != nil {
		r.FirstError = (*first).Error()
	}
	r.OK = r.Errors == 0 && v.Orders == b.driver.next.Load() && v.NotTerminal == 0 && v.Wrong == 0 && v.Duplicates == 0
}

func milliseconds(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

func round(x float64) float64 { return float64(int64(x*100+0.5)) / 100 }
