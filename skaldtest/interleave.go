package skaldtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald/service"
)

// Scene is what [Interleave] plays: services, each on a twin of its own, and what comes to them from
// outside. It is set up several times, to be played on several processors: whoever sets it up keeps
// nothing between.
type Scene struct {
	stage *stage
}

// Service makes a service on a twin. Register its handlers and sagas as for [service.Service.Run], which
// is not called.
func (s *Scene) Service(name string) *service.Service { return s.stage.addService(name) }

// Given writes what a service's database has in the beginning.
func (s *Scene) Given(name string, write func(tx *Tx)) {
	s.stage.given = append(s.stage.given, given{name, write})
}

// Do is something that comes from outside, once, at any moment: it starts a saga, mostly, in a transaction of
// the service. An error says that it cannot come yet: nothing of it has happened. What cannot come in any
// interleaving fails the test.
func (s *Scene) Do(what, name string, do func(ctx context.Context, tx *Tx) error) {
	s.stage.cues = append(s.stage.cues, cue{what: what, service: name, do: do})
}

// Rule is what has to hold when all sagas have ended.
func (s *Scene) Rule(name string, holds func(d Data) bool) {
	s.stage.rules = append(s.stage.rules, rule{name, holds})
}

type given struct {
	service string
	write   func(tx *Tx)
}

type cue struct {
	what, service string
	do            func(ctx context.Context, tx *Tx) error
	fault         error // why it did not come the last time that it was tried
}

type rule struct {
	name  string
	holds func(d Data) bool
}

// Data is what the services' databases hold.
type Data struct {
	stage *stage
	of    *instant
}

// Get returns a business value of a service.
func (d Data) Get(service, table, key string) string {
	return d.List(service, table)[key]
}

// List returns a table of business values of a service, by key.
func (d Data) List(service, table string) map[string]string {
	p := d.stage.player(service)
	if p == nil {
		return nil
	}
	return newView(&d.of.databases[p.index].tables).list(table)
}

// Interleaving configures [Interleave].
type Interleaving struct {
	// Aborts is how many sagas are refused, cancelled or late in one course, at most: at any step. Defaults to 1;
	// -1 for none.
	Aborts int
	// Tolerated anomalies do not fail the test; the result says how often each occurs. A broken rule fails it all the same, unless
	// a write skew that is tolerated breaks it.
	Tolerated []Anomaly
	// MaxStates that differ, up to which every interleaving is run. What has more is sampled. Defaults
	// to 50,000; -1 samples at once.
	MaxStates int
	// Samples of what is too large. Defaults to 1,000.
	Samples int
	// Changes of the priorities in one sample, the d of Burckhardt et al.: an anomaly that takes that many
	// changes is found with a known probability. Defaults to 3.
	Changes int
	// Seed of the samples. Defaults to 1.
	Seed uint64
}

func (c Interleaving) withDefaults() Interleaving {
	for field, value := range map[*int]int{&c.Aborts: 1, &c.MaxStates: 50_000, &c.Samples: 1000, &c.Changes: 3} {
		if *field == 0 {
			*field = value
		}
		*field = max(*field, 0)
	}
	if c.Seed == 0 {
		c.Seed = 1
	}
	return c
}

// Interleaved is what came of all interleavings, or of the samples.
type Interleaved struct {
	// Courses is the number of interleavings.
	Courses float64
	// Sampled says that these are not all of them, and Seed by what they were drawn.
	Sampled bool
	Seed    uint64
	// States that differ, unless it was sampled, and the batches that were run.
	States, Batches int
	// Occurred has the anomalies that were found.
	Occurred map[Anomaly]Occurrence
	Elapsed  time.Duration
}

// Occurrence is how often an anomaly occurs, and the shortest way to it.
type Occurrence struct {
	// Courses in which it occurs.
	Courses float64
	// Share of all.
	Share float64
	Finding
	// History of the shortest course, and the script that [ReplayInterleaving] takes.
	History History
	Script  string
}

// String tells what was found, and how.
func (o Occurrence) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, in %.3g %% of the interleavings: %q is disturbed by %q on %s\n\n%s\n", o.Anomaly, 100*o.Share, o.Saga, o.Other, o.Item, o.Script)
	b.WriteString("\nwhat they read and wrote:\n")
	for i := range o.History.Operations {
		op := &o.History.Operations[i]
		mark := " "
		if slices.Contains(o.At, i) {
			mark = "*"
		}
		fmt.Fprintf(&b, "%s %s: %s %q: %s %s = %q\n", mark, op.Saga, op.Action, op.Step, op.Kind, op.Item, op.Value)
	}
	for _, name := range slices.Sorted(maps.Keys(o.History.Ended)) {
		fmt.Fprintf(&b, "  %s: %s\n", name, o.History.Ended[name])
	}
	return b.String()
}

// String is a line for a test's log.
func (r Interleaved) String() string {
	what := fmt.Sprintf("all, %d states", r.States)
	if r.Sampled {
		what = fmt.Sprintf("sampled, seed %d", r.Seed)
	}
	line := fmt.Sprintf("%.0f interleavings (%s), %d batches, in %s", r.Courses, what, r.Batches, r.Elapsed.Round(time.Millisecond))
	for _, a := range Anomalies() {
		if o, ok := r.Occurred[a]; ok {
			line += fmt.Sprintf("; %s %.2f %%", a, 100*o.Share)
		}
	}
	return line
}

// Interleave plays a scene of several sagas in every order in which their messages may arrive, with the shipped
// engine, inbox and services on in-memory twins, and fails the test when in one of them a saga disturbs another
// (see [Anomaly]), a rule is broken, a saga never ends, or a message is parked. See the package's documentation.
func Interleave(t testing.TB, config Interleaving, set func(s *Scene)) Interleaved {
	t.Helper()
	result, err := interleave(t.Context(), config, set)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(result)
	for _, a := range Anomalies() {
		if o, ok := result.Occurred[a]; ok && !slices.Contains(config.Tolerated, a) {
			t.Errorf("%s", o)
		}
	}
	return result
}

// ReplayInterleaving plays a scene as a script of [Interleave] says, and fails the test in the same cases.
func ReplayInterleaving(t testing.TB, config Interleaving, script string, set func(s *Scene)) {
	t.Helper()
	findings, err := replayInterleaving(t.Context(), config, script, set)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if !slices.Contains(config.Tolerated, f.Anomaly) {
			t.Errorf("%s: %q is disturbed by %q on %s", f.Anomaly, f.Saga, f.Other, f.Item)
		}
	}
}

// errTooManyStates says that a scene has to be sampled.
var errTooManyStates = errors.New("skaldtest: more states than MaxStates")

func interleave(ctx context.Context, config Interleaving, set func(s *Scene)) (Interleaved, error) {
	config = config.withDefaults()
	stages := make([]*stage, runtime.GOMAXPROCS(0))
	for i := range stages {
		s, err := newStage(ctx, config, set)
		if err != nil {
			return Interleaved{}, err
		}
		defer s.close()
		stages[i] = s
	}
	began := time.Now()
	result, err := playAll(stages)
	if errors.Is(err, errTooManyStates) {
		result, err = sample(stages)
	}
	if err == nil {
		err = neverCame(stages)
	}
	result.Elapsed = time.Since(began)
	for _, s := range stages {
		result.Batches += s.batches
	}
	return result, err
}

// neverCame tells what did not come from outside in any course: the scene is not what it seems to be.
func neverCame(stages []*stage) error {
	came := uint64(0)
	for _, s := range stages {
		came |= s.came
	}
	var faults []error
	for i := range stages[0].cues {
		for _, s := range stages {
			if c := &s.cues[i]; came&(1<<i) == 0 && c.fault != nil {
				faults = append(faults, fmt.Errorf("skaldtest: %q comes in no interleaving: %w", c.what, c.fault))
				break
			}
		}
	}
	return errors.Join(faults...)
}

func replayInterleaving(ctx context.Context, config Interleaving, script string, set func(s *Scene)) ([]Finding, error) {
	s, err := newStage(ctx, config.withDefaults(), set)
	if err != nil {
		return nil, err
	}
	defer s.close()
	at, err := s.follow(strings.FieldsFunc(script, func(r rune) bool { return r == '\n' }))
	if err != nil {
		return nil, err
	}
	h := s.history(at)
	return h.Anomalies(), nil
}

func newStage(ctx context.Context, config Interleaving, set func(s *Scene)) (*stage, error) {
	s := &stage{ctx: ctx, config: config, logger: slog.New(slog.DiscardHandler), longest: maxCourse}
	set(&Scene{s})
	return s, s.open()
}
