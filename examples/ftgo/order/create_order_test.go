package order

import (
	"testing"

	"github.com/skald-go/skald/skaldtest"
)

func TestTheSagaKeepsItsPromisesInEveryCourse(t *testing.T) {
	skaldtest.Explore(t, (&orders{}).createOrderSaga(), skaldtest.LeavesEffects(stepCreateTicket),
		skaldtest.From(creation{Order: Order{ID: "1", ConsumerID: "2", RestaurantID: "3"}}))
}
