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
	Number string `json:"number"`
}

func (c crossing) itself() crossing { return c }

// crossings sets a scene of n sagas, every second of which locks the other thing first. They release one lock by
// themselves, or leave both to the sweep.
func crossings(n int, release bool) func(s *Scene) {
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
			d := saga.Definition[crossing]{Name: first + "." + second, Compensatable: []saga.Compensatable[crossing]{step(first), step(second)}}
			if release {
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

// Two sagas that lock A then B and B then A over two services end in every interleaving, whichever of them is aborted; nobody waits until
// its patience ends, and no lock is left.
//
// Faults: 65.
func TestSagasThatLockInOppositeOrdersAllEndInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	for _, release := range []bool{false, true} {
		t.Log(Interleave(t, Interleaving{}, crossings(2, release)))
	}
}

// Faults: 65.
func TestSagasThatLockInOppositeOrdersAllEnd(t *testing.T) {
	Interleave(t, Interleaving{Aborts: -1}, crossings(2, true))
}

// Three of them are too many to run every interleaving.
//
// Faults: 65.
func TestThreeSagasThatLockInOppositeOrdersAllEnd(t *testing.T) {
	config := Interleaving{MaxStates: -1, Samples: 150, Aborts: -1}
	if raceDetector {
		config.Samples = 10
	}
	for _, release := range []bool{false, true} {
		Interleave(t, config, crossings(3, release))
	}
}
