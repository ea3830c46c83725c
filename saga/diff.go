package saga

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skald-go/skald"
)

// Change is one difference between two versions of a definition, in words.
type Change struct {
	// Step is the step that it is about, by its name in the later version if it is there; empty when it is about
	// the whole saga.
	Step string
	// What is different.
	What string
	// Running is what that means for the instances that run with the earlier version; empty when it means
	// nothing to them.
	Running string
}

// String implements [fmt.Stringer].
func (c Change) String() string {
	text := c.What
	if c.Step != "" {
		text = fmt.Sprintf("step %q %s", c.Step, c.What)
	}
	if c.Running != "" {
		text += "; " + c.Running
	}
	return text
}

// Changes are what differs between two versions: of the saga as a whole, then step by step in the order
// of the later version, then what only the earlier one has.
type Changes []Change

// String lists the changes, a line each.
func (c Changes) String() string {
	var b strings.Builder
	for _, change := range c {
		b.WriteString(change.String() + "\n")
	}
	return b.String()
}

// Diff says how two versions of a definition differ, and what that means for instances that run with
// the earlier one. The same two have the same differences, in the same order. There are none when only the numbers of
// the versions differ.
func Diff(before, after *Description) Changes {
	d := differ{before: before, after: after, old: fmt.Sprintf("instances of version %d", before.Version)}
	d.pair()
	for i := range after.Steps {
		d.step(i)
	}
	for i := range before.Steps {
		if step := &before.Steps[i]; !slices.Contains(d.from, i) {
			d.add(step.Name, "is removed: it "+step.Do.does("called", "started"), d.old+" still run it"+d.needs(step.Do, step.Undo))
		}
	}
	return append(d.whole(), d.changes...)
}

type differ struct {
	before, after *Description
	old           string // who runs the earlier version
	// from says for each step of the later version which one of the earlier it was; -1 for none.
	from    []int
	stayed  []bool // which steps of the later version have kept their order
	changes Changes
}

func (d *differ) add(step, what, running string) {
	d.changes = append(d.changes, Change{step, what, running})
}

// whole compares what is not about a step.
func (d *differ) whole() Changes {
	var all Changes
	if d.before.Name != d.after.Name {
		all = append(all, Change{"", fmt.Sprintf("the saga was %q, and is %q", d.before.Name, d.after.Name), "to a service it is another saga: register the old name too until none of its instances is live"})
	}
	if a, b := d.before.Deadline, d.after.Deadline; a != b {
		all = append(all, Change{"", "the saga's deadline was " + span(a) + ", and is " + span(b), d.old + " keep theirs"})
	}
	switch changed := len(all)+len(d.changes) > 0; {
	case !changed || d.before.Name != d.after.Name:
	case d.before.Version == d.after.Version && d.before.script.fingerprint() == d.after.script.fingerprint():
	case d.before.Version == d.after.Version:
		all = slices.Insert(all, 0, Change{"", fmt.Sprintf("the version is %d in both", d.after.Version), "a service that has run the one refuses to start with the other: raise Version"})
	default:
		all = slices.Insert(all, 0, Change{"", fmt.Sprintf("the version was %d, and is %d", d.before.Version, d.after.Version), d.old + " go on with it: keep it registered until none is live"})
	}
	return all
}

// pair finds for each later step the earlier one: that of its name, or else one that is gone and did the
// same, which was renamed.
func (d *differ) pair() {
	index := func(steps []DescribedStep, name string) int {
		return slices.IndexFunc(steps, func(s DescribedStep) bool { return s.Name == name })
	}
	d.from = make([]int, len(d.after.Steps))
	for i := range d.after.Steps {
		d.from[i] = index(d.before.Steps, d.after.Steps[i].Name)
	}
	for i := range d.after.Steps {
		for j := range d.before.Steps {
			gone := index(d.after.Steps, d.before.Steps[j].Name) < 0 && !slices.Contains(d.from, j)
			if d.from[i] < 0 && gone && sameStep(&d.before.Steps[j], &d.after.Steps[i]) {
				d.from[i] = j
			}
		}
	}
	d.stayed = increasing(d.from)
}

// sameStep reports whether two steps of different names do the same elsewhere. Of local ones nobody can tell.
func sameStep(a, b *DescribedStep) bool {
	named := a.Do.Command != "" || a.Do.Child != ""
	return named && a.Do.same(b.Do) && (a.Undo == nil) == (b.Undo == nil) && (a.Undo == nil || a.Undo.same(*b.Undo))
}

// increasing marks the numbers of a longest rising sequence: what has kept its order. -1 is in none.
func increasing(numbers []int) []bool {
	length, next := make([]int, len(numbers)), make([]int, len(numbers))
	best := -1
	for i := len(numbers) - 1; i >= 0; i-- {
		if next[i] = -1; numbers[i] < 0 {
			continue
		}
		for j := i + 1; j < len(numbers); j++ {
			if numbers[j] > numbers[i] && length[j] > length[i] {
				length[i], next[i] = length[j], j
			}
		}
		if length[i]++; best < 0 || length[i] >= length[best] {
			best = i
		}
	}
	marked := make([]bool, len(numbers))
	for ; best >= 0; best = next[best] {
		marked[best] = true
	}
	return marked
}

// step compares a step of the later version with what it was.
func (d *differ) step(i int) {
	b := &d.after.Steps[i]
	if d.from[i] < 0 {
		d.add(b.Name, fmt.Sprintf("is new: %s, %s; it %s", b.Class, behind(d.after.Steps, i), b.Do.does("calls", "starts")), d.old+" do not run it")
		return
	}
	a := &d.before.Steps[d.from[i]]
	if a.Name != b.Name {
		d.add(b.Name, fmt.Sprintf("was called %q", a.Name), d.old+" keep the old name in their history and their messages")
	}
	if !d.stayed[i] {
		d.add(b.Name, fmt.Sprintf("has moved: it stood %s, and stands %s", behind(d.before.Steps, d.from[i]), behind(d.after.Steps, i)), d.old+" keep the old order")
	}
	d.place(a, b)
	if !a.Do.same(b.Do) {
		d.add(b.Name, a.Do.does("called", "started")+", and "+b.Do.does("calls", "starts"), d.old+" keep to the former"+d.needs(a.Do, nil))
	}
	if old, now := a.Do.Refusals, b.Do.Refusals; a.Do.same(b.Do) && !slices.Equal(old, now) {
		d.add(b.Name, fmt.Sprintf("could be refused with %q, and can be with %q", old, now), "")
	}
	if old, now := a.Do.Again, b.Do.Again; !slices.Equal(old, now) {
		d.add(b.Name, fmt.Sprintf("started the saga again when it was refused with %q, and does with %q", old, now), d.old+" go by the former")
	}
	if a.Locked != b.Locked && a.Do.same(b.Do) {
		d.add(b.Name, fmt.Sprintf("was to %s at another's lock, and is to %s", a.Locked, b.Locked), d.old+" go by the former")
	}
	d.undo(a, b)
	d.declared(a, b)
}

// declared compares what a step says of what others see, which means nothing to those that run.
func (d *differ) declared(a, b *DescribedStep) {
	for _, kind := range []struct {
		verb     string
		old, now []skald.Resource
	}{{"read", a.Reads, b.Reads}, {"raise", a.Raises, b.Raises}, {"lower", a.Lowers, b.Lowers}} {
		if !slices.Equal(kind.old, kind.now) {
			d.add(b.Name, fmt.Sprintf("was to %s %q, and is to %s %q", kind.verb, kind.old, kind.verb, kind.now), "")
		}
	}
}

// place compares where a step stands in the saga's shape, and under what terms it runs.
func (d *differ) place(a, b *DescribedStep) {
	if a.Class != b.Class {
		does := d.old + " treat it as before"
		switch ClassCompensatable {
		case a.Class:
			does = d.old + " can still go back behind it"
		case b.Class:
			does = d.old + " cannot go back behind it"
		}
		d.add(b.Name, "was "+a.Class+", and is "+b.Class, does)
	}
	if old, now := branch(a), branch(b); old != now {
		d.add(b.Name, "ran "+old+", and runs "+now, d.old+" run it as before")
	}
	if a.Conditional != b.Conditional {
		if b.Conditional {
			d.add(b.Name, "has a condition now", d.old+" run it always")
		} else {
			d.add(b.Name, "has no condition any more", d.old+" keep theirs")
		}
	}
	if a.Deadline != b.Deadline {
		d.add(b.Name, "had as its deadline "+span(a.Deadline)+", and has "+span(b.Deadline), d.old+" keep theirs, also those that are not set yet")
	}
}

func (d *differ) undo(a, b *DescribedStep) {
	switch {
	case a.Undo == nil && b.Undo != nil:
		d.add(b.Name, "has an undo now: it "+b.Undo.does("calls", "starts"), d.old+" leave it as it is when they go back")
	case a.Undo != nil && b.Undo == nil:
		d.add(b.Name, "has no undo any more: it "+a.Undo.does("called", "started"), d.old+" still undo it"+d.needs(*a.Undo, nil))
	case a.Undo != nil && !a.Undo.same(*b.Undo):
		d.add(b.Name, "has another undo: it "+a.Undo.does("called", "started")+", and "+b.Undo.does("calls", "starts"), d.old+" keep to the former"+d.needs(*a.Undo, nil))
	}
}

// needs says which handlers the earlier version's commands still need.
func (d *differ) needs(do DescribedAction, undo *DescribedAction) string {
	var needed []string
	for _, a := range []*DescribedAction{&do, undo} {
		if a != nil && a.Command != "" {
			needed = append(needed, fmt.Sprintf("%s version %d on channel %s", a.Command, a.Version, a.Channel))
		}
	}
	if needed == nil {
		return ""
	}
	return ": handle " + strings.Join(needed, " and ") + " until none is live"
}

// same reports whether two actions are one, apart from how they may be refused.
func (a DescribedAction) same(b DescribedAction) bool {
	return a.Local == b.Local && a.Wait == b.Wait && a.Child == b.Child && a.Command == b.Command && a.Version == b.Version && a.Channel == b.Channel &&
		a.Locks == b.Locks && a.Unlocks == b.Unlocks
}

// does says what the action does, with the verbs in the tense that is wanted.
func (a DescribedAction) does(calls, starts string) string {
	text := a.acts(calls, starts)
	if a.Locks != "" {
		text += ", and locks " + string(a.Locks)
	}
	if a.Unlocks != "" {
		text += ", and unlocks " + string(a.Unlocks)
	}
	return text
}

func (a DescribedAction) acts(calls, starts string) string {
	switch {
	case a.Command != "":
		return fmt.Sprintf("%s %s version %d on channel %s", calls, a.Command, a.Version, a.Channel)
	case a.Child != "":
		return fmt.Sprintf("%s saga %s version %d", starts, a.Child, a.Version)
	case a.Wait && calls == "called":
		return "waited for a signal"
	case a.Wait:
		return "waits for a signal"
	case calls == "called":
		return "was local"
	default:
		return "is local"
	}
}

func behind(steps []DescribedStep, i int) string {
	if i == 0 {
		return "at the beginning"
	}
	return fmt.Sprintf("behind %q", steps[i-1].Name)
}

func branch(s *DescribedStep) string {
	if s.Group == "" {
		return "by itself"
	}
	return fmt.Sprintf("in branch %d of group %q", s.Branch, s.Group)
}

func span(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return d.String()
}
