package order

import (
	"testing"

	"github.com/skald-go/skald/skaldtest"
)

func TestTheSagasKeepTheirPromisesInEveryCourse(t *testing.T) {
	skaldtest.Explore(t, (&orders{}).createOrderSaga(), skaldtest.LeavesEffects(stepCreateTicket),
		skaldtest.From(creation{Order: Order{ID: "1", ConsumerID: "2", RestaurantID: "3"}}))
	begun := operation{Operation: "1/1", OrderID: "1", ConsumerID: "2"}
	skaldtest.Explore(t, (&orders{}).cancelOrderSaga(), skaldtest.LeavesEffects(stepBeginCancel, stepCancelTicket),
		skaldtest.From(cancellation{begun}))
	skaldtest.Explore(t, (&orders{}).reviseOrderSaga(), skaldtest.LeavesEffects(stepBeginRevision, stepReviseTicket),
		skaldtest.From(revision{operation: begun, RestaurantID: "3"}))
}
