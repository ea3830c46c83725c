package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/skald-go/skald/internal/machine"
)

// WaitAction is the result of [Wait].
type WaitAction[S, E any] struct{ a action[S] }

func (w WaitAction[S, E]) action() *action[S] { return &w.a }

// Wait is a step that somebody outside ends with [Saga.Signal]: a person's decision, or an event.
// Record takes what was decided into the state; a *[skald.Refusal] that it returns refuses the step, and keeps
// what it recorded; any other error refuses the signal alone. It must depend on nothing but its arguments. What comes before the
// step's turn counts when its turn comes.
func Wait[S, E any](record func(state *S, content E) error) WaitAction[S, E] {
	w := WaitAction[S, E]{action[S]{kind: machine.Wait, content: reflect.TypeFor[E]()}}
	if w.a.content.Kind() == reflect.Interface {
		w.a.contract = fmt.Errorf("wait: content of type %s, an interface: nothing could be decoded into it; name the type", w.a.content)
	}
	if record == nil {
		w.a.contract = errors.New("wait: the function is nil: give the one that records what was decided")
		return w
	}
	w.a.signal = func(state *S, encoded []byte) error {
		var content E
		if err := json.Unmarshal(encoded, &content); err != nil {
			return fmt.Errorf("decode the signal: %w", err)
		}
		return record(state, content)
	}
	return w
}
