package saga

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
)

type ticket struct {
	Order string `json:"order"`
	ID    string `json:"id"`
}

type state struct {
	Order, Ticket string
}

func (s state) ticket() ticket { return ticket{s.Order, s.Ticket} }

func (s *state) created(t ticket) { s.Ticket = t.ID }

var (
	create = skald.Command[ticket, ticket]{Name: "kitchen.create", Channel: "kitchen"}
	reject = skald.Command[ticket, ticket]{Name: "kitchen.reject", Channel: "kitchen"}
	charge = skald.Command[ticket, ticket]{Name: "bank.charge", Channel: "bank"}
)

func local(context.Context, skald.Tx, *state) error { return nil }

// byOrder builds the undo from what was known before Do.
func byOrder(s state) ticket { return ticket{Order: s.Order} }

func decided(*state, bool) error { return nil }

func child(d Definition[state]) ChildAction[state, state] {
	return Child(d, func(s state) (string, state) { return s.Order, s })
}

// grouped adds a group of the branches to the definition.
func grouped(branches ...[]Compensatable[state]) func(d *Definition[state]) {
	return func(d *Definition[state]) {
		if branches == nil {
			branches = [][]Compensatable[state]{}
		}
		d.Compensatable = append(d.Compensatable, Compensatable[state]{Name: "beside", Parallel: branches})
	}
}

func definition(name string) Definition[state] {
	return Definition[state]{
		Name: name,
		Compensatable: []Compensatable[state]{
			{Name: "create order", Do: Local(local), Undo: Local(local)},
			{Name: "create ticket", Do: Call(create, state.ticket).Then((*state).created), Undo: Call(reject, byOrder)},
		},
		Pivot:     Step[state]{Name: "charge", Do: Call(charge, state.ticket), Bar: time.Minute},
		Retriable: []Step[state]{{Name: "approve", Do: Local(local)}},
	}
}

func TestASoundDefinitionCompiles(t *testing.T) {
	d := definition("order.create")
	if _, err := compile(&d); err != nil {
		t.Fatal(err)
	}
}

func TestAFaultyDefinitionIsRefusedWithTheFix(t *testing.T) {
	for name, c := range map[string]struct {
		change func(d *Definition[state])
		say    string
	}{
		"no name":              {func(d *Definition[state]) { d.Name = "" }, "name"},
		"no steps":             {func(d *Definition[state]) { *d = Definition[state]{Name: "x"} }, "no steps"},
		"no Do":                {func(d *Definition[state]) { d.Retriable[0].Do = nil }, "no Do"},
		"a nameless step":      {func(d *Definition[state]) { d.Retriable[0].Name = "" }, "a name of"},
		"two of a name":        {func(d *Definition[state]) { d.Retriable[0].Name = "charge" }, "two steps have this name"},
		"undo from the reply":  {func(d *Definition[state]) { d.Compensatable[1].Undo = Call(reject, state.ticket) }, "built from Do's reply"},
		"undo elsewhere":       {func(d *Definition[state]) { d.Compensatable[1].Undo = Call(charge, byOrder) }, "both must go to one"},
		"undo of a local step": {func(d *Definition[state]) { d.Compensatable[0].Undo = Call(reject, byOrder) }, "make it two steps"},
		"local undo in the dark": {func(d *Definition[state]) {
			d.Compensatable[1].Undo, d.Compensatable[1].Deadline = Local(local), time.Second
		}, "make Undo a call"},
		"undo with an answer": {func(d *Definition[state]) {
			d.Compensatable[1].Undo = Call(reject, byOrder).Then((*state).created)
		}, "records its reply"},
		"bar after the pivot": {func(d *Definition[state]) { d.Retriable[0].Bar = time.Second }, "only a pivot has a bar"},
		"bar of a local one":  {func(d *Definition[state]) { d.Pivot.Do = Local(local) }, "needs no bar"},
		"negative deadline":   {func(d *Definition[state]) { d.Compensatable[0].Deadline = -1 }, "not negative"},
		"refused after pivot": {func(d *Definition[state]) {
			d.Retriable[0].Do = Call(create, state.ticket).Refused(func(*state, skald.Refusal) {})
		}, "Refused after the pivot"},
		"a nil function": {func(d *Definition[state]) {
			d.Retriable[0].Do = Local[state, skald.Tx](nil)
		}, "the function is nil"},
		"nothing to ask with": {func(d *Definition[state]) {
			d.Retriable[0].Do = Call[state](create, nil)
		}, "the function is nil"},
		"nothing to record with": {func(d *Definition[state]) {
			d.Pivot.Do = Call(create, state.ticket).Then(nil)
		}, "given to Then is nil"},
		"an empty action": {func(d *Definition[state]) {
			d.Retriable[0].Do = CallAction[state, ticket]{}
		}, "make it with Local, Call, Wait or Child"},
		"a negative deadline of all":   {func(d *Definition[state]) { d.Deadline = -1 }, "deadline -1ns: not negative"},
		"a deadline that nothing ends": {func(d *Definition[state]) { d.Deadline, d.Pivot.Bar = time.Hour, 0 }, "give the pivot a Bar"},
		"a group of nothing":           {grouped(), "give at least two"},
		"a group of one":               {grouped([]Compensatable[state]{{Name: "one", Do: Local(local)}}), "put the steps into the sequence"},
		"an empty branch":              {grouped([]Compensatable[state]{{Name: "one", Do: Local(local)}}, nil), "branch 2 has no steps"},
		"a group in a group": {grouped(
			[]Compensatable[state]{{Name: "one", Do: Local(local)}}, []Compensatable[state]{{Name: "two", Parallel: [][]Compensatable[state]{}}},
		), "make it a Child"},
		"a group that does something": {func(d *Definition[state]) {
			d.Compensatable[0].Parallel = [][]Compensatable[state]{{{Name: "one", Do: Local(local)}}, {{Name: "two", Do: Local(local)}}}
		}, "a name and branches only"},
		"two groups of a name": {func(d *Definition[state]) {
			one := Compensatable[state]{Name: "both", Parallel: [][]Compensatable[state]{{{Name: "one", Do: Local(local)}}, {{Name: "two", Do: Local(local)}}}}
			two := Compensatable[state]{Name: "both", Parallel: [][]Compensatable[state]{{{Name: "three", Do: Local(local)}}, {{Name: "four", Do: Local(local)}}}}
			d.Compensatable = append(d.Compensatable, one, two)
		}, "two groups have this name"},
		"a wait without a deadline":   {func(d *Definition[state]) { d.Compensatable[0] = Compensatable[state]{Name: "boss", Do: Wait(decided)} }, "waits without a Deadline"},
		"a pivot that waits for ever": {func(d *Definition[state]) { d.Pivot = Step[state]{Name: "boss", Do: Wait(decided)} }, "waits without a Bar"},
		"a wait that is undone": {func(d *Definition[state]) {
			d.Compensatable[0].Do, d.Compensatable[0].Deadline = Wait(decided), time.Hour
		}, "leaves nothing to undo"},
		"an undo that waits": {func(d *Definition[state]) { d.Compensatable[0].Undo = Wait(decided) }, "waits for nobody"},
		"a wait that records nothing": {func(d *Definition[state]) {
			d.Retriable[0].Do = Wait[state, bool](nil)
		}, "records what was decided"},
		"a wait for an interface": {func(d *Definition[state]) {
			d.Retriable[0].Do = Wait(func(*state, any) error { return nil })
		}, "content of type interface {}, an interface: nothing could be decoded into it"},
		"a deadline of a local step": {func(d *Definition[state]) { d.Compensatable[0].Deadline = time.Second }, "Do is local and has a Deadline"},
		"a child undoes":             {func(d *Definition[state]) { d.Compensatable[0].Undo = child(definition("order.undo")) }, "only a child is undone by a child"},
		"a child without a start": {func(d *Definition[state]) {
			d.Retriable[0].Do = Child[state](definition("order.child"), nil)
		}, "makes its key and state"},
		"a faulty child":         {func(d *Definition[state]) { d.Retriable[0].Do = child(Definition[state]{Name: "empty"}) }, "no steps"},
		"a child that is itself": {func(d *Definition[state]) { d.Retriable[0].Do = child(definition("order.create")) }, `saga "order.create" would start itself`},
		"a cycle of children": {func(d *Definition[state]) {
			middle := definition("order.middle")
			middle.Retriable[0].Do = child(definition("order.create"))
			d.Retriable[0].Do = child(middle)
		}, `saga "order.create" would start itself, as a child of "order.middle"`},
		"nothing to record of a child": {func(d *Definition[state]) {
			d.Retriable[0].Do = child(definition("order.child")).Then(nil)
		}, "given to Then is nil"},
		"a faulty contract": {func(d *Definition[state]) {
			d.Retriable[0].Do = Call(skald.Command[ticket, ticket]{Name: "X"}, state.ticket)
		}, "channel"},
	} {
		d := definition("order.create")
		c.change(&d)
		if _, err := compile(&d); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v; want it to say %q", name, err, c.say)
		}
	}
}

func TestTheFingerprintChangesWithWhatARunningInstanceWouldNotice(t *testing.T) {
	print := func(change func(d *Definition[state])) string {
		d := definition("order.create")
		change(&d)
		s, err := compile(&d)
		if err != nil {
			t.Fatal(err)
		}
		return s.fingerprint()
	}
	original := print(func(*Definition[state]) {})
	for name, change := range map[string]func(d *Definition[state]){
		"step renamed":   func(d *Definition[state]) { d.Retriable[0].Name = "accept" },
		"step removed":   func(d *Definition[state]) { d.Retriable = nil },
		"undo removed":   func(d *Definition[state]) { d.Compensatable[0].Undo = nil },
		"command":        func(d *Definition[state]) { d.Pivot.Do = Call(create, state.ticket) },
		"bar":            func(d *Definition[state]) { d.Pivot.Bar = time.Hour },
		"local to call":  func(d *Definition[state]) { d.Retriable[0].Do = Call(charge, state.ticket) },
		"deadline":       func(d *Definition[state]) { d.Deadline = time.Hour },
		"condition":      func(d *Definition[state]) { d.Retriable[0].When = func(state) bool { return true } },
		"local to wait":  func(d *Definition[state]) { d.Retriable[0].Do = Wait(decided) },
		"local to child": func(d *Definition[state]) { d.Retriable[0].Do = child(definition("order.child")) },
		"in a branch": func(d *Definition[state]) {
			d.Compensatable[1] = Compensatable[state]{Name: "beside", Parallel: [][]Compensatable[state]{{d.Compensatable[1]}, {{Name: "other", Do: Local(local)}}}}
		},
		"pivot moved up": func(d *Definition[state]) { d.Compensatable = d.Compensatable[:1] },
	} {
		if print(change) == original {
			t.Errorf("%s: the fingerprint is the same", name)
		}
	}
	if print(func(*Definition[state]) {}) != original {
		t.Error("the fingerprint of the same definition differs")
	}
}

func TestFilledLeavesNothingEmpty(t *testing.T) {
	type inner struct{ A, B string }
	got := filled[struct {
		S string
		I int
		F float64
		P *inner
		L []inner
		M map[string]int
		T time.Time
		B bool
	}]()
	v := reflect.ValueOf(got)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("field %s is empty", v.Type().Field(i).Name)
		}
	}
	if got.P.B != "filled" || got.L[0].A != "filled" || len(got.M) != 1 {
		t.Errorf("got %+v", got)
	}
}
