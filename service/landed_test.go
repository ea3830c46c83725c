package service_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// Participants remember for InboxRetention what they did, and a saga may live for longer.

var forgetful = service.Config{OutboxRetention: time.Hour, InboxRetention: 2 * time.Hour}

// An undo that comes first does nothing and bars its do. One that comes after its do was forgotten looks
// the same, unless it says that the do has landed.
func TestAStepIsUndoneAlthoughItsParticipantHasForgottenIt(t *testing.T) {
	atDeskWith(t, forgetful, seats(booking(reserves(), waits("confirmed", 6*time.Hour))), func(d *desk) {
		d.book("ann", 1)
		d.pass(8 * time.Hour)
		d.came("ann", saga.Compensated, "reserved", "released")
	})
}

// Once a step has had no answer for longer than its participant remembers, nobody can say what became of it.
func TestADeadlineThatIsLongerThanParticipantsRememberIsRefusedAtTheStart(t *testing.T) {
	call := reserves()
	call.Deadline = 2 * time.Hour
	pivot := saga.Definition[trip]{Name: "trip.book", Pivot: saga.Step[trip]{Name: "seat", Do: call.Do, Bar: 6 * time.Hour}}
	short := call
	short.Deadline = 2*time.Hour - 1
	child := saga.Compensatable[trip]{Name: "child", Do: childOf(sold(call))}
	for name, c := range map[string]struct {
		register func(d *desk)
		want     string
	}{
		"a call":         {sells(booking(call)), `the deadline of step "seat" of saga "trip.book" (2h0m0s) is not shorter than InboxRetention (2h0m0s)`},
		"a bar":          {sells(pivot), `the deadline of step "seat" of saga "trip.book" (6h0m0s)`},
		"a child's call": {sells(booking(child)), `the deadline of step "seat" of saga "seat.sell" (2h0m0s)`},
		"a choreography": {func(d *desk) {
			c := bistroChoreography()
			c.Deadline = 3 * time.Hour
			service.React(d.service, c, orderCreated, func(context.Context, *skaldtest.Tx, about) error { return nil })
		}, `the deadline of choreography "order.choreographed" (3h0m0s)`},
		"a shorter call": {sells(booking(short)), ""},
		"a wait":         {sells(booking(waits("confirmed", 6*time.Hour))), ""}, // which nobody else remembers
	} {
		t.Run(name, func(t *testing.T) {
			s, err := service.New("consumer", skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), forgetful)
			if err != nil {
				t.Fatal(err)
			}
			c.register(&desk{service: s})
			switch _, err := s.Stepper(t.Context()); {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || strings.Count(err.Error(), c.want) != 1):
				t.Errorf("started: %v\nwant once: %s", err, c.want)
			}
		})
	}
}
