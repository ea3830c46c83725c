package createorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/skald-go/skald/bench/cluster"
	"github.com/skald-go/skald/lock"
)

// LockResult is one JSON line: what the saga does with semantic locks, or without. The keys are
// the numbers of orders open at one time, and the ratios those to the system without locks in the same
// repetition, of which the median counts.
type LockResult struct {
	System         string               `json:"system"`
	Versions       string               `json:"versions"`
	PerSecond      map[string]float64   `json:"sagas_per_s"`
	Runs           map[string][]float64 `json:"sagas_per_s_runs"`
	CPU            map[string]float64   `json:"cpu_s_per_1000_app_and_postgres"`
	CPURuns        map[string][]float64 `json:"cpu_s_per_1000_runs"`
	CPUSelf        map[string]float64   `json:"cpu_s_per_1000_app"`
	LogPerSaga     map[string]float64   `json:"pg_wal_kib_per_saga"`
	Alone          float64              `json:"one_at_a_time_p50_ms"`
	PerSecondRatio map[string]float64   `json:"sagas_per_s_ratio,omitempty"`
	CPURatio       map[string]float64   `json:"cpu_ratio,omitempty"`
	AloneRatio     float64              `json:"one_at_a_time_ratio,omitempty"`
	Checked        int64                `json:"sagas_verified"`
	NotTerminal    int64                `json:"not_terminal"`
	Wrong          int64                `json:"wrong"`
	Duplicates     int64                `json:"duplicate_executions"`
	Locked         int64                `json:"locks_left"`
	Errors         int64                `json:"errors"`
	FirstError     string               `json:"first_error,omitempty"`
	OK             bool                 `json:"verified_ok"`
	Concurrencies  []int                `json:"-"`
}

// aloneOrders is how many orders are placed one at a time in each repetition.
const aloneOrders = 100

// turn is what one system did in one repetition.
type turn struct {
	alone   float64
	windows []window // by concurrency
}

// CompareLocks measures the saga without semantic locks and with them, for each of the policies. Everybody has
// a turn in every repetition, in the opposite order in every other one. Only the options for PostgreSQL
// count, and of the handlers Plain means plain ones.
func CompareLocks(ctx context.Context, options Options, policies ...lock.Policy) (_ []LockResult, err error) {
	c, err := cluster.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	options.count(c)
	policies = append([]lock.Policy{""}, policies...)
	systems, turns := make([]measured, len(policies)), make([][]turn, len(policies))
	for i, policy := range policies {
		systems[i] = options.locking(c, policy)
	}
	b := &benchmark{options: options, total: len(systems) * options.Repetitions * (1 + len(options.Concurrency))}
	order := make([]int, len(systems))
	for i := range order {
		order[i] = i
	}
	for range options.Repetitions {
		for _, i := range order {
			var t turn
			if err := b.with(ctx, &systems[i], func(ctx context.Context, m *measured, d *driver) (err error) {
				t, err = b.turn(ctx, m, d)
				return err
			}); err != nil {
				return nil, err
			}
			turns[i] = append(turns[i], t)
		}
		slices.Reverse(order)
	}
	b.phase("done")
	results := make([]LockResult, len(systems))
	for i := range systems {
		results[i] = options.lockResult(systems[i].finish(), turns[i], turns[0])
	}
	results[0].PerSecondRatio, results[0].CPURatio, results[0].AloneRatio = nil, nil, 0
	return results, nil
}

func (o Options) locking(c *cluster.Cluster, policy lock.Policy) measured {
	name, form, h := "without locks", form{style: Orchestration, byCommand: o.ByCommand, locks: policy}, batched
	if policy != "" {
		name = "with locks, policy " + string(policy)
	}
	if o.Handlers == Plain {
		name, h = name+", plain handlers", plain
	}
	return measured{
		start:  func(ctx context.Context) (*system, error) { return startPostgreSQL(ctx, c, h, form) },
		result: Result{System: name, Versions: "PostgreSQL " + c.Version, OK: true},
	}
}

// turn runs a system's windows.
func (b *benchmark) turn(ctx context.Context, m *measured, d *driver) (t turn, err error) {
	o := b.options
	b.phase("%s: one at a time", m.result.System)
	light := d.alone(ctx, aloneOrders)
	t.alone = light.quantile(0.5)
	for _, open := range o.Concurrency {
		b.phase("%s: %d open", m.result.System, open)
		before := d.next.Load()
		d.resetCounts()
		t.windows = append(t.windows, d.closed(ctx, open, o.Warm, o.For, false))
		if err := d.writeCounts(o.Statements, m.result.System, before); err != nil {
			return t, err
		}
		if err := m.check(ctx, d); err != nil {
			return t, err
		}
	}
	return t, nil
}

func (o Options) lockResult(r Result, turns, without []turn) LockResult {
	l := LockResult{
		System: r.System, Versions: r.Versions, Checked: r.Checked, NotTerminal: r.NotTerminal, Wrong: r.Wrong, Duplicates: r.Duplicates,
		Locked: r.Locked, Errors: r.Errors, FirstError: r.FirstError, OK: r.OK, Concurrencies: o.Concurrency,
		PerSecond: map[string]float64{}, Runs: map[string][]float64{}, CPURuns: map[string][]float64{}, CPU: map[string]float64{}, CPUSelf: map[string]float64{},
		LogPerSaga: map[string]float64{}, PerSecondRatio: map[string]float64{}, CPURatio: map[string]float64{},
	}
	of := func(turns []turn, f func(t *turn) float64) (list []float64) {
		for i := range turns {
			list = append(list, f(&turns[i]))
		}
		return list
	}
	median := func(f func(t *turn) float64) float64 { return round(medianOf(of(turns, f))) }
	ratio := func(f func(t *turn) float64) float64 {
		ratios := of(turns, f)
		for i, other := range of(without, f) {
			ratios[i] /= other
		}
		return round(medianOf(ratios))
	}
	alone := func(t *turn) float64 { return t.alone }
	l.Alone, l.AloneRatio = median(alone), ratio(alone)
	for i, open := range o.Concurrency {
		key := strconv.Itoa(open)
		perSecond := func(t *turn) float64 { return t.windows[i].perSecond }
		cpu := func(t *turn) float64 { return t.windows[i].used.Self + t.windows[i].used.Server }
		l.Runs[key], l.CPURuns[key] = rounded(of(turns, perSecond)), rounded(of(turns, cpu))
		l.PerSecond[key], l.PerSecondRatio[key] = median(perSecond), ratio(perSecond)
		l.CPU[key], l.CPURatio[key] = median(cpu), ratio(cpu)
		l.CPUSelf[key] = median(func(t *turn) float64 { return t.windows[i].used.Self })
		l.LogPerSaga[key] = median(func(t *turn) float64 { return t.windows[i].used.log / 1024 / 1000 })
	}
	return l
}

func rounded(list []float64) []float64 {
	for i := range list {
		list[i] = round(list[i])
	}
	return list
}

// WriteLockTable compares the results with the first of them.
func WriteLockTable(out io.Writer, results []LockResult) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "system\topen\tsagas/s\t× without\tCPU s/1,000: app+server\t× without\tapp\tWAL KiB\talone, ms\t× without\tverified\t\n")
	for i := range results {
		r := &results[i]
		for _, open := range r.Concurrencies {
			k := strconv.Itoa(open)
			fmt.Fprintf(w, "%s\t%d\t%.0f\t%.3f\t%.3f\t%.3f\t%.3f\t%.1f\t%.1f\t%.3f\t%v\t\n", r.System, open, r.PerSecond[k], r.PerSecondRatio[k],
				r.CPU[k], r.CPURatio[k], r.CPUSelf[k], r.LogPerSaga[k], r.Alone, r.AloneRatio, r.OK)
		}
	}
	return w.Flush()
}
