package skaldtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald/saga"
)

// visit is a moment that was found, and how.
type visit struct {
	parent int
	label  string
}

// found is a moment that is still to be expanded, and what expanding it came to.
type found struct {
	at     int // its visit
	moment *moment
	steps  []step
	err    error
}

// search looks at every moment, the nearest first, so that the first counterexample has the
// shortest script. The worlds, which are alike, expand moments of the same distance side by side.
func search(worlds []*world) (Explored, error) {
	began := time.Now()
	w := worlds[0]
	explored := Explored{Endings: map[saga.Status]int{}}
	visits := []visit{{parent: -1}}
	first := w.first()
	known := map[print]bool{w.fingerprint(first): true}
	for level := []found{{moment: first}}; len(level) > 0; {
		expand(worlds, level)
		var next []found
		for i := range level {
			f := &level[i]
			if f.err == nil && !slices.ContainsFunc(f.steps, func(s step) bool { return !s.extra }) {
				f.err = w.checkEnd(f.moment)
				if len(f.moment.sagas) > 0 {
					explored.Endings[f.moment.sagas[0].Status]++
				}
			}
			if f.err != nil {
				return explored, counterexample(visits, f.at, f.err)
			}
			for _, s := range f.steps {
				if known[s.print] {
					continue
				}
				known[s.print] = true
				next = append(next, found{at: len(visits), moment: s.next})
				visits = append(visits, visit{f.at, s.label})
				if err := w.check(f.moment, s.next); err != nil {
					return explored, counterexample(visits, len(visits)-1, err)
				}
			}
			*f = found{} // its databases are not needed any more
			if len(visits) > w.config.maxStates {
				return explored, fmt.Errorf("more than %d states: raise MaxStates, or explore a definition with fewer steps", w.config.maxStates)
			}
		}
		if err := w.ctx.Err(); err != nil {
			return explored, err
		}
		level = next
	}
	explored.States, explored.Elapsed = len(visits), time.Since(began)
	for _, w := range worlds {
		explored.Batches += w.batches
	}
	return explored, nil
}

// expand expands every moment of a level.
func expand(worlds []*world, level []found) {
	var group sync.WaitGroup
	var taken atomic.Int64
	for _, w := range worlds {
		group.Go(func() {
			for i := int(taken.Add(1)) - 1; i < len(level); i = int(taken.Add(1)) - 1 {
				level[i].steps, level[i].err = w.expand(level[i].moment)
			}
		})
	}
	group.Wait()
}

// counterexample tells how a fault was come to.
func counterexample(visits []visit, at int, fault error) error {
	var script []string
	for i := at; i > 0; i = visits[i].parent {
		script = append(script, visits[i].label)
	}
	slices.Reverse(script)
	c := &Counterexample{Fault: fault.Error()}
	if last := (&Counterexample{}); errors.As(fault, &last) {
		c.Fault, script = last.Fault, append(script, last.Script)
	}
	c.Script = strings.Join(script, "\n")
	return c
}

// follow runs a script, and returns the first fault. A script that ends where the saga cannot go
// on is held to what is promised of an end.
func (w *world) follow(script []string) error {
	m := w.first()
	for number, line := range script {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		steps, err := w.expand(m)
		if c := (&Counterexample{}); errors.As(err, &c) && c.Script == line {
			return err
		}
		i := slices.IndexFunc(steps, func(s step) bool { return s.label == line })
		if err == nil && i < 0 {
			err = impossible(number+1, line, steps)
		}
		if err != nil {
			return err
		}
		if err := w.check(m, steps[i].next); err != nil {
			return err
		}
		m = steps[i].next
	}
	steps, err := w.expand(m)
	if err == nil && !slices.ContainsFunc(steps, func(s step) bool { return !s.extra }) {
		err = w.checkEnd(m)
	}
	return err
}

func impossible(number int, line string, steps []step) error {
	labels := make([]string, len(steps))
	for i, s := range steps {
		labels[i] = s.label
	}
	return fmt.Errorf("line %d, %q, is not possible at its point; what is:\n%s", number, line, strings.Join(labels, "\n"))
}
