package saga

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
)

const (
	credit skald.Resource = "bank.credit"
	seat   skald.Resource = "airline.seat"
	guest  skald.Resource = "hotel.guest"
)

func on(resources ...skald.Resource) []skald.Resource { return resources }

// quiet is a call that is never refused.
func quiet() CallAction[state, ticket] { return Call(create, byOrder) }

// refusable is one that may be.
func refusable() CallAction[state, ticket] {
	may := create
	may.Refusals = []string{"sold_out"}
	return Call(may, byOrder)
}

func TestDeclarationsAreCheckedAtRegistration(t *testing.T) {
	for name, c := range map[string]struct {
		change func(d *Definition[state])
		say    string
	}{
		"sound": {func(d *Definition[state]) {
			d.Compensatable[0].Reads, d.Compensatable[1].Lowers = on(guest), on(seat)
			d.Pivot.Raises, d.Retriable[0].Raises, d.Retriable[0].Lowers = on(credit), on(seat), on(guest)
		}, ""},
		"an empty name":   {func(d *Definition[state]) { d.Pivot.Reads = on("") }, `step "charge": it reads a resource that has no proper name: ""`},
		"a faulty name":   {func(d *Definition[state]) { d.Retriable[0].Raises = on("Seat of an airline") }, "lower-case letters"},
		"twice":           {func(d *Definition[state]) { d.Pivot.Lowers = on(seat, seat) }, `it lowers "airline.seat" twice: say it once`},
		"both":            {func(d *Definition[state]) { d.Pivot.Lowers, d.Pivot.Raises = on(seat), on(credit, seat) }, `it both raises and lowers "airline.seat": make two steps of it`},
		"a group":         {func(d *Definition[state]) { grouped(nil)(d); d.Compensatable[2].Lowers = on(seat) }, "say it of the steps of its branches"},
		"raised too soon": {func(d *Definition[state]) { d.Compensatable[1].Raises = on(seat) }, `step "create ticket": raises ["airline.seat"] before the saga is decided, and 1 steps may still undo it`},
		"the way out": {func(d *Definition[state]) {
			d.Compensatable[1] = Compensatable[state]{Name: "free seat", Do: quiet(), Raises: on(seat)}
			d.Pivot.Lowers = on(credit)
		}, `move it behind the pivot; the order of the least risk: "create order", the pivot "charge", then "free seat", "approve"`},
		"no way out": {func(d *Definition[state]) {
			d.Compensatable[1] = Compensatable[state]{Name: "free seat", Do: refusable(), Raises: on(seat)}
		}, "which it cannot: it can be refused (sold_out): make a step before the pivot of what refuses"},
		"of a child": {func(d *Definition[state]) {
			freeing := definition("seat.free")
			freeing.Retriable[0].Raises = on(seat)
			d.Compensatable[0].Do, d.Compensatable[0].Undo = child(freeing), nil
		}, `step "create order": raises ["airline.seat"]`},
		"in a branch": {grouped([]Compensatable[state]{{Name: "one", Do: quiet(), Raises: on(seat)}}, []Compensatable[state]{{Name: "two", Do: Local(local)}}), `it is in the group "beside"`},
		"the last of a saga without a pivot": {func(d *Definition[state]) {
			d.Pivot, d.Compensatable[1].Raises = Step[state]{}, on(seat)
		}, ""},
		"not the last of one": {func(d *Definition[state]) {
			d.Pivot, d.Compensatable[0].Raises = Step[state]{}, on(seat)
		}, "before the saga is decided"},
	} {
		d := definition("order.create")
		c.change(&d)
		_, err := compile(&d)
		if c.say == "" && err != nil || c.say != "" && (err == nil || !strings.Contains(err.Error(), c.say)) {
			t.Errorf("%s: %v; want it to say %q", name, err, c.say)
		}
	}
}

func TestDeclarationsChangeNothingForRunningInstances(t *testing.T) {
	plain, declared := definition("order.create"), definition("order.create")
	declared.Pivot.Lowers, declared.Compensatable[0].Reads = on(credit), on(guest)
	a, err := compile(&plain)
	if err != nil {
		t.Fatal(err)
	}
	b, err := compile(&declared)
	if err != nil {
		t.Fatal(err)
	}
	if a.fingerprint() != b.fingerprint() {
		t.Error("the fingerprint has changed")
	}
	d := describeOf(t, declared)
	if !slices.Equal(d.Steps[2].Lowers, on(credit)) || !slices.Equal(d.Steps[0].Reads, on(guest)) {
		t.Errorf("described as %+v", d.Steps)
	}
}

// early is a step before the pivot, called by its declarations.
func early(name string, reads, raises, lowers []skald.Resource) Compensatable[state] {
	return Compensatable[state]{Name: name, Do: quiet(), Reads: reads, Raises: raises, Lowers: lowers}
}

func TestTheProposedOrderHasTheLeastRiskAndKeepsWhatIsFixed(t *testing.T) {
	pivot := Step[state]{Name: "charge", Do: refusable(), Bar: time.Minute, Lowers: on(credit)}
	for name, c := range map[string]struct {
		steps         []Compensatable[state]
		pivot         Step[state]
		then          []Step[state]
		proposed, say string
		risk          Risk
	}{
		"as it is": {
			steps: []Compensatable[state]{early("check", on(guest), nil, nil), early("take", nil, nil, on(seat))}, pivot: pivot,
			proposed: `"check", "take", the pivot "charge"`, risk: Risk{Lowered: 1},
		},
		"what is lowered comes late": {
			steps: []Compensatable[state]{early("take", nil, nil, on(seat)), early("check", on(guest), nil, nil)}, pivot: pivot,
			proposed: `"check", "take", the pivot "charge"`, say: `step "take" moves: what it does is seen by others`, risk: Risk{Lowered: 1},
		},
		"but before what reads it": {
			steps: []Compensatable[state]{early("take", nil, nil, on(seat)), early("look", on(seat), nil, nil), early("check", on(guest), nil, nil)}, pivot: pivot,
			proposed: `"check", "take", "look", the pivot "charge"`, say: `"check" moves`, risk: Risk{Lowered: 2},
		},
		"and after what has read it": {
			steps: []Compensatable[state]{early("look", on(seat), nil, nil), early("take", nil, nil, on(seat)), early("check", on(guest), nil, nil)}, pivot: pivot,
			proposed: `"look", "check", "take", the pivot "charge"`, say: `moves`, risk: Risk{Lowered: 1},
		},
		"what declares nothing stays": {
			steps: []Compensatable[state]{early("take", nil, nil, on(seat)), early("unknown", nil, nil, nil), early("check", on(guest), nil, nil)}, pivot: pivot,
			proposed: `"take", "unknown", "check", the pivot "charge"`, risk: Risk{Lowered: 3},
		},
		"leading local steps stay": {
			steps: []Compensatable[state]{{Name: "open", Do: Local(local), Lowers: on(seat)}, early("check", on(guest), nil, nil)}, pivot: pivot,
			proposed: `"open", "check", the pivot "charge"`, risk: Risk{Lowered: 2},
		},
		"a group stays together": {
			steps: []Compensatable[state]{
				{Name: "beside", Parallel: [][]Compensatable[state]{{early("take", nil, nil, on(seat))}, {early("look", on(credit), nil, nil)}}},
				early("check", on(guest), nil, nil),
			}, pivot: Step[state]{Name: "charge", Do: refusable(), Bar: time.Minute, Lowers: on(guest)},
			proposed: `"check", "take", "look", the pivot "charge"`, say: `"take" moves`, risk: Risk{Lowered: 2},
		},
		"what is raised moves behind the pivot": {
			steps: []Compensatable[state]{early("free", nil, on(seat), nil), early("check", on(guest), nil, nil)}, pivot: pivot,
			then:     []Step[state]{{Name: "note", Do: quiet()}},
			proposed: `"check", the pivot "charge", then "free", "note"`, say: `it moves behind the pivot`,
		},
		"unless something depends on it": {
			steps: []Compensatable[state]{early("free", nil, on(seat), nil), early("look", on(seat), nil, nil), early("check", on(guest), nil, nil)}, pivot: pivot,
			proposed: `"check", "free", "look", the pivot "charge"`, say: `cannot move behind the pivot: step "look" depends on it`, risk: Risk{Raised: 2},
		},
		"or nobody knows": {
			steps: []Compensatable[state]{early("free", nil, on(seat), nil)}, pivot: Step[state]{Name: "charge", Do: refusable(), Bar: time.Minute},
			proposed: `"free", the pivot "charge"`, say: `step "charge" does not say whether it depends on it`, risk: Risk{Raised: 1},
		},
		"or it takes something too": {
			steps: []Compensatable[state]{early("swap", nil, on(seat), on(guest))}, pivot: pivot,
			proposed: `"swap", the pivot "charge"`, say: "make two steps of it", risk: Risk{Raised: 1, Lowered: 1},
		},
		"without a pivot": {
			steps:    []Compensatable[state]{early("free", nil, on(seat), nil), early("check", on(guest), nil, nil)},
			proposed: `"check", then "free"`, say: "moves behind",
		},
		"what is taken too late": {
			steps: []Compensatable[state]{early("check", on(guest), nil, nil)}, pivot: pivot, then: []Step[state]{{Name: "take", Do: quiet(), Lowers: on(seat)}},
			proposed: `"check", the pivot "charge", then "take"`, say: `lowers ["airline.seat"] behind the pivot`, risk: Risk{Late: 1},
		},
		"nothing is known": {
			steps: []Compensatable[state]{early("check", nil, nil, nil)}, pivot: Step[state]{Name: "charge", Do: refusable(), Bar: time.Minute},
			proposed: `"check", the pivot "charge"`, say: "no step says",
		},
	} {
		view, err := PessimisticView(Definition[state]{Name: "trip.book", Compensatable: c.steps, Pivot: c.pivot, Retriable: c.then})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := view.Proposed.String(); got != c.proposed || view.Proposed.Risk != c.risk {
			t.Errorf("%s: proposed %s with %+v, want %s with %+v", name, got, view.Proposed.Risk, c.proposed, c.risk)
		}
		if reasons := strings.Join(view.Reasons, "\n"); !strings.Contains(reasons, c.say) || c.say == "" && reasons != "" {
			t.Errorf("%s: reasons %s; want them to say %q", name, reasons, c.say)
		}
	}
}

// The proposed order is compared with every one that keeps what depends on each other as it is.
func TestNoOrderHasLessRiskThanTheProposed(t *testing.T) {
	resources := []skald.Resource{"a", "b", "c", "d", "e", "f"}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		some := func() []skald.Resource {
			if random.IntN(3) > 0 {
				return nil
			}
			return on(resources[random.IntN(len(resources))])
		}
		d := Definition[state]{Name: "x", Pivot: Step[state]{Name: "pivot", Do: quiet(), Reads: on("x")}}
		for i := range 6 {
			s := early(fmt.Sprint(i), some(), some(), some())
			s.Do = refusable() // so that nothing moves behind the pivot
			if slices.Equal(s.Raises, s.Lowers) {
				s.Lowers = nil
			}
			d.Compensatable = append(d.Compensatable, s)
		}
		view, err := PessimisticView(d)
		if err != nil {
			t.Fatal(err)
		}
		s, err := assemble(&d).result()
		if err != nil {
			t.Fatal(err)
		}
		blocks := s.blocks(s.given()[:6])
		best := view.Given.Risk
		var try func(done uint, order []standing)
		try = func(done uint, order []standing) {
			if len(order) == 6 {
				if r := s.sequence(exposed(append(slices.Clone(order), s.given()[6]))).Risk; better(r, best) {
					best = r
				}
			}
			for i, b := range blocks {
				if done&(1<<i) == 0 && b.needs&^done == 0 {
					try(done|1<<i, append(slices.Clone(order), b.steps...))
				}
			}
		}
		try(0, nil)
		if view.Proposed.Risk != best {
			t.Fatalf("seed %d: proposed %s with %+v, and there is one with %+v", seed, view.Proposed, view.Proposed.Risk, best)
		}
	}
}

func better(a, b Risk) bool {
	return slices.Compare([]int{a.Raised, a.Late, a.Lowered}, []int{b.Raised, b.Late, b.Lowered}) < 0
}

func TestManyStepsKeepTheirOrder(t *testing.T) {
	d := Definition[state]{Name: "x"}
	for i := range maxReordered + 1 {
		d.Compensatable = append(d.Compensatable, early(fmt.Sprint(i), nil, nil, on(skald.Resource(fmt.Sprint("r", i)))))
	}
	view, err := PessimisticView(d)
	if err != nil || view.Given.String() != view.Proposed.String() || !strings.Contains(fmt.Sprint(view.Reasons), "too many") {
		t.Errorf("%v %+v", err, view)
	}
}
