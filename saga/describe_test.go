package saga

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/skald-go/skald"
)

// otherTx is a transaction of a store that is not there.
type otherTx struct{ skald.Tx }

func described() Definition[state] {
	return Definition[state]{
		Name: "order.create",
		Compensatable: []Compensatable[state]{
			{Name: "note", Do: Local(func(context.Context, *otherTx, *state) error { return nil }), Undo: Local(func(_ context.Context, _ skald.Tx, s *state) error {
				s.Order = "gone"
				return nil
			})},
			{Name: "create", Do: Call(create, state.ticket).Then((*state).created), Deadline: time.Second},
		},
		Pivot: Step[state]{Name: "decide", Do: Call(create, state.ticket), Bar: time.Minute},
	}
}

func TestDescribeTellsWhatADefinitionDoes(t *testing.T) {
	d, err := Describe(described())
	if err != nil {
		t.Fatal(err)
	}
	call := DescribedAction{Command: "kitchen.create", Version: 1, Channel: "kitchen", Reply: []byte(`{"order":"filled","id":"filled"}`)}
	want := []DescribedStep{
		{Name: "note", Class: ClassCompensatable, Do: DescribedAction{Local: true}, Undo: &DescribedAction{Local: true}},
		{Name: "create", Class: ClassCompensatable, Do: call, Deadline: time.Second},
		{Name: "decide", Class: ClassPivot, Do: call, Deadline: time.Minute},
	}
	if d.Name != "order.create" || d.Version != 1 || !reflect.DeepEqual(d.Steps, want) {
		t.Errorf("described as %+v", d)
	}
	if _, err := Describe(Definition[state]{}); err == nil {
		t.Error("a definition without a name is described")
	}
}

func TestRegisterAroundStandsInForLocalActions(t *testing.T) {
	e := NewEngine(EngineConfig{TxType: reflect.TypeFor[skald.Tx]()})
	var calls []LocalCall
	stop := errors.New("stop")
	s := RegisterAround(host{e}, described(), func(_ context.Context, _ skald.Tx, call LocalCall) error {
		calls = append(calls, call)
		if call.Run == nil {
			return stop
		}
		return call.Run()
	})
	if _, err := s.script.do["note"].run(environment{tx: &otherTx{}, state: []byte(`{}`)}); !errors.Is(err, stop) {
		t.Errorf("do: %v", err)
	}
	changed, err := s.script.undo["note"].run(environment{tx: &otherTx{}, state: []byte(`{}`)})
	if err != nil || string(changed) != `{"Order":"gone","Ticket":""}` {
		t.Errorf("undo leaves %s, %v", changed, err)
	}
	if len(calls) != 2 || calls[0].Step != "note" || calls[0].Undo || !calls[1].Undo {
		t.Errorf("calls: %+v", calls)
	}
}

// A child's definition is compiled once, and registered with every definition that has it: around one
// registration's local actions stands nothing of another's.
func TestRegisterAroundLeavesOtherRegistrationsOfAChildAlone(t *testing.T) {
	parent := definition("order.send")
	parent.Retriable[0].Do = child(definition("parcel.pack"))
	calls := map[string]int{}
	for _, name := range []string{"first", "second"} {
		e := NewEngine(EngineConfig{TxType: reflect.TypeFor[skald.Tx]()})
		s := RegisterAround(host{e}, parent, func(_ context.Context, _ skald.Tx, call LocalCall) error {
			calls[name+" "+call.Saga]++
			return call.Run()
		})
		action := s.script.do["approve"].child.do["create order"]
		if _, err := action.run(environment{tx: &otherTx{}, state: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if want := map[string]int{"first parcel.pack": 1, "second parcel.pack": 1}; !reflect.DeepEqual(calls, want) {
		t.Errorf("calls: %v, want %v", calls, want)
	}
}

type host struct{ engine *Engine }

func (h host) SagaEngine() *Engine { return h.engine }
