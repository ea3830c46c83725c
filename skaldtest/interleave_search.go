package skaldtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// graph is all instants that a scene can be in, and how they follow each other.
type graph struct {
	nodes    []instantNode
	findings map[int][]Finding // of the last instants
}

// instantNode is an instant that was found.
type instantNode struct {
	level int // how many moves lead there, at least
	next  []way
}

// way leads from one instant to another.
type way struct {
	to           int
	label, actor string
}

// pending is an instant that is still to be expanded, and what expanding it came to.
type pending struct {
	node int
	at   *instant
	made []made
	err  error
}

// playAll plays every interleaving. Those that come to the same instant, having done the same to each
// item in the same order, are played on once, and counted.
func playAll(stages []*stage) (Interleaved, error) {
	s := stages[0]
	g := graph{nodes: []instantNode{{}}, findings: map[int][]Finding{}}
	first := s.opening
	known := map[print]int{s.fingerprint(first): 0}
	for level := []pending{{at: first}}; len(level) > 0; {
		expandAll(stages, level)
		var next []pending
		for i := range level {
			p := &level[i]
			if p.err == nil {
				p.err = g.end(s, p)
			}
			if p.err != nil {
				return Interleaved{}, g.explain(p.node, p.err)
			}
			for _, m := range p.made {
				to, there := known[m.print]
				if !there {
					to = len(g.nodes)
					known[m.print] = to
					g.nodes = append(g.nodes, instantNode{level: g.nodes[p.node].level + 1})
					next = append(next, pending{node: to, at: m.next})
				}
				g.nodes[p.node].next = append(g.nodes[p.node].next, way{to, m.label, m.actor})
			}
			*p = pending{}
		}
		if len(g.nodes) > s.config.MaxStates {
			return Interleaved{}, errTooManyStates
		}
		if err := s.ctx.Err(); err != nil {
			return Interleaved{}, err
		}
		level = next
	}
	return g.result(s)
}

func expandAll(stages []*stage, level []pending) {
	var group sync.WaitGroup
	var taken atomic.Int64
	for _, s := range stages {
		group.Go(func() {
			for i := int(taken.Add(1)) - 1; i < len(level); i = int(taken.Add(1)) - 1 {
				level[i].made, level[i].err = s.expand(level[i].at)
			}
		})
	}
	group.Wait()
}

// end notes an instant that may be the last one, and what anomalies lead there.
func (g *graph) end(s *stage, p *pending) error {
	if slices.ContainsFunc(p.made, func(m made) bool { return !m.ends }) {
		return nil
	}
	findings, err := s.judge(p.at)
	g.findings[p.node] = findings
	return err
}

// judge holds a last instant to what is promised of it, and finds its anomalies.
func (s *stage) judge(last *instant) ([]Finding, error) {
	if err := s.checkLast(last); err != nil {
		return nil, err
	}
	h := s.history(last)
	findings := h.Anomalies()
	told := func(f Finding) bool { return f.Anomaly == WriteSkew || !slices.Contains(s.config.Tolerated, f.Anomaly) }
	switch {
	case len(h.Broken) == 0 || slices.ContainsFunc(findings, told):
		return findings, nil
	case len(findings) == 0:
		return nil, fmt.Errorf("in the end the rule %q is broken, although no two sagas disturb each other", h.Broken[0])
	default:
		return nil, fmt.Errorf("in the end the rule %q is broken; there is a %s, which is tolerated", h.Broken[0], findings[0].Anomaly)
	}
}

// result counts.
func (g *graph) result(s *stage) (Interleaved, error) {
	order, err := g.order()
	if err != nil {
		return Interleaved{}, err
	}
	r := Interleaved{States: len(g.nodes), Occurred: map[Anomaly]Occurrence{}}
	r.Courses = g.courses(order, func(int) bool { return true })
	for _, a := range Anomalies() {
		shows := func(end int) bool {
			return slices.ContainsFunc(g.findings[end], func(f Finding) bool { return f.Anomaly == a })
		}
		courses := g.courses(order, shows)
		if courses == 0 {
			continue
		}
		o, err := s.occurrence(a, g.shortest(shows))
		if err != nil {
			return r, err
		}
		o.Courses, o.Share = courses, courses/r.Courses
		r.Occurred[a] = o
	}
	return r, nil
}

// occurrence plays a script again, at whose end an anomaly shows.
func (s *stage) occurrence(a Anomaly, script []string) (Occurrence, error) {
	last, err := s.follow(script)
	if err != nil {
		return Occurrence{}, err
	}
	o := Occurrence{History: s.history(last), Script: strings.Join(script, "\n")}
	for _, f := range o.History.Anomalies() {
		if f.Anomaly == a {
			o.Finding = f
			return o, nil
		}
	}
	return o, fmt.Errorf("skaldtest: played again, this has no %s:\n%s", a, o.Script)
}

// order lists the instants so that each stands before those that lead to it.
func (g *graph) order() ([]int, error) {
	const (
		open = iota + 1
		closed
	)
	state := make([]uint8, len(g.nodes))
	order := make([]int, 0, len(g.nodes))
	type frame struct{ node, next int }
	stack := []frame{{}}
	state[0] = open
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		ways := g.nodes[top.node].next
		if top.next == len(ways) {
			state[top.node] = closed
			order = append(order, top.node)
			stack = stack[:len(stack)-1]
			continue
		}
		to := ways[top.next].to
		top.next++
		switch state[to] {
		case open:
			return nil, g.explain(to, errors.New("something goes round for ever"))
		case closed:
		default:
			state[to] = open
			stack = append(stack, frame{node: to})
		}
	}
	return order, nil
}

// courses counts the interleavings that end in one of the chosen instants.
func (g *graph) courses(order []int, chosen func(end int) bool) float64 {
	count := make([]float64, len(g.nodes))
	for _, node := range order {
		if _, ends := g.findings[node]; ends && chosen(node) {
			count[node] = 1
		}
		for _, w := range g.nodes[node].next {
			count[node] += count[w.to]
		}
	}
	return count[0]
}

// shortest finds the shortest script to one of the chosen instants, and of several the one in which the
// turn passes least often from one saga to another.
func (g *graph) shortest(chosen func(end int) bool) (script []string) {
	type seat struct {
		node  int
		actor string
	}
	type step struct {
		turns int
		from  seat
		label string
	}
	best := map[seat]step{{}: {}}
	for level := []seat{{}}; len(level) > 0; {
		var next []seat
		found, least := seat{}, -1
		for _, at := range level {
			if _, ends := g.findings[at.node]; ends && chosen(at.node) && (least < 0 || best[at].turns < least) {
				found, least = at, best[at].turns
			}
			for _, w := range g.nodes[at.node].next {
				to, turns := seat{w.to, w.actor}, best[at].turns
				if g.nodes[w.to].level != g.nodes[at.node].level+1 {
					continue
				}
				if w.actor != at.actor {
					turns++
				}
				before, there := best[to]
				if !there {
					next = append(next, to)
				}
				if !there || turns < before.turns {
					best[to] = step{turns, at, w.label}
				}
			}
		}
		if least >= 0 {
			for at := found; at.node != 0; at = best[at].from {
				script = append(script, best[at].label)
			}
			slices.Reverse(script)
			return script
		}
		level = next
	}
	return nil
}

// explain tells how a fault was come to.
func (g *graph) explain(node int, fault error) error {
	from := make([]int, len(g.nodes))
	labels := make([]string, len(g.nodes))
	for i := len(g.nodes) - 1; i >= 0; i-- {
		for _, w := range g.nodes[i].next {
			if g.nodes[w.to].level == g.nodes[i].level+1 {
				from[w.to], labels[w.to] = i, w.label
			}
		}
	}
	var script []string
	for ; node != 0; node = from[node] {
		script = append(script, labels[node])
	}
	slices.Reverse(script)
	return faultAfter(script, fault)
}

// faultAfter is a counterexample: a fault, and the script that leads to it.
func faultAfter(script []string, fault error) error {
	c := &Counterexample{Fault: fault.Error()}
	if last := (&Counterexample{}); errors.As(fault, &last) {
		c.Fault, script = last.Fault, append(script, last.Script)
	}
	c.Script = strings.Join(script, "\n")
	return c
}

// follow plays a script, and returns the instant in which it ends.
func (s *stage) follow(script []string) (*instant, error) {
	m := s.opening
	for number, line := range script {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		possible, err := s.expand(m)
		if err != nil {
			return nil, err
		}
		labels := make([]string, len(possible))
		for i := range possible {
			labels[i] = possible[i].label
		}
		i := slices.Index(labels, line)
		if i < 0 {
			return nil, fmt.Errorf("line %d, %q, is not possible at its point; what is:\n%s", number+1, line, strings.Join(labels, "\n"))
		}
		m = possible[i].next
	}
	rest, err := s.expand(m)
	if err == nil && !slices.ContainsFunc(rest, func(d made) bool { return !d.ends }) {
		_, err = s.judge(m)
	}
	return m, err
}
