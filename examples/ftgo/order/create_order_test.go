package order

import (
	"testing"

	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/skaldtest"
)

// explorable leaves out the last retriable step, with which there would be more steps than can be
// explored. In the other style's courses it is not left out.
func explorable(d saga.Definition[creation]) saga.Definition[creation] {
	d.Retriable = d.Retriable[:len(d.Retriable)-1]
	return d
}

func TestTheSagasKeepTheirPromisesInEveryCourse(t *testing.T) {
	created := creation{Order: Order{ID: "1", ConsumerID: "2", RestaurantID: "3"}}
	skaldtest.Explore(t, (&orders{}).createOrderSaga(), skaldtest.LeavesEffects(stepCreateTicket), skaldtest.From(created))
	skaldtest.Explore(t, explorable((&orders{}).createOrderParallelSaga()), skaldtest.LeavesEffects(stepCreateTicket), skaldtest.From(created))
	begun := operation{Operation: "1/1", OrderID: "1", ConsumerID: "2"}
	skaldtest.Explore(t, (&orders{}).cancelOrderSaga(), skaldtest.LeavesEffects(stepBeginCancel, stepCancelTicket),
		skaldtest.From(cancellation{begun}))
	skaldtest.Explore(t, (&orders{}).reviseOrderSaga(), skaldtest.LeavesEffects(stepBeginRevision, stepReviseTicket),
		skaldtest.From(revision{operation: begun, RestaurantID: "3"}))
}
