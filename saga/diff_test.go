package saga

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
)

// ordering is the definition that the cases of the golden file change.
func ordering() Definition[state] {
	local := Local(func(context.Context, skald.Tx, *state) error { return nil })
	return Definition[state]{
		Name: "order.create",
		Compensatable: []Compensatable[state]{
			{Name: "create order", Do: local, Undo: local},
			{Name: "create ticket", Do: Call(create, state.ticket), Undo: Call(reject, state.ticket), Deadline: time.Minute},
			{Name: "check", Do: local},
		},
		Pivot:     Step[state]{Name: "charge", Do: Call(charge, state.ticket), Bar: time.Minute},
		Retriable: []Step[state]{{Name: "note", Do: local}, {Name: "approve", Do: local}},
	}
}

// TestDiffSaysWhatChangedAndWhatThatMeans compares each change of a definition with the golden file.
func TestDiffSaysWhatChangedAndWhatThatMeans(t *testing.T) {
	later := create
	later.Version, later.Channel = 2, "kitchen.new"
	refusing := create
	refusing.Refusals = []string{"closed", "no_items"}
	local := Local(func(context.Context, skald.Tx, *state) error { return nil })
	cases := []struct {
		name   string
		change func(d *Definition[state])
	}{
		{"nothing but the version", func(*Definition[state]) {}},
		{"the same version", func(d *Definition[state]) { d.Version, d.Pivot.Bar = 1, time.Hour }},
		{"another name", func(d *Definition[state]) { d.Name = "order.make" }},
		{"a step more at the beginning and at the end", func(d *Definition[state]) {
			d.Compensatable = slices.Insert(d.Compensatable, 0, Compensatable[state]{Name: "greet", Do: Call(create, state.ticket)})
			d.Retriable = append(d.Retriable, Step[state]{Name: "thank", Do: local})
		}},
		{"a step less", func(d *Definition[state]) { d.Compensatable = slices.Delete(d.Compensatable, 1, 2) }},
		{"a step with another name", func(d *Definition[state]) { d.Compensatable[1].Name = "open ticket" }},
		{"a local step with another name", func(d *Definition[state]) { d.Compensatable[2].Name = "verify" }},
		{"two steps in another order", func(d *Definition[state]) { slices.Reverse(d.Retriable) }},
		{"a step that moves far", func(d *Definition[state]) {
			d.Compensatable = append(d.Compensatable[1:], d.Compensatable[0])
		}},
		{"a step that cannot be undone any more", func(d *Definition[state]) {
			d.Compensatable = d.Compensatable[:2]
			d.Retriable = slices.Insert(d.Retriable, 0, Step[state]{Name: "check", Do: local})
		}},
		{"a step that can be undone now", func(d *Definition[state]) {
			d.Retriable = d.Retriable[1:]
			d.Compensatable = append(d.Compensatable, Compensatable[state]{Name: "note", Do: local})
		}},
		{"deadlines", func(d *Definition[state]) {
			d.Deadline, d.Compensatable[1].Deadline, d.Pivot.Bar = time.Hour, 0, time.Second
		}},
		{"another command", func(d *Definition[state]) {
			d.Compensatable[1].Do, d.Compensatable[1].Undo = Call(later, state.ticket), nil
		}},
		{"a command in place of something local", func(d *Definition[state]) { d.Compensatable[2].Do = Call(create, state.ticket) }},
		{"other refusals", func(d *Definition[state]) { d.Compensatable[1].Do = Call(refusing, state.ticket) }},
		{"another undo, and a new one", func(d *Definition[state]) {
			again := reject
			again.Version = 2
			d.Compensatable[1].Undo, d.Compensatable[2].Undo = Call(again, state.ticket), local
		}},
		{"other declarations", func(d *Definition[state]) { d.Pivot.Lowers, d.Retriable[0].Reads = on(credit), on(guest, seat) }},
		{"other declarations of the same version", func(d *Definition[state]) { d.Version, d.Pivot.Lowers = 1, on(credit) }},
	}
	var out strings.Builder
	for _, c := range cases {
		before, after := ordering(), ordering()
		after.Version = 2
		c.change(&after)
		out.WriteString("# " + c.name + "\n" + Diff(describeOf(t, before), describeOf(t, after)).String() + "\n")
	}
	const golden = "testdata/diff.txt"
	if *Update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || out.String() != string(want) {
		t.Errorf("not as in %s (%v):\n%s", golden, err, out.String())
	}
}

// What a service refuses to start with, since the version is the same, is told too.
func TestDiffTellsWhatASagaDoesWhenItIsRefused(t *testing.T) {
	taking, leaving := create, reject
	taking.Locks, leaving.Unlocks = "kitchen.ticket", "kitchen.ticket"
	taking.Refusals = []string{"closed"}
	taking.Key = func(ticket) string { return "it" }
	leaving.Key = taking.Key
	call := Call(taking, state.ticket)
	before := ordering()
	before.Compensatable[1] = Compensatable[state]{Name: "take", Do: call, Undo: Call(leaving, state.ticket)}
	for want, change := range map[string]func(step *Compensatable[state]){
		"was to wait at another's lock, and is to refuse":                              func(step *Compensatable[state]) { step.Locked = lock.Refuse },
		`started the saga again when it was refused with [], and does with ["closed"]`: func(step *Compensatable[state]) { step.Do = call.Again("closed") },
	} {
		after := before
		after.Compensatable = slices.Clone(before.Compensatable)
		change(&after.Compensatable[1])
		got := Diff(describeOf(t, before), describeOf(t, after)).String()
		if !strings.Contains(got, want) || !strings.Contains(got, "the version is 1 in both") {
			t.Errorf("%q\nwant %s", got, want)
		}
	}
}

func describeOf(t *testing.T, definition Definition[state]) *Description {
	t.Helper()
	d, err := Describe(definition)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
