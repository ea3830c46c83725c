package order

import (
	"testing"

	"github.com/skald-go/skald/skaldtest"
)

func TestTheSagasKeepTheirPromisesInEveryCourse(t *testing.T) {
	if raceDetector {
		t.Skip("minutes under the race detector: scripts/test runs it without")
	}
	created := creation{Order: Order{ID: "1", ConsumerID: "2", RestaurantID: "3"}}
	skaldtest.Explore(t, (&orders{}).createOrderSaga(), skaldtest.LeavesEffects(stepCreateTicket), skaldtest.From(created))
	skaldtest.Explore(t, (&orders{}).createOrderParallelSaga(), skaldtest.LeavesEffects(stepCreateTicket), skaldtest.From(created))
	begun := operation{Operation: "1/1", OrderID: "1", ConsumerID: "2"}
	skaldtest.Explore(t, (&orders{}).cancelOrderSaga(), skaldtest.LeavesEffects(stepBeginCancel, stepCancelTicket),
		skaldtest.From(cancellation{begun}))
	skaldtest.Explore(t, (&orders{}).reviseOrderSaga(), skaldtest.LeavesEffects(stepBeginRevision, stepReviseTicket),
		skaldtest.From(revision{operation: begun, RestaurantID: "3"}))
}
