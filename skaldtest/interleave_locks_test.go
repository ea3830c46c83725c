package skaldtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// Sagas that lock the same two things at two services, in opposite orders.

type crossing struct {
	First  string `json:"first"`
	Second string `json:"second"`
	Number string `json:"number"`
}

func (c crossing) itself() crossing { return c }

// crossings sets a scene of n sagas, every second of which locks the other thing first.
func crossings(n int, restart bool) func(s *Scene) {
	return func(s *Scene) {
		order := s.Service("order")
		commands := map[string][2]skald.Command[crossing, struct{}]{}
		for _, name := range []string{"a", "b"} {
			at := s.Service(name)
			take := skald.Command[crossing, struct{}]{
				Name: name + ".take", Channel: name, Key: func(crossing) string { return "it" }, Refusals: []string{"no"}, Locks: skald.Resource(name),
			}
			leave := skald.Command[crossing, struct{}]{
				Name: name + ".leave", Channel: name, Key: func(crossing) string { return "it" }, Unlocks: skald.Resource(name),
			}
			touch := func(status string) func(_ context.Context, tx *Tx, c crossing) (struct{}, error) {
				return func(_ context.Context, tx *Tx, c crossing) (struct{}, error) {
					before, _ := tx.Get("things", "it")
					tx.Put("things", "it", before+status+c.Number)
					return struct{}{}, nil
				}
			}
			service.HandleCommand(at, take, touch("+"))
			service.HandleCommand(at, leave, touch("-"))
			commands[name] = [2]skald.Command[crossing, struct{}]{take, leave}
		}
		register := func(first, second string) *saga.Saga[crossing] {
			step := func(name string) saga.Compensatable[crossing] {
				return saga.Compensatable[crossing]{
					Name: "take " + name, Do: saga.Call(commands[name][0], crossing.itself), Undo: saga.Call(commands[name][1], crossing.itself),
				}
			}
			d := saga.Definition[crossing]{Name: first + " then " + second, Compensatable: []saga.Compensatable[crossing]{step(first), step(second)}}
			d.Name = first + "." + second
			if restart {
				d.Retriable = []saga.Step[crossing]{{Name: "leave " + second, Do: saga.Call(commands[second][1], crossing.itself)}}
			}
			return saga.Register(order, d)
		}
		sagas := []*saga.Saga[crossing]{register("a", "b"), register("b", "a")}
		for i := range n {
			number := fmt.Sprint(i + 1)
			s.Do("saga "+number+" starts", "order", func(ctx context.Context, tx *Tx) error {
				return sagas[i%2].Start(ctx, tx, number, crossing{Number: number})
			})
		}
	}
}

func TestCrossingDraft(t *testing.T) {
	for _, try := range []struct{ n, aborts int }{{3, -1}, {3, 1}} {
		for _, restart := range []bool{false, true} {
			r, err := interleave(t.Context(), Interleaving{Aborts: try.aborts, MaxStates: -1, Samples: 3000}, crossings(try.n, restart))
			t.Logf("%d sagas, %d aborts, %t: %s, %v", try.n, try.aborts, restart, r, err)
			for _, o := range r.Occurred {
				t.Logf("%s", o)
			}
		}
	}
}
