package skaldtest

import (
	"testing"

	"github.com/skald-go/skald/saga"
)

// What is wrong with a definition, and what the exploration prints of it.

func TestAMissingUndoYieldsACounterexample(t *testing.T) {
	d := exploredCreateOrder()
	d.Compensatable[2].Undo = nil
	d.Compensatable[2].Deadline = 0
	fault := mustFind(t, d, []ExploreOption{From(exploredOrder{Order: "1"}), LeavesEffects("create ticket")})
	prints(t, fault, `the saga is compensated, and what "create ticket" did stays: it has no undo

the saga starts: do "create order" lands
shop.consumers gets do "verify consumer": do "verify consumer" lands
explored gets the reply to do "verify consumer"
shop.kitchen gets do "create ticket": do "create ticket" lands
explored gets the reply to do "create ticket"
shop.accounting gets do "authorize card": do "authorize card" refuses: declined
explored gets the reply to do "authorize card" (refused): undo "create order" lands`)
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
	prints(t, fault, `undo "create ticket" is built from the reply, which may be lost: without it it is {"order":"1"} with key "1", with it {"order":"1","ticket":"filled"} with key "1"

the saga starts: do "create order" lands
shop.consumers gets do "verify consumer": do "verify consumer" lands
explored gets the reply to do "verify consumer"
shop.kitchen gets do "create ticket": do "create ticket" lands
explored gets the reply to do "create ticket"`)
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
	if want := "a function of the definition panicked: no ticket"; fault.Fault != want {
		t.Errorf("the fault is %q, want %q", fault.Fault, want)
	}
}

func prints(t *testing.T, fault *Counterexample, want string) {
	t.Helper()
	if got := fault.Error(); got != want {
		t.Errorf("printed:\n%s\n\nwant:\n%s", got, want)
	}
}
