package skaldtest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// sampled is one course that was drawn.
type sampled struct {
	script   []string
	last     *instant
	findings []Finding
	err      error
}

// sample draws courses as in "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs" (Burckhardt et
// al., 2010): each saga gets a random priority, the first that can go on does, and at random moments the one whose
// turn it is falls behind all others. Every second course has aborts, at random moments.
func sample(stages []*stage) (Interleaved, error) {
	s := stages[0]
	r := Interleaved{Sampled: true, Seed: s.config.Seed, Courses: float64(s.config.Samples), Occurred: map[Anomaly]Occurrence{}}
	if s.config.Samples == 0 {
		return r, errors.New("skaldtest: the scene has more states than MaxStates, and Samples is -1")
	}
	drawn := drawAll(stages)
	if err := s.ctx.Err(); err != nil {
		return r, err
	}
	for n := range drawn {
		d := &drawn[n]
		if d.err != nil {
			return r, fmt.Errorf("seed %d, sample %d: %w", s.config.Seed, n+1, faultAfter(d.script, d.err))
		}
		for _, a := range Anomalies() {
			i := slices.IndexFunc(d.findings, func(f Finding) bool { return f.Anomaly == a })
			if i < 0 {
				continue
			}
			o := r.Occurred[a]
			if o.Courses == 0 || len(d.script) < strings.Count(o.Script, "\n")+1 {
				o.Finding, o.History, o.Script = d.findings[i], s.history(d.last), strings.Join(d.script, "\n")
			}
			o.Courses++
			o.Share = o.Courses / r.Courses
			r.Occurred[a] = o
		}
	}
	return r, nil
}

// drawAll draws the samples, or those up to the first that fails.
func drawAll(stages []*stage) []sampled {
	drawn := make([]sampled, stages[0].config.Samples)
	length := max(1, len(stages[0].draw(0, 100).script)) // about
	var group sync.WaitGroup
	var last sync.Mutex // guards until
	until := len(drawn)
	for i, s := range stages {
		group.Go(func() {
			for n := i; s.ctx.Err() == nil; n += len(stages) {
				last.Lock()
				over := n >= until
				last.Unlock()
				if over {
					return
				}
				if drawn[n] = s.draw(uint64(n)+1, length); drawn[n].err != nil { // the first that fails is told
					last.Lock()
					until = min(until, n)
					last.Unlock()
				}
			}
		})
	}
	group.Wait()
	return drawn
}

// priorities order the sagas of one course.
type priorities struct {
	random *rand.Rand
	of     map[string]float64
	least  float64
}

func (p *priorities) get(actor string) float64 {
	if _, there := p.of[actor]; !there {
		p.of[actor] = p.random.Float64()
	}
	return p.of[actor]
}

// fall puts an actor behind all others.
func (p *priorities) fall(actor string) {
	p.least--
	p.of[actor] = p.least
}

// maxCourse is how many moves a course has at most: one that is longer never ends.
const maxCourse = 1000

// draw plays one course.
func (s *stage) draw(number uint64, length int) (d sampled) {
	random := rand.New(rand.NewPCG(s.config.Seed, number))
	p := &priorities{random: random, of: map[string]float64{}}
	changes, aborts := moments(random, s.config.Changes-1, length), moments(random, s.config.Aborts, length)
	if number%2 == 0 {
		aborts = nil
	}
	d.last = s.opening
	for step := 0; ; step++ {
		next, err := s.drawMove(d.last, p, aborts[step])
		if err == nil && step == s.longest {
			err = fmt.Errorf("after %d moves it has not ended: something goes on for ever", step)
		}
		if err != nil {
			d.err = err
			return d
		}
		if next == nil {
			d.findings, d.err = s.judge(d.last)
			return d
		}
		if changes[step] {
			p.fall(next.actor)
		}
		d.script, d.last = append(d.script, next.label), next.next
	}
}

// moments draws at which steps something happens.
func moments(random *rand.Rand, n, length int) map[int]bool {
	chosen := map[int]bool{}
	for range n {
		chosen[random.IntN(length)] = true
	}
	return chosen
}

// drawMove makes the first move that changes anything, by the priorities; nil when there is none.
func (s *stage) drawMove(m *instant, p *priorities, abort bool) (*made, error) {
	moves := s.moves(m)
	random := p.random.Perm(len(moves)) // among the moves of one saga
	rank := make(map[string]int, len(moves))
	for i, v := range moves {
		rank[v.label] = random[i]
	}
	slices.SortStableFunc(moves, func(a, b move) int {
		if a.aborts != b.aborts && a.aborts == abort {
			return -1
		} else if a.aborts != b.aborts {
			return 1
		}
		return cmp.Or(cmp.Compare(p.get(b.actor), p.get(a.actor)), cmp.Compare(rank[a.label], rank[b.label]))
	})
	here := s.fingerprint(m)
	for _, v := range slices.Concat(moves, s.timers(m)) {
		if v.aborts && !abort {
			continue
		}
		next, err := s.makeMove(m, &v)
		if err != nil {
			return nil, err
		}
		if s.fingerprint(next) != here {
			return &made{label: v.label, actor: v.actor, next: next}, nil
		}
	}
	return nil, nil
}
