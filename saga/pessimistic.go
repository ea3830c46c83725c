package saga

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
)

// effects are what a step declares of what others see.
type effects struct{ reads, raises, lowers []skald.Resource }

func (e effects) none() bool { return len(e.reads)+len(e.raises)+len(e.lowers) == 0 }

// and joins what two steps declare.
func (e effects) and(o effects) effects {
	return effects{union(e.reads, o.reads), union(e.raises, o.raises), union(e.lowers, o.lowers)}
}

func union(a, b []skald.Resource) []skald.Resource {
	all := slices.Clone(a)
	for _, r := range b {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

// meets reports whether one step writes what another reads or writes: their order matters.
func (e effects) meets(o effects) bool {
	common := func(a, b []skald.Resource) bool {
		return slices.ContainsFunc(a, func(r skald.Resource) bool { return slices.Contains(b, r) })
	}
	written, others := union(e.raises, e.lowers), union(o.raises, o.lowers)
	return common(written, others) || common(written, o.reads) || common(e.reads, others)
}

// declare notes what a step says of itself, and what the steps of its child say.
func (c *compiler[S]) declare(step string, e effects) {
	for _, kind := range []struct {
		verb      string
		resources []skald.Resource
	}{{"reads", e.reads}, {"raises", e.raises}, {"lowers", e.lowers}} {
		for i, r := range kind.resources {
			if err := r.Validate(); err != nil {
				c.fault("step %q: it %s a resource that has no proper name: %w", step, kind.verb, err)
			}
			if slices.Contains(kind.resources[:i], r) {
				c.fault("step %q: it %s %q twice: say it once", step, kind.verb, r)
			}
		}
	}
	for _, r := range e.raises {
		if slices.Contains(e.lowers, r) {
			c.fault("step %q: it both raises and lowers %q: make two steps of it, or, if it does either, say what is worse before the saga is decided: that it raises", step, r)
		}
	}
	if do := c.script.do[step]; do != nil && do.child != nil {
		for _, member := range do.child.family() {
			for _, declared := range member.effects {
				e = e.and(declared)
			}
		}
		slices.Sort(e.reads)
		slices.Sort(e.raises)
		slices.Sort(e.lowers)
	}
	c.script.effects[step] = e
}

// View is what the order of a definition's steps means for those who read meanwhile: the countermeasure
// pessimistic view.
type View struct {
	Given, Proposed Sequence
	// Reasons say what is wrong with the given order, and why steps move or cannot.
	Reasons []string
}

// Sequence is an order of steps.
type Sequence struct {
	Steps []PlacedStep
	Risk  Risk
}

// PlacedStep is a step's place in a sequence.
type PlacedStep struct {
	Name  string
	Class string // as [DescribedStep] has it
	// Group is that of parallel branches; empty for none.
	Group string
}

// String lists the steps, the pivot and those behind it apart.
func (s Sequence) String() string {
	var b strings.Builder
	class := ""
	for i := range s.Steps {
		step := &s.Steps[i]
		if i > 0 {
			b.WriteString(", ")
		}
		if step.Class != class && step.Class != ClassCompensatable {
			b.WriteString(map[string]string{ClassPivot: "the pivot ", ClassRetriable: "then "}[step.Class])
		}
		class = step.Class
		fmt.Fprintf(&b, "%q", step.Name)
	}
	return b.String()
}

// Risk of a sequence, for those who read meanwhile. Less is better: first of what is raised, then of what
// is lowered late, then of what is lowered early.
type Risk struct {
	// Raised counts, for each resource that is raised before the saga is decided, the steps that may still undo it: others
	// take what is then taken back.
	Raised int
	// Late counts the resources that are lowered behind the pivot: others may have taken them, and the saga cannot
	// go back.
	Late int
	// Lowered counts, for each resource that is lowered before the saga is decided, the steps that may still undo it: others
	// are refused what would be there. Nobody acts on too much.
	Lowered int
}

// PessimisticView looks at the order of a definition's steps by what they declare: what saga steps lower
// belongs before the decision, and what they raise behind it or into it, so that others see too little rather than too much
// (Frank and Zahle 1998; Richardson, Microservices Patterns, section 4.3.2). It takes a definition that
// [Register] refuses for its order only, and proposes the one with the least risk. In that, steps keep their class, except
// that one which raises may move behind the pivot; a step that reads or writes what an earlier one writes, or writes what that
// reads, stays behind it; one that declares nothing stays where it is, as do the leading local steps, which run at the
// start, and the branches of a group stay together.
func PessimisticView[S any](definition Definition[S]) (*View, error) {
	s, err := assemble(&definition).result()
	if err != nil {
		return nil, err
	}
	return s.view(), nil
}

// raisedEarly refuses what is raised before the saga is decided.
func (s *script) raisedEarly() (faults []error) {
	var proposed Sequence
	for _, step := range s.given() {
		raises := s.effects[step.name].raises
		if step.exposure == 0 || len(raises) == 0 {
			continue
		}
		if proposed.Steps == nil {
			proposed = s.view().Proposed
		}
		what := "move it behind the pivot"
		if why := s.stuck(step.name); why != "" {
			what = "make it the pivot, or make it move behind that, which it cannot: " + why
		}
		faults = append(faults, fmt.Errorf("step %q: raises %q before the saga is decided, and %d steps may still undo it, when others have taken it: %s; the order of the least risk: %s",
			step.name, raises, step.exposure, what, proposed))
	}
	return faults
}

// standing is a step in an order.
type standing struct {
	name  string
	class machine.Class
	group int
	// exposure is how many steps may still undo it.
	exposure int
}

// given is the order of the definition.
func (s *script) given() []standing {
	var all []standing
	for i := range s.machine.Steps {
		step := &s.machine.Steps[i]
		all = append(all, standing{name: step.Name, class: step.Class, group: step.Group})
	}
	return exposed(all)
}

// exposed counts for each step which of the others may fail when it is done.
func exposed(steps []standing) []standing {
	for i := range steps {
		a := &steps[i]
		a.exposure = 0
		for j := range steps {
			b := &steps[j]
			beside := a.group > 0 && a.group == b.group && i != j
			if a.class == machine.Compensatable && b.class != machine.Retriable && (j > i || beside) {
				a.exposure++
			}
		}
	}
	return steps
}

func (s *script) view() *View {
	given := s.given()
	v := &View{Given: s.sequence(given)}
	kept, moved := []standing(nil), []standing(nil)
	for _, step := range given {
		e := s.effects[step.name]
		switch why := s.stuck(step.name); {
		case step.exposure == 0 || len(e.raises) == 0:
			kept = append(kept, step)
		case why != "":
			kept = append(kept, step)
			v.Reasons = append(v.Reasons, fmt.Sprintf("step %q raises %q while %d steps may still undo it, and cannot move behind the pivot: %s", step.name, e.raises, step.exposure, why))
		default:
			step.class = machine.Retriable
			moved = append(moved, step)
			v.Reasons = append(v.Reasons, fmt.Sprintf("step %q raises %q while %d steps may still undo it: it moves behind the pivot, where it needs no undo and must not be refused", step.name, e.raises, step.exposure))
		}
	}
	undecided := slices.IndexFunc(kept, func(step standing) bool { return step.class != machine.Compensatable })
	if undecided < 0 {
		undecided = len(kept)
	}
	retriable := slices.IndexFunc(kept, func(step standing) bool { return step.class == machine.Retriable })
	if retriable < 0 {
		retriable = len(kept)
	}
	early := s.reorder(kept[:undecided], retriable-undecided, v)
	v.Proposed = s.sequence(exposed(slices.Concat(early, kept[undecided:retriable], moved, kept[retriable:])))
	s.late(v)
	return v
}

// late says what is lowered too late, and what is not known at all.
func (s *script) late(v *View) {
	silent := true
	for _, step := range s.given() {
		e := s.effects[step.name]
		silent = silent && e.none()
		if step.class == machine.Retriable && len(e.lowers) > 0 {
			v.Reasons = append(v.Reasons, fmt.Sprintf("step %q lowers %q behind the pivot: others may have taken it by then, and the saga cannot go back: lower it before, with an undo", step.name, e.lowers))
		}
	}
	if silent {
		v.Reasons = append(v.Reasons, "no step says what it reads, raises or lowers: nothing is known")
	}
}

func (s *script) sequence(steps []standing) Sequence {
	var q Sequence
	for _, step := range steps {
		placed := PlacedStep{Name: step.name, Class: className(step.class)}
		if step.group > 0 {
			placed.Group = s.groups[step.group-1]
		}
		q.Steps = append(q.Steps, placed)
		e := s.effects[step.name]
		q.Risk.Raised += step.exposure * len(e.raises)
		q.Risk.Lowered += step.exposure * len(e.lowers)
		if step.class == machine.Retriable {
			q.Risk.Late += len(e.lowers)
		}
	}
	return q
}

// stuck says why a compensatable step cannot move behind the pivot; empty when it can.
func (s *script) stuck(name string) string {
	at := slices.IndexFunc(s.machine.Steps, func(step machine.Step) bool { return step.Name == name })
	step, e, do := &s.machine.Steps[at], s.effects[name], s.do[name]
	switch {
	case step.Group > 0:
		return fmt.Sprintf("it is in the group %q: take it out of that", s.groups[step.Group-1])
	case do == nil:
		return "it has no Do"
	case len(do.refusals) > 0:
		return fmt.Sprintf("it can be refused (%s): make a step before the pivot of what refuses", strings.Join(do.refusals, ", "))
	case do.kind == machine.Wait, do.kind == machine.Child:
		return "it can be refused: make a step before the pivot of what refuses"
	case len(e.lowers) > 0:
		return fmt.Sprintf("it lowers %q as well: make two steps of it", e.lowers)
	}
	for i := at + 1; i < len(s.machine.Steps) && s.machine.Steps[i].Class != machine.Retriable; i++ {
		other := s.machine.Steps[i].Name
		if then := s.effects[other]; then.none() {
			return fmt.Sprintf("step %q does not say whether it depends on it: say what it reads", other)
		} else if e.meets(then) {
			return fmt.Sprintf("step %q depends on it", other)
		}
	}
	return ""
}

// block is a step, or a group, in the order before the pivot.
type block struct {
	steps          []standing
	effects        effects
	fixed          bool
	raises, lowers int  // how often
	needs          uint // the blocks that stay before it, as bits
}

// maxReordered blocks are looked at in every order.
const maxReordered = 16

// reorder finds the order of the least risk among those that keep what depends on each other as it is; of several, the
// one that is nearest to the given.
func (s *script) reorder(steps []standing, pivots int, v *View) []standing {
	blocks := s.blocks(steps)
	if len(blocks) > maxReordered {
		v.Reasons = append(v.Reasons, fmt.Sprintf("%d steps before the pivot: too many to look at every order; they keep theirs", len(blocks)))
		return steps
	}
	order := leastRisk(blocks, pivots)
	var all []standing
	for i, stayed := range increasing(order) {
		b := &blocks[order[i]]
		all = append(all, b.steps...)
		if stayed {
			continue
		}
		what := "changes nothing that others see: what fails there is undone before anybody has seen it"
		if b.raises+b.lowers > 0 {
			what = "is seen by others until the saga is decided: the fewer steps may undo it, the better"
		}
		v.Reasons = append(v.Reasons, fmt.Sprintf("step %q moves: what it does %s", b.steps[0].name, what))
	}
	return all
}

func (s *script) blocks(steps []standing) []block {
	var blocks []block
	leading := true
	for i, step := range steps {
		e := s.effects[step.name]
		do := s.do[step.name]
		leading = leading && step.group == 0 && do != nil && do.kind == machine.Local
		if i == 0 || step.group == 0 || steps[i-1].group != step.group {
			blocks = append(blocks, block{})
		}
		b := &blocks[len(blocks)-1]
		b.steps = append(b.steps, step)
		b.effects = b.effects.and(e)
		b.fixed = b.fixed || e.none() || leading
		b.raises += len(e.raises)
		b.lowers += len(e.lowers)
	}
	for i := range blocks {
		for j := range blocks[:i] {
			if a, b := &blocks[j], &blocks[i]; a.fixed || b.fixed || a.effects.meets(b.effects) {
				b.needs |= 1 << j
			}
		}
	}
	return blocks
}

// leastRisk returns the numbers of the blocks in the order of the least risk. It goes over all sets of blocks that may
// stand in front, which is enough: the risk of what is behind does not depend on their order.
func leastRisk(blocks []block, pivots int) []int {
	type cost struct {
		known                     bool
		raised, lowered, disorder int
		last                      int
	}
	less := func(a, b cost) bool {
		return slices.Compare([]int{a.raised, a.lowered, a.disorder}, []int{b.raised, b.lowered, b.disorder}) < 0
	}
	all := uint(1)<<len(blocks) - 1
	costs := make([]cost, all+1)
	costs[0].known = true
	for set := uint(1); set <= all; set++ {
		behind := pivots // the steps behind this set
		for i := range blocks {
			if set&(1<<i) == 0 {
				behind += len(blocks[i].steps)
			}
		}
		for i := range blocks {
			b, before := &blocks[i], set&^(1<<i)
			if before == set || !costs[before].known || b.needs&^before != 0 {
				continue
			}
			c := costs[before]
			exposure := behind + len(b.steps) - 1
			c.raised += b.raises * exposure
			c.lowered += b.lowers * exposure
			c.disorder += bits.OnesCount(^set & (1<<i - 1))
			c.last = i
			if !costs[set].known || less(c, costs[set]) {
				costs[set] = c
			}
		}
	}
	order := make([]int, len(blocks))
	for set, at := all, len(blocks)-1; at >= 0; at-- {
		order[at] = costs[set].last
		set &^= 1 << costs[set].last
	}
	return order
}
