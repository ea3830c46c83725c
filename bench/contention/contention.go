// Package contention measures sagas that all want the same semantic locks, on PostgreSQL: one thing that each
// of them locks for its whole length, and two things in two services, locked in opposite orders.
package contention

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/bench/cluster"
	"github.com/skald-go/skald/saga"
)

// Options of a run.
type Options struct {
	Sagas       int // in each scenario
	Open        int // at one time
	Repetitions int // whose medians count
	// Patience is how long a scenario may take.
	Patience time.Duration
	// Report is told what comes next, and how many sagas of it have ended.
	Report func(phase string, done, total int)
}

// Result is one JSON line. Latencies are in milliseconds, from the call that starts a saga to its end.
type Result struct {
	Scenario string `json:"scenario"`
	Versions string `json:"versions"`
	Sagas    int    `json:"sagas"`
	Open     int    `json:"open"`
	// Alone is the latency of one that meets nobody.
	Alone     float64   `json:"one_at_a_time_p50_ms"`
	PerSecond float64   `json:"sagas_per_s"`
	All       []float64 `json:"sagas_per_s_runs"`
	Elapsed   float64   `json:"elapsed_s"`
	P50       float64   `json:"p50_ms"`
	Longest   float64   `json:"longest_ms"`
	// Share of the sagas that started again, how often all of them together did for each saga, and how often one
	// of them did at most, in any repetition.
	Share     float64 `json:"started_again_share"`
	Again     float64 `json:"started_again_per_saga"`
	MostAgain int     `json:"started_again_at_most"`
	NotEnded  int     `json:"not_ended"`
	// Wrong counts updates that were lost, things that two sagas had at once, and sagas that ended otherwise than
	// they should.
	Wrong  int    `json:"wrong"`
	Locked int    `json:"locks_left"`
	Held   int    `json:"messages_held"`
	Fault  string `json:"first_error,omitempty"`
	OK     bool   `json:"ok"`
}

// scenario is sagas by turns, and the things that they want.
type scenario struct {
	name   string
	sagas  func(s *system) []*saga.Saga[change]
	things []thing
}

var scenarios = []scenario{
	{"one hot thing, locked by command", func(s *system) []*saga.Saga[change] { return s.called }, []thing{hotTicket}},
	{"one hot thing, locked by the orchestrator's own step", func(s *system) []*saga.Saga[change] { return s.local }, []thing{hotOrder}},
	{"two hot things, locked in opposite orders", func(s *system) []*saga.Saga[change] { return s.opposite }, []thing{hotTicket, hotAccount}},
}

// Run measures the scenarios, each on databases of its own in every repetition.
func Run(ctx context.Context, options Options) (_ []Result, err error) {
	c, err := cluster.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	results := make([]Result, len(scenarios))
	runs := make([][]run, len(scenarios))
	for i, sc := range scenarios {
		results[i] = Result{Scenario: sc.name, Versions: "PostgreSQL " + c.Version, Sagas: options.Sagas, Open: options.Open}
	}
	for range options.Repetitions {
		for i, sc := range scenarios {
			r, err := measure(ctx, c, options, sc)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", sc.name, err)
			}
			runs[i] = append(runs[i], r)
		}
	}
	for i := range results {
		results[i].settle(runs[i])
	}
	return results, nil
}

// run is what was seen of a scenario once.
type run struct {
	alone           []time.Duration // sorted
	latencies       []time.Duration // sorted
	elapsed         time.Duration
	again           []int // of each saga
	notEnded, wrong int
	locked, held    int
	fault           error
}

// aloneSagas is how many sagas are run one at a time.
const aloneSagas = 30

func measure(ctx context.Context, c *cluster.Cluster, o Options, sc scenario) (r run, err error) {
	s, err := start(ctx, c)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	d := driver{sagas: sc.sagas(s), ctx: ctx, report: func(int) {}}
	o.Report(sc.name+": one at a time", 0, o.Sagas)
	for range aloneSagas {
		d.one()
	}
	r.alone, d.latencies = d.latencies, nil
	slices.Sort(r.alone)
	limited, cancel := context.WithTimeoutCause(ctx, o.Patience, fmt.Errorf("not ended after %s", o.Patience))
	defer cancel()
	d.ctx, d.report = limited, func(n int) { o.Report(fmt.Sprintf("%s: %d open", sc.name, o.Open), n-aloneSagas, o.Sagas) }
	var group sync.WaitGroup
	open := make(chan struct{}, o.Open)
	began := time.Now()
	for range o.Sagas {
		open <- struct{}{}
		group.Go(func() {
			d.one()
			<-open
		})
	}
	group.Wait()
	r.elapsed, r.latencies = time.Since(began), d.latencies
	slices.Sort(r.latencies)
	r.notEnded, r.wrong, r.fault = d.notEnded, d.wrong+int(s.twice.Load()), d.fault
	for _, id := range d.ended[min(aloneSagas, len(d.ended)):] {
		entries, err := s.desk.History(ctx, id)
		if err != nil {
			return r, err
		}
		r.again = append(r.again, count(entries, saga.HistoryAgain))
	}
	for _, t := range sc.things {
		value, err := s.value(ctx, t)
		if err != nil {
			return r, err
		}
		r.wrong += max(value-len(d.ended), len(d.ended)-value)
	}
	r.locked, r.held, err = s.left(ctx)
	return r, err
}

func count(entries []saga.Entry, what string) (n int) {
	for i := range entries {
		if entries[i].What == what {
			n++
		}
	}
	return n
}

// driver runs sagas.
type driver struct {
	sagas  []*saga.Saga[change]
	ctx    context.Context //nolint:containedctx // of the run
	report func(ended int) // one at a time

	mu              sync.Mutex
	begun           int
	latencies       []time.Duration
	ended           []skald.ID
	notEnded, wrong int
	fault           error
}

// one runs a saga.
func (d *driver) one() {
	d.mu.Lock()
	n := d.begun
	d.begun++
	d.mu.Unlock()
	key := fmt.Sprint(n)
	began := time.Now()
	outcome, err := d.sagas[n%len(d.sagas)].Run(d.ctx, key, change{By: key})
	took := time.Since(began)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err != nil || !outcome.Status.Ended():
		d.notEnded++
		d.fault = cmp(d.fault, errors.Join(err, fmt.Errorf("saga %s is %s: %s", key, outcome.Status, outcome.Reason)))
	case outcome.Status != saga.Completed:
		d.wrong++
		d.fault = cmp(d.fault, fmt.Errorf("saga %s is %s: %s", key, outcome.Status, outcome.Reason))
	default:
		d.latencies, d.ended = append(d.latencies, took), append(d.ended, outcome.ID)
	}
	d.report(d.notEnded + d.wrong + len(d.ended))
}

// cmp is the first error, if there is one.
func cmp(first, next error) error {
	if first != nil {
		return first
	}
	return next
}
