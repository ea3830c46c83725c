package skaldtest

import (
	"slices"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

// OperationKind says what an operation does to its item.
type OperationKind string

// The kinds of operations.
const (
	// OperationRead sees the item's value.
	OperationRead OperationKind = "read"
	// OperationWrite puts another value into its place, whatever is there.
	OperationWrite OperationKind = "write"
	// OperationAdd changes the value by a difference: additions of several sagas commute, and none overwrites another.
	OperationAdd OperationKind = "add"
)

// Operation is what one step of a saga does to one item, for example a row.
type Operation struct {
	// Saga names the instance. What a child does is its root's.
	Saga string
	// Step and Action, do or undo ([skald.ActionDo], [skald.ActionUndo]), say in which local transaction.
	Step, Action string
	// Round counts how often the saga has started again, and Transaction the local transactions of all sagas,
	// in the order of their commits, from 1.
	Round, Transaction int
	Kind               OperationKind
	Item               string
	// Value that was read or written; of an addition the difference.
	Value string
}

func (o *Operation) undo() bool    { return o.Action == skald.ActionUndo }
func (o *Operation) changes() bool { return o.Kind != OperationRead }

// History is what several sagas did to common data: the operations in the order in which their
// local transactions committed, each of which is serializable and so without anomalies of its own.
type History struct {
	Operations []Operation
	// Ended is how each saga came out; one that is not in it has not ended.
	Ended map[string]saga.Status
	// Broken names the rules that held in the beginning, and in the end do not.
	Broken []string
}

// Anomaly is a way in which sagas disturb each other, for want of isolation. The names are those of Berenson et
// al., "A Critique of ANSI SQL Isolation Levels", and of Adya, "Weak Consistency", with a saga in the place of a
// transaction, as in Richardson's "Microservices Patterns", chapter 4: a saga is committed when it is completed,
// and aborted when it is compensated; its local transactions are its operations.
type Anomaly string

// The anomalies.
const (
	// DirtyRead: a saga that is completed has read, in a do, what a do of another saga had changed and an
	// undo of it took back later (Adya's G1a, aborted reads; A1 of Berenson et al.).
	DirtyRead Anomaly = "dirty read"
	// LostUpdate: a saga writes an item that another saga has changed since the first one began, and since it has last
	// read or written the item, if ever; and the other saga does not take its change back, or does so by an addition to
	// what has lost it (P4 of Berenson et al., and what Richardson calls overwriting without reading). An undo that
	// puts an old value back is such a write. An addition overwrites nothing. A saga begins with its first operation,
	// or with the first of the transaction that starts it.
	LostUpdate Anomaly = "lost update"
	// FuzzyRead: a saga that is completed has read an item twice, in dos, and the second value is not the one that
	// it knew, because another saga has changed it in between (A2 of Berenson et al.; Adya's G-single on one item).
	FuzzyRead Anomaly = "fuzzy read"
	// WriteSkew: two completed sagas have each read something that the other changed afterwards, neither has written
	// what the other has written, and a rule is broken in the end (A5B of Berenson et al.; a cycle of two
	// anti-dependencies, Adya's G2-item).
	WriteSkew Anomaly = "write skew"
)

// Anomalies lists all of them.
func Anomalies() []Anomaly { return []Anomaly{DirtyRead, LostUpdate, FuzzyRead, WriteSkew} }

// Finding is an anomaly in a history.
type Finding struct {
	Anomaly Anomaly
	// Saga is disturbed by Other.
	Saga, Other string
	// Item on which that shows.
	Item string
	// At has the operations that show it, as numbers in the history, in order.
	At []int
}

// trail is one item's operations, as numbers in the history.
type trail []int

// historian answers questions about one history.
type historian struct {
	*History
	items  []string
	trails map[string]trail
	rounds map[string]int // the last of each saga
	begins map[string]int // the first operation of each saga
}

// Anomalies finds every anomaly, each disturbed operation once.
func (h *History) Anomalies() []Finding {
	r := historian{History: h, trails: map[string]trail{}, rounds: map[string]int{}, begins: map[string]int{}}
	for i := range h.Operations {
		o := &h.Operations[i]
		if r.trails[o.Item] == nil {
			r.items = append(r.items, o.Item)
		}
		r.trails[o.Item] = append(r.trails[o.Item], i)
		r.rounds[o.Saga] = max(r.rounds[o.Saga], o.Round)
		if _, begun := r.begins[o.Saga]; !begun {
			r.begins[o.Saga] = i
		}
	}
	var found []Finding
	for _, item := range r.items {
		t := r.trails[item]
		for place := range t {
			found = append(found, r.dirtyRead(t, place)...)
			found = append(found, r.lostUpdate(t, place)...)
		}
		found = append(found, r.fuzzyReads(t)...)
	}
	return append(found, r.writeSkews()...)
}

// counts reports whether an operation is one that its saga has acted on: it is completed, and has not
// started again since.
func (r *historian) counts(o *Operation) bool {
	return !o.undo() && r.Ended[o.Saga] == saga.Completed && o.Round == r.rounds[o.Saga]
}

// takenBack finds the place at which the saga of a do's change undoes it: by the undo of that step, or
// else by any of its undos. It is the trail's length when it never does.
func (r *historian) takenBack(t trail, place int) int {
	do, back := &r.Operations[t[place]], len(t)
	if do.undo() {
		return back
	}
	for later := place + 1; later < len(t); later++ {
		o := &r.Operations[t[later]]
		if o.Saga != do.Saga || !o.undo() || !o.changes() {
			continue
		}
		if o.Step == do.Step {
			return later
		}
		back = min(back, later)
	}
	return back
}

// dirtyRead looks whether the operation at a place of a trail reads what is taken back later.
func (r *historian) dirtyRead(t trail, place int) []Finding {
	read := &r.Operations[t[place]]
	if read.Kind != OperationRead || !r.counts(read) {
		return nil
	}
	for before := place - 1; before >= 0; before-- {
		o := &r.Operations[t[before]]
		if back := r.takenBack(t, before); o.Saga != read.Saga && o.changes() && !o.undo() && back > place && back < len(t) {
			return []Finding{{DirtyRead, read.Saga, o.Saga, read.Item, []int{t[before], t[place], t[back]}}}
		}
		if o.Kind == OperationWrite { // it hides what was there before
			return nil
		}
	}
	return nil
}

// lostUpdate looks whether the operation at a place of a trail overwrites what its saga has not seen.
func (r *historian) lostUpdate(t trail, place int) []Finding {
	write := &r.Operations[t[place]]
	if write.Kind != OperationWrite {
		return nil
	}
	seen := place - 1 // the last that the saga knows of; -1 for none
	for ; seen >= 0; seen-- {
		if o := &r.Operations[t[seen]]; o.Saga == write.Saga && o.Kind != OperationAdd {
			break
		}
	}
	for before := place - 1; before > seen; before-- {
		o := &r.Operations[t[before]]
		if o.Saga == write.Saga || !o.changes() || t[before] < r.begins[write.Saga] {
			continue
		}
		back := r.takenBack(t, before)
		lost := back == len(t) || back > place && r.Operations[t[back]].Kind == OperationAdd // which adds to what has not got it
		if o.undo() {                                                                        // together with its do nothing is lost, unless the do was seen
			lost = !r.doneWithin(t, seen+1, before)
		}
		if !lost {
			continue
		}
		at := []int{t[before], t[place]}
		if seen >= 0 {
			at = append([]int{t[seen]}, at...)
		}
		return []Finding{{LostUpdate, o.Saga, write.Saga, write.Item, at}}
	}
	return nil
}

// doneWithin reports whether what an undo at a place takes back was done from a place on.
func (r *historian) doneWithin(t trail, from, undo int) bool {
	for place := from; place < undo; place++ {
		o := &r.Operations[t[place]]
		if o.Saga == r.Operations[t[undo]].Saga && o.changes() && r.takenBack(t, place) <= undo {
			return true
		}
	}
	return false
}

// knowledge is what a saga knows of an item.
type knowledge struct {
	any     bool
	value   string
	at      int // where it learned it
	foreign int // the last change by another saga since; -1 for none
}

// fuzzyReads finds the reads that see another value than the one that their saga knows.
func (r *historian) fuzzyReads(t trail) []Finding {
	var found []Finding
	known := map[string]*knowledge{}
	for _, i := range t {
		o := &r.Operations[i]
		k := known[o.Saga]
		if k == nil {
			k = &knowledge{foreign: -1}
			known[o.Saga] = k
		}
		if o.changes() {
			for other, k := range known {
				if other != o.Saga {
					k.foreign = i
				}
			}
		}
		if !r.counts(o) {
			continue
		}
		if o.Kind == OperationAdd {
			k.add(o.Value)
			continue
		}
		if o.Kind == OperationRead && k.any && k.foreign >= 0 && k.value != o.Value {
			found = append(found, Finding{FuzzyRead, o.Saga, r.Operations[k.foreign].Saga, o.Item, []int{k.at, k.foreign, i}})
		}
		*k = knowledge{true, o.Value, i, -1}
	}
	return found
}

// add is the knowledge after an addition of one's own.
func (k *knowledge) add(difference string) {
	value, bad := strconv.ParseInt(k.value, 10, 64)
	by, worse := strconv.ParseInt(difference, 10, 64)
	if bad != nil || worse != nil {
		k.any = false
		return
	}
	k.value = strconv.FormatInt(value+by, 10)
}

// antiDependency says that a saga has read what another changed afterwards.
type antiDependency struct{ read, change int }

// writeSkews finds pairs of sagas that depend on each other so.
func (r *historian) writeSkews() []Finding {
	if len(r.Broken) == 0 {
		return nil
	}
	dependencies := map[[2]string]antiDependency{}
	var pairs [][2]string
	for _, item := range r.items {
		for i, read := range r.trails[item] {
			for _, change := range r.trails[item][i+1:] {
				a, b := &r.Operations[read], &r.Operations[change]
				if a.Kind != OperationRead || !b.changes() || a.Saga == b.Saga || !r.counts(a) || !r.counts(b) {
					continue
				}
				pair := [2]string{a.Saga, b.Saga}
				if _, there := dependencies[pair]; !there {
					dependencies[pair], pairs = antiDependency{read, change}, append(pairs, pair)
				}
			}
		}
	}
	var found []Finding
	for _, pair := range pairs {
		one := dependencies[pair]
		other, mutual := dependencies[[2]string{pair[1], pair[0]}]
		if !mutual || pair[0] > pair[1] || r.overwrite(pair[0], pair[1]) {
			continue
		}
		found = append(found, Finding{WriteSkew, pair[0], pair[1], r.Operations[one.read].Item, inOrder(one.read, one.change, other.read, other.change)})
	}
	return found
}

// overwrite reports whether two sagas have written one item.
func (r *historian) overwrite(a, b string) bool {
	for _, t := range r.trails {
		var writes [2]bool
		for _, i := range t {
			o := &r.Operations[i]
			if o.Kind == OperationWrite {
				writes[0] = writes[0] || o.Saga == a
				writes[1] = writes[1] || o.Saga == b
			}
		}
		if writes[0] && writes[1] {
			return true
		}
	}
	return false
}

func inOrder(at ...int) []int {
	slices.Sort(at)
	return slices.Compact(at)
}
