package skaldtest

import (
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

// Sagas in depth: groups, conditions, waits, children, in every course, cancelled at every moment.

func exploredCall(name, channel string, refusals ...string) saga.CallAction[exploredOrder, exploredReply] {
	return saga.Call(exploredCommand(name, channel, refusals...), exploredOrder.itself)
}

// parallelOrder has two branches beside each other.
func parallelOrder() saga.Definition[exploredOrder] {
	return saga.Definition[exploredOrder]{
		Name: "order.parallel",
		Compensatable: []saga.Compensatable[exploredOrder]{
			{Name: "create order", Do: saga.Local(nothing), Undo: saga.Local(nothing)},
			{Name: "prepare", Parallel: [][]saga.Compensatable[exploredOrder]{
				{{Name: "reserve table", Do: exploredCall("reserve-table", "tables", "full"), Undo: exploredCall("free-table", "tables")}},
				{{Name: "create ticket", Do: exploredCall("create-ticket", "kitchen", "closed"), Undo: exploredCall("reject-ticket", "kitchen"), Deadline: time.Second}},
			}},
		},
		Pivot:     saga.Step[exploredOrder]{Name: "authorize card", Do: exploredCall("authorize-card", "accounting", "declined"), Bar: time.Minute},
		Retriable: []saga.Step[exploredOrder]{{Name: "approve order", Do: exploredCall("approve-order", "orders")}},
	}
}

func mustEnd(t *testing.T, explored Explored, statuses ...saga.Status) {
	t.Helper()
	for _, status := range statuses {
		if explored.Endings[status] == 0 {
			t.Errorf("no course ends %s", status)
		}
	}
}

// Faults: 62, 77.
func TestBranchesKeepTheirPromisesInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	var seen sync.Map
	explored := Explore(t, parallelOrder(), From(exploredOrder{Order: "1"}), answers(&seen))
	mustEnd(t, explored, saga.Completed, saga.Compensated)
	mustBeAnswered(t, &seen, "do reserve table full", "do create ticket closed", "do create ticket skald.barred",
		"do reserve table skald.barred", "undo reserve table", "undo create ticket")
}

// A branch of two steps, and two branches at one participant, with one key.
func TestABranchOfTwoStepsKeepsItsPromisesInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	d := parallelOrder()
	d.Compensatable = d.Compensatable[1:]
	d.Retriable = nil
	d.Compensatable[0].Parallel[0] = append(d.Compensatable[0].Parallel[0], saga.Compensatable[exploredOrder]{
		Name: "print menu", Do: exploredCall("print-menu", "kitchen", "no paper"), Undo: exploredCall("shred-menu", "kitchen"),
	})
	mustEnd(t, Explore(t, d, From(exploredOrder{Order: "1"})), saga.Completed, saga.Compensated)
}

// A branch whose undo is local can only be undone once its answer is there.
func TestABranchThatIsUndoneLocallyWaitsForItsAnswerInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	d := parallelOrder()
	d.Compensatable[1].Parallel[0] = []saga.Compensatable[exploredOrder]{
		{Name: "register guest", Do: exploredCall("register-guest", "guests", "banned"), Undo: saga.Local(nothing)},
	}
	mustEnd(t, Explore(t, d, From(exploredOrder{Order: "1"})), saga.Completed, saga.Compensated)
}

func TestConditionsKeepTheirPromisesInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	for name, order := range map[string]exploredOrder{"held": {Order: "1", Why: "gift"}, "not held": {Order: "1"}} {
		t.Run(name, func(t *testing.T) {
			d := parallelOrder()
			d.Compensatable, d.Retriable = d.Compensatable[1:], nil
			gift := func(o exploredOrder) bool { return o.Why == "gift" }
			d.Compensatable[0].Parallel[0][0].When, d.Pivot.When = gift, gift
			mustEnd(t, Explore(t, d, From(order)), saga.Completed, saga.Compensated)
		})
	}
}

type exploredDecision struct {
	No string `json:"no"`
}

func (o *exploredOrder) decided(d exploredDecision) error {
	if o.Why = d.No; d.No != "" {
		return skald.Refuse("declined", d.No)
	}
	return nil
}

func TestWaitsKeepTheirPromisesInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	d := saga.Definition[exploredOrder]{
		Name: "order.decided",
		Compensatable: []saga.Compensatable[exploredOrder]{
			{Name: "create ticket", Do: exploredCall("create-ticket", "kitchen", "closed"), Undo: exploredCall("reject-ticket", "kitchen")},
			{Name: "guests confirm", Do: saga.Wait((*exploredOrder).decided), Deadline: time.Hour},
		},
		Pivot:     saga.Step[exploredOrder]{Name: "manager approves", Do: saga.Wait((*exploredOrder).decided), Bar: time.Hour},
		Retriable: []saga.Step[exploredOrder]{{Name: "picked up", Do: saga.Wait((*exploredOrder).decided)}},
		Deadline:  2 * time.Hour,
	}
	explored := Explore(t, d, From(exploredOrder{Order: "1"}),
		Signals("guests confirm", exploredDecision{"they stay at home"}), Signals("manager approves", exploredDecision{"too dear"}))
	mustEnd(t, explored, saga.Completed, saga.Compensated)
}

func TestAWaitInABranchKeepsItsPromisesInEveryCourse(t *testing.T) {
	d := parallelOrder()
	d.Compensatable, d.Retriable, d.Pivot = d.Compensatable[1:], nil, saga.Step[exploredOrder]{}
	d.Compensatable[0].Parallel[0] = []saga.Compensatable[exploredOrder]{
		{Name: "guests confirm", Do: saga.Wait((*exploredOrder).decided), Deadline: time.Hour},
	}
	explored := Explore(t, d, From(exploredOrder{Order: "1"}), Signals("guests confirm", exploredDecision{"they stay at home"}))
	mustEnd(t, explored, saga.Completed, saga.Compensated)
}

func packParcel() saga.Definition[exploredOrder] {
	return saga.Definition[exploredOrder]{
		Name: "parcel.pack",
		Compensatable: []saga.Compensatable[exploredOrder]{
			{Name: "take goods", Do: exploredCall("take-goods", "warehouse", "sold out"), Undo: exploredCall("return-goods", "warehouse")},
		},
		Pivot: saga.Step[exploredOrder]{Name: "print label", Do: exploredCall("print-label", "post", "no address"), Bar: time.Minute},
	}
}

func exploredChild(d saga.Definition[exploredOrder]) saga.ChildAction[exploredOrder, exploredOrder] {
	return saga.Child(d, func(o exploredOrder) (string, exploredOrder) { return o.Order, o })
}

func TestChildrenKeepTheirPromisesInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	d := saga.Definition[exploredOrder]{
		Name: "order.send",
		Compensatable: []saga.Compensatable[exploredOrder]{
			{Name: "create order", Do: saga.Local(nothing), Undo: saga.Local(nothing)},
			{
				Name: "pack parcel", Deadline: time.Hour,
				Do:   exploredChild(packParcel()).Then(func(o *exploredOrder, child exploredOrder) { o.Ticket = child.Order }).Refused((*exploredOrder).because),
				Undo: exploredCall("cancel-parcel", "post"),
			},
		},
		Pivot: saga.Step[exploredOrder]{Name: "authorize card", Do: exploredCall("authorize-card", "accounting", "declined"), Bar: time.Minute},
	}
	mustEnd(t, Explore(t, d, From(exploredOrder{Order: "1"})), saga.Completed, saga.Compensated)
}

func TestAChildInABranchKeepsItsPromisesInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	child := packParcel()
	child.Pivot = saga.Step[exploredOrder]{}
	d := parallelOrder()
	d.Compensatable, d.Retriable, d.Pivot = d.Compensatable[1:], nil, saga.Step[exploredOrder]{}
	d.Compensatable[0].Parallel[0] = []saga.Compensatable[exploredOrder]{
		{Name: "pack parcel", Do: exploredChild(child), Undo: exploredCall("cancel-parcel", "post")},
	}
	d.Deadline = time.Hour
	mustEnd(t, Explore(t, d, From(exploredOrder{Order: "1"})), saga.Completed, saga.Compensated)
}

// A child that is refused before it has settled anything has a parent that goes on, unlike a saga whose
// start is refused.
func TestAChildThatIsRefusedAtItsStartKeepsItsPromisesInEveryCourse(t *testing.T) {
	child := saga.Definition[exploredOrder]{
		Name: "parcel.pack",
		Compensatable: []saga.Compensatable[exploredOrder]{
			{Name: "take goods", Do: saga.Local(nothing), Undo: saga.Local(nothing)},
			{Name: "weigh", Do: saga.Local(nothing), Undo: saga.Local(nothing)},
		},
	}
	d := saga.Definition[exploredOrder]{
		Name: "order.send",
		Compensatable: []saga.Compensatable[exploredOrder]{
			{Name: "create order", Do: saga.Local(nothing), Undo: saga.Local(nothing)},
			{Name: "pack parcel", Do: exploredChild(child).Refused((*exploredOrder).because), Undo: exploredCall("cancel-parcel", "post")},
		},
		Pivot: saga.Step[exploredOrder]{Name: "authorize card", Do: exploredCall("authorize-card", "accounting", "declined"), Bar: time.Minute},
	}
	mustEnd(t, Explore(t, d, From(exploredOrder{Order: "1"})), saga.Completed, saga.Compensated)
}
