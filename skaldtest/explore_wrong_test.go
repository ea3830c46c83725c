package skaldtest

import (
	"os"
	"regexp"
	"testing"

	"github.com/skald-go/skald/saga"
)

// What is wrong with a definition, and what the exploration prints of it.

func TestAMissingUndoYieldsACounterexample(t *testing.T) {
	d := exploredCreateOrder()
	d.Compensatable[2].Undo = nil
	d.Compensatable[2].Deadline = 0
	fault := mustFind(t, d, []ExploreOption{From(exploredOrder{Order: "1"}), LeavesEffects("create ticket")})
	prints(t, fault, shownInTheGuide(t)[0])
}

func TestAnUndoThatIsBuiltFromTheReplyYieldsACounterexample(t *testing.T) {
	d := exploredCreateOrder()
	do := saga.Call(createTicket, exploredOrder.itself).Then(func(o *exploredOrder, r exploredReply) {
		if o.Order != "" { // what registration checks is a saga without an order
			o.Ticket = r.Ticket
		}
	})
	d.Compensatable[2].Do = do
	fault := mustFind(t, d, []ExploreOption{From(exploredOrder{Order: "1"})})
	prints(t, fault, shownInTheGuide(t)[1])
}

func TestAReplyThatCannotBeRecordedYieldsACounterexample(t *testing.T) {
	d := exploredCreateOrder()
	d.Compensatable[1].Do = saga.Call(verifyConsumer, exploredOrder.itself).Then(func(o *exploredOrder, _ exploredReply) {
		if o.Order != "" {
			panic("no room")
		}
	})
	fault := mustFind(t, d, []ExploreOption{From(exploredOrder{Order: "1"})})
	prints(t, fault, `explored parked the reply to do "verify consumer": handler of "shop.verify-consumer.reply" panicked: no room

the saga starts: do "create order" lands
shop.consumers gets do "verify consumer": do "verify consumer" lands
explored gets the reply to do "verify consumer"
explored tries again what it holds
explored tries again what it holds`)
}

func TestAnUndoThatCannotBeBuiltYieldsACounterexample(t *testing.T) {
	d := exploredCreateOrder()
	d.Compensatable[2].Deadline = 0
	d.Compensatable[2].Undo = saga.Call(rejectTicket, func(o exploredOrder) exploredOrder {
		if o.Order != "" {
			panic("no ticket")
		}
		return o
	})
	fault := mustFind(t, d, []ExploreOption{From(exploredOrder{Order: "1"})})
	if want := "function in a batch panicked: no ticket"; fault.Fault != want {
		t.Errorf("the fault is %q, want %q", fault.Fault, want)
	}
}

// shownInTheGuide are the counterexamples that docs/guide/exploration.md shows.
func shownInTheGuide(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../docs/guide/exploration.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, block := range regexp.MustCompile("(?s)```text\n(.*?)\n```").FindAllSubmatch(page, -1) {
		shown = append(shown, string(block[1]))
	}
	if len(shown) != 2 {
		t.Fatalf("the guide shows %d counterexamples, not 2", len(shown))
	}
	return shown
}

func prints(t *testing.T, fault *Counterexample, want string) {
	t.Helper()
	if got := fault.Error(); got != want {
		t.Errorf("printed:\n%s\n\nwant:\n%s", got, want)
	}
}
