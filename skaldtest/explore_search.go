package skaldtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skald-go/skald/saga"
)

// visit is a moment that was found, and how.
type visit struct {
	parent int
	label  string
}

// search looks at every moment, the nearest first, so that the first counterexample has the
// shortest script.
func (w *world) search() (Explored, error) {
	began := time.Now()
	found := Explored{Endings: map[saga.Status]int{}}
	visits := []visit{{parent: -1}}
	first := w.first()
	frontier := map[int]*moment{0: first}
	known := map[print]bool{w.fingerprint(first): true}
	for i := 0; i < len(visits); i++ {
		m := frontier[i]
		delete(frontier, i)
		steps, err := w.expand(m)
		if err == nil && !slices.ContainsFunc(steps, func(s step) bool { return !s.extra }) {
			err = w.checkEnd(m)
			if len(m.sagas) > 0 {
				found.Endings[m.sagas[0].Status]++
			}
		}
		if err != nil {
			return found, counterexample(visits, i, err)
		}
		for _, s := range steps {
			if known[s.print] {
				continue
			}
			known[s.print] = true
			frontier[len(visits)] = s.next
			visits = append(visits, visit{i, s.label})
			if err := w.check(m, s.next); err != nil {
				return found, counterexample(visits, len(visits)-1, err)
			}
		}
		if len(visits) > w.config.maxStates {
			return found, fmt.Errorf("more than %d states: raise MaxStates, or explore a definition with fewer steps", w.config.maxStates)
		}
		if err := w.ctx.Err(); err != nil {
			return found, err
		}
	}
	found.States, found.Batches, found.Elapsed = len(visits), w.batches, time.Since(began)
	return found, nil
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
