package createorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/skald-go/skald/bench/cluster"
	"github.com/skald-go/skald/bench/process"
	"github.com/skald-go/skald/store/postgres"
)

// The databases to run on.
const (
	SQLite     = "sqlite"
	PostgreSQL = "postgres"
)

// The forms of handlers on PostgreSQL.
const (
	Plain = "plain"
	Batch = "batch"
	Both  = "both"
)

// The styles in which the saga is coordinated: step by step, with branches beside each other, or by
// events.
const (
	Orchestration = "orchestration"
	Parallel      = "parallel"
	Choreography  = "choreography"
	AllStyles     = "all"
)

// Options of a run.
type Options struct {
	// Store is SQLite or PostgreSQL.
	Store string
	// Handlers is Plain, Batch or Both, on PostgreSQL. Defaults to Both.
	Handlers string
	// Style is Orchestration, or on PostgreSQL Parallel, Choreography or AllStyles. Defaults to
	// Orchestration.
	Style string
	// ByCommand has the orders' service approve an order by a command to itself, in place of a local
	// step.
	ByCommand bool
	// Floor measures the same statements without any library as well, on PostgreSQL.
	Floor bool
	// Statements, when set, is where the statements of each system's last window at its best
	// concurrency are listed, on PostgreSQL. Counting costs some time.
	Statements  io.Writer
	Concurrency []int
	// Repetitions of the best, of half its rate, and with one card in ten declined.
	Repetitions int
	Warm, For   time.Duration
	// Report is told what comes next, and how many phases there are.
	Report func(phase string, done, total int)
}

// Run measures on databases and a broker in temporary folders, one result for each system.
// Repetitions take turns, so that what drifts on the machine does so for all systems.
func Run(ctx context.Context, options Options) (_ []Result, err error) {
	systems, end, err := options.systems(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	b := &benchmark{options: options, total: len(systems) * (1 + len(options.Concurrency) + 3*options.Repetitions)}
	for i := range systems {
		if err := b.with(ctx, &systems[i], b.sweep); err != nil {
			return nil, err
		}
	}
	for range options.Repetitions {
		for i := range systems {
			if err := b.with(ctx, &systems[i], b.repeat); err != nil {
				return nil, err
			}
		}
	}
	b.phase("done")
	results := make([]Result, len(systems))
	for i := range systems {
		results[i] = systems[i].finish()
	}
	return results, nil
}

// measured is a system and what was seen of it.
type measured struct {
	start              func(ctx context.Context) (*system, error)
	result             Result
	happy, half, mixed []window
}

func (m *measured) finish() Result {
	r := &m.result
	r.settle(m.happy, m.half, m.mixed)
	r.OK = r.Errors == 0 && r.NotTerminal == 0 && r.Wrong == 0 && r.Duplicates == 0 && r.Locked == 0 && r.OK
	return *r
}

// systems are those to be measured; end removes what they share.
func (o Options) systems(ctx context.Context) (all []measured, end func() error, err error) {
	add := func(name, versions string, start func(ctx context.Context) (*system, error)) {
		result := Result{System: name, Versions: versions, Sweep: map[string]float64{}, Concurrencies: o.Concurrency, OK: true}
		all = append(all, measured{start: start, result: result})
	}
	styles, err := o.styles()
	if err != nil {
		return nil, nil, err
	}
	if o.Store == SQLite {
		add("skald on SQLite and embedded NATS", "", func(ctx context.Context) (*system, error) {
			return startInFolder(ctx, form{style: Orchestration, byCommand: o.ByCommand})
		})
		return all, func() error { return nil }, nil
	}
	c, err := cluster.Start(ctx)
	if err != nil {
		return nil, nil, err
	}
	versions := "PostgreSQL " + c.Version
	o.count(c)
	floor := func(name string, kind floorKind) {
		add(name, versions, func(ctx context.Context) (*system, error) { return startFloor(ctx, c, kind) })
	}
	if o.Floor {
		floor("floor-batched", together)
	}
	for _, style := range styles {
		skald := func(h string, handlers handlers[*postgres.Tx]) {
			if chosen := cmp.Or(o.Handlers, Both); chosen == h || chosen == Both {
				add(titles[style]+", "+h+" handlers", versions, func(ctx context.Context) (*system, error) {
					return startPostgreSQL(ctx, c, handlers, form{style: style, byCommand: o.ByCommand})
				})
			}
		}
		skald(Batch, batched)
		skald(Plain, plain)
	}
	if o.Floor {
		floor("floor-bare", bare)
		floor("floor-tx", inTransaction)
	}
	return all, c.Close, nil
}

// count has the statements of the databases to be created counted, if they are to be listed.
func (o Options) count(c *cluster.Cluster) {
	if o.Statements == nil {
		return
	}
	c.Counts = map[string]*cluster.Count{}
	for _, name := range names {
		c.Counts[name] = &cluster.Count{}
	}
}

// titles are the styles' systems.
var titles = map[string]string{Orchestration: "skald", Parallel: "skald with branches", Choreography: "skald choreographed"}

func (o Options) styles() ([]string, error) {
	switch {
	case o.Style == "" || o.Style == Orchestration:
		return []string{Orchestration}, nil
	case o.Store == SQLite:
		return nil, fmt.Errorf("style %q: only on %s", o.Style, PostgreSQL)
	case o.Style == AllStyles:
		return []string{Orchestration, Parallel, Choreography}, nil
	case titles[o.Style] == "":
		return nil, fmt.Errorf("style %q: there is %s, %s, %s and %s", o.Style, Orchestration, Parallel, Choreography, AllStyles)
	default:
		return []string{o.Style}, nil
	}
}

func startInFolder(ctx context.Context, f form) (*system, error) {
	dir, err := os.MkdirTemp("", "skald-bench-")
	if err != nil {
		return nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	s, err := startSQLite(ctx, filepath.Clean(dir), f)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	s.ends = append([]func() error{remove}, s.ends...)
	return s, nil
}

type benchmark struct {
	options     Options
	done, total int
}

func (b *benchmark) phase(format string, args ...any) {
	b.options.Report(fmt.Sprintf(format, args...), b.done, b.total)
	b.done++
}

// with runs part of the benchmark on a system that is started for it.
func (b *benchmark) with(ctx context.Context, m *measured, part func(context.Context, *measured, *driver) error) (err error) {
	const first = 20 // orders, which open connections and fill caches
	s, err := m.start(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", m.result.System, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	process.ForgetPeak()
	if err := s.empty(ctx); err != nil {
		return err
	}
	d := &driver{system: s}
	d.alone(ctx, first)
	if err := part(ctx, m, d); err != nil {
		return fmt.Errorf("%s: %w", m.result.System, err)
	}
	if m.result.Errors += d.faults.count.Load(); m.result.FirstError == "" && d.faults.first.Load() != nil {
		m.result.FirstError = (*d.faults.first.Load()).Error()
	}
	return nil
}

// sweep finds out what one order takes, and at which concurrency most of them end.
func (b *benchmark) sweep(ctx context.Context, m *measured, d *driver) error {
	const alone = 50 // orders
	r, o := &m.result, b.options
	b.phase("%s: one at a time", r.System)
	light := d.alone(ctx, alone)
	r.LightP50 = round(light.quantile(0.5))
	for _, open := range o.Concurrency {
		b.phase("%s: %d open", r.System, open)
		w := d.closed(ctx, open, o.Warm, o.For*2/3, false)
		if err := m.check(ctx, d); err != nil {
			return err
		}
		r.Sweep[strconv.Itoa(open)] = round(w.perSecond)
		if w.perSecond > r.Happy {
			r.Best, r.Happy = open, w.perSecond
		}
	}
	if r.Best == 0 {
		return fmt.Errorf("no order ended: %w", *d.faults.first.Load())
	}
	r.HalfRate = max(1, round(r.Happy/2))
	return nil
}

// repeat is one repetition: as fast as possible, the same with declined cards, and at half the rate.
func (b *benchmark) repeat(ctx context.Context, m *measured, d *driver) error {
	r, o := &m.result, b.options
	b.phase("%s: %d open", r.System, r.Best)
	before := d.next.Load()
	d.resetCounts()
	m.happy = append(m.happy, d.closed(ctx, r.Best, o.Warm, o.For, false))
	if err := d.writeCounts(o.Statements, r.System, before); err != nil {
		return err
	}
	if err := m.check(ctx, d); err != nil {
		return err
	}
	b.phase("%s: %d open, one card in ten declined", r.System, r.Best)
	m.mixed = append(m.mixed, d.closed(ctx, r.Best, o.Warm, o.For, true))
	if err := m.check(ctx, d); err != nil {
		return err
	}
	b.phase("%s: half load, %.0f/s", r.System, r.HalfRate)
	m.half = append(m.half, d.paced(ctx, r.HalfRate, o.Warm, o.For))
	r.PeakMiB = max(r.PeakMiB, float64(process.Peak()))
	return m.check(ctx, d)
}

// check verifies what was started since the last check, and begins anew.
func (m *measured) check(ctx context.Context, d *driver) error {
	started := d.next.Load() - d.checked
	v, err := d.system.settled(ctx, started)
	if err != nil {
		return err
	}
	r := &m.result
	r.Checked += v.Orders
	r.NotTerminal += v.NotTerminal
	r.Wrong += v.Wrong
	r.Duplicates += v.Duplicates
	r.Locked += v.Locked
	r.OK = r.OK && v.holds(started)
	d.checked = d.next.Load()
	return d.system.empty(ctx)
}
