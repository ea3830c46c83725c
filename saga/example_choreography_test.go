package saga_test

import (
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

// Each service declares its part; what is wrong shows when the parts are put together.
func ExampleChoreography() {
	type meal struct{ Order string }
	ordered := skald.Event[meal]{Name: "meal.ordered", Channel: "order.events"}
	served := skald.Event[meal]{Name: "meal.served", Channel: "order.events"}
	cooked := skald.Event[meal]{Name: "meal.cooked", Channel: "kitchen.events"}
	burnt := skald.Event[meal]{Name: "meal.burnt", Channel: "kitchen.events"}

	kitchen := saga.Participant{Service: "kitchen", Reactions: []saga.Reaction{
		{Name: "cook", On: saga.On(ordered), Emits: saga.Emits(cooked, burnt)},
	}}
	order := saga.Participant{Service: "order", Reactions: []saga.Reaction{
		{Name: "serve", On: saga.On(cooked), Emits: saga.Emits(served)},
	}}
	serve := saga.Choreography{
		Name: "meal.serve", Starts: ordered, Completes: served, Deadline: time.Minute,
		Participants: []saga.Participant{kitchen, order},
	}
	fmt.Println(serve.Validate())
	// Output:
	// choreography "meal.serve" version 1 is refused:
	// nobody handles event meal.burnt, which kitchen: cook emits: declare a reaction to it, drop it, or, if it is for others, emit it with skald.Uncorrelated
}
