package skaldtest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
)

// MaxExploredSteps is how many steps a definition that is explored may have.
const MaxExploredSteps = 8

// ExploreOption changes what [Explore] and [Replay] do.
type ExploreOption func(*exploreConfig)

type exploreConfig struct {
	state     any
	leaves    []string
	signals   []signal
	failures  int // in one course, at most; 0 for any number
	maxStates int

	// Set by this package's own tests, to break what is explored.
	wrapStore func(*Store) inbox.Store
	wrapReply func(home *Store, next inbox.Handle) inbox.Handle
	ackFirst  bool
}

// From gives the state that the saga starts with, of the definition's type; its zero value by
// default.
func From(state any) ExploreOption { return func(c *exploreConfig) { c.state = state } }

// LeavesEffects names compensatable steps that leave something behind when they land: a saga that
// ends compensated must have undone them. Steps that have an Undo are named already.
func LeavesEffects(steps ...string) ExploreOption {
	return func(c *exploreConfig) { c.leaves = append(c.leaves, steps...) }
}

// signal is what may be told to a step that waits.
type signal struct {
	step    string
	content any
}

// Signals adds what may be told to a step that waits, beside the empty content of its type: a decision
// that refuses, for example.
func Signals(step string, contents ...any) ExploreOption {
	return func(c *exploreConfig) {
		for _, content := range contents {
			c.signals = append(c.signals, signal{step, content})
		}
	}
}

// Failures bounds how many attempts of handlers fail in one course; 0 bounds each message by itself, at
// two. Defaults to 0, and to 1 for a definition with groups or children, of which each further failure
// multiplies the courses.
func Failures(n int) ExploreOption { return func(c *exploreConfig) { c.failures = n } }

// MaxStates bounds the exploration; a definition with more states fails the test. Defaults to
// a million.
func MaxStates(n int) ExploreOption { return func(c *exploreConfig) { c.maxStates = n } }

// Explored is what an exploration has seen.
type Explored struct {
	// States that differ, and the batches that were run to find them.
	States, Batches int
	// Endings counts the different ways to come to each end: the saga's status.
	Endings map[saga.Status]int
	Elapsed time.Duration
}

// String is a line for a test's log.
func (e Explored) String() string {
	var ends []string
	for status, n := range e.Endings {
		ends = append(ends, fmt.Sprintf("%s %d", status, n))
	}
	slices.Sort(ends)
	return fmt.Sprintf("%d states, %d batches, ends: %s, in %s", e.States, e.Batches, strings.Join(ends, ", "), e.Elapsed.Round(time.Millisecond))
}

// Counterexample is what went wrong, and the shortest script that leads there.
type Counterexample struct {
	Fault string
	// Script has one action in each line; [Replay] runs it.
	Script string
}

// Error implements error.
func (c *Counterexample) Error() string { return c.Fault + "\n\n" + c.Script }

// Explore runs every course that a saga of the definition can take, with the shipped engine and
// the shipped inbox on in-memory twins, and fails the test with a script when one breaks a
// promise. See the package's documentation.
func Explore[S any](t testing.TB, definition saga.Definition[S], options ...ExploreOption) Explored {
	t.Helper()
	explored, err := explore(t.Context(), definition, options)
	if err != nil {
		t.Fatalf("saga %q: %v", definition.Name, err)
	}
	t.Logf("saga %q: %s", definition.Name, explored)
	return explored
}

// Replay runs a script that [Explore] has printed, and fails the test if the promise that it
// broke is still broken: the counterexample becomes a regression test.
func Replay[S any](t testing.TB, definition saga.Definition[S], script string, options ...ExploreOption) {
	t.Helper()
	if err := replay(t.Context(), definition, script, options); err != nil {
		t.Fatalf("saga %q: %v", definition.Name, err)
	}
}

func explore[S any](ctx context.Context, definition saga.Definition[S], options []ExploreOption) (Explored, error) {
	worlds := make([]*world, runtime.GOMAXPROCS(0))
	for i := range worlds {
		w, err := newWorld(ctx, definition, options)
		if err != nil {
			return Explored{}, err
		}
		defer w.close()
		worlds[i] = w
	}
	return search(worlds)
}

func replay[S any](ctx context.Context, definition saga.Definition[S], script string, options []ExploreOption) error {
	w, err := newWorld(ctx, definition, options)
	if err != nil {
		return err
	}
	defer w.close()
	return w.follow(strings.FieldsFunc(script, func(r rune) bool { return r == '\n' }))
}

// exploredKey is the business key of the one saga that is explored.
const exploredKey = "explored"

func newWorld[S any](ctx context.Context, definition saga.Definition[S], options []ExploreOption) (*world, error) {
	description, err := saga.Describe(definition)
	if err != nil {
		return nil, err
	}
	config := exploreConfig{maxStates: 1_000_000}
	if len(description.Children) > 0 || slices.ContainsFunc(description.Steps, func(s saga.DescribedStep) bool { return s.Group != "" }) {
		config.failures = 1
	}
	for _, option := range options {
		option(&config)
	}
	var state S
	if config.state != nil {
		given, ok := config.state.(S)
		if !ok {
			return nil, fmt.Errorf("from a state of type %T: the definition's is %T", config.state, state)
		}
		state = given
	}
	w := &world{ctx: ctx, config: config, description: description}
	if err := w.name(); err != nil {
		return nil, err
	}
	if err := w.build(); err != nil {
		return nil, err
	}
	handle := saga.RegisterAround(w, definition, w.local)
	if err := w.home.consumer.RegisterLocks(homeReplies, w.engine.Resources()...); err != nil {
		return nil, err
	}
	w.start = func(ctx context.Context, tx skald.Tx) error { return handle.Start(ctx, tx, exploredKey, state) }
	w.cancel = func(ctx context.Context, tx skald.Tx) error { return handle.Cancel(ctx, tx, exploredKey, "explored") }
	return w, w.engine.Check(ctx)
}
