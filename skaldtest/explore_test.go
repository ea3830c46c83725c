package skaldtest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
)

type exploredOrder struct {
	Order  string `json:"order"`
	Ticket string `json:"ticket,omitempty"`
	Why    string `json:"why,omitempty"`
}

func (o exploredOrder) itself() exploredOrder { return o }

func (o *exploredOrder) because(r skald.Refusal) { o.Why = r.Code }

type exploredReply struct {
	Ticket string `json:"ticket"`
}

func exploredCommand(name, channel string, refusals ...string) skald.Command[exploredOrder, exploredReply] {
	return skald.Command[exploredOrder, exploredReply]{
		Name: "shop." + name, Channel: "shop." + channel, Refusals: refusals, Key: func(o exploredOrder) string { return o.Order },
	}
}

var (
	verifyConsumer = exploredCommand("verify-consumer", "consumers", "unknown_consumer")
	createTicket   = exploredCommand("create-ticket", "kitchen", "closed")
	rejectTicket   = exploredCommand("reject-ticket", "kitchen", "cooked")
	authorizeCard  = exploredCommand("authorize-card", "accounting", "declined")
	confirmTicket  = exploredCommand("confirm-ticket", "kitchen", "gone")
	approveOrder   = exploredCommand("approve-order", "orders")
)

func nothing(context.Context, *Tx, *exploredOrder) error { return nil }

func exploredCreateOrder() saga.Definition[exploredOrder] {
	call := saga.Call[exploredOrder, exploredOrder, exploredReply]
	return saga.Definition[exploredOrder]{
		Name: "order.create",
		Compensatable: []saga.Compensatable[exploredOrder]{
			{Name: "create order", Do: saga.Local(nothing), Undo: saga.Local(nothing)},
			{Name: "verify consumer", Do: call(verifyConsumer, exploredOrder.itself).Refused((*exploredOrder).because)},
			{
				Name: "create ticket", Do: call(createTicket, exploredOrder.itself), Undo: call(rejectTicket, exploredOrder.itself),
				Deadline: 10 * time.Second,
			},
		},
		Pivot: saga.Step[exploredOrder]{Name: "authorize card", Do: call(authorizeCard, exploredOrder.itself), Bar: 30 * time.Second},
		Retriable: []saga.Step[exploredOrder]{
			{Name: "confirm ticket", Do: call(confirmTicket, exploredOrder.itself)},
			{Name: "approve order", Do: call(approveOrder, exploredOrder.itself)},
		},
	}
}

// answers notes what replies the saga has seen, so that an exploration cannot pass by doing nothing.
func answers(seen *sync.Map) ExploreOption {
	return func(c *exploreConfig) {
		c.wrapReply = func(_ *Store, next inbox.Handle) inbox.Handle {
			return func(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
				var refusal skald.Refusal
				if m.Headers.Get(skald.HeaderOutcome) == skald.OutcomeRefused {
					if err := skald.Decode(m, &refusal); err != nil {
						return nil, err
					}
				}
				seen.Store(strings.TrimSpace(m.Headers.Get(skald.HeaderAction)+" "+m.Headers.Get(skald.HeaderStep)+" "+refusal.Code), true)
				return next(ctx, tx, m)
			}
		}
	}
}

// withoutRaceDetector skips what takes minutes under it. The courses are run side by side by smaller
// tests too, which it watches; scripts/test and make check run these ones without it.
func withoutRaceDetector(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("takes minutes under the race detector: scripts/test and make check run it without")
	}
}

func mustBeAnswered(t *testing.T, seen *sync.Map, answers ...string) {
	t.Helper()
	for _, answer := range answers {
		if _, ok := seen.Load(answer); !ok {
			t.Errorf("the saga was never answered %q", answer)
		}
	}
}

// Faults: 53, 54, 55, 56, 57, 58, 60, 61.
func TestTheCreationOfAnOrderKeepsItsPromisesInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	var seen sync.Map
	explored := Explore(t, exploredCreateOrder(), From(exploredOrder{Order: "1"}), answers(&seen))
	for _, status := range []saga.Status{saga.Completed, saga.Compensated, saga.Parked} {
		if explored.Endings[status] == 0 {
			t.Errorf("no course ends %s", status)
		}
	}
	mustBeAnswered(t, &seen,
		"do verify consumer", "do verify consumer unknown_consumer", "do create ticket", "do create ticket closed",
		"do create ticket skald.barred", "undo create ticket", "undo create ticket cooked", "do authorize card",
		"do authorize card declined", "do authorize card skald.barred", "bar authorize card", "bar authorize card declined",
		"bar authorize card skald.barred", "do confirm ticket", "do confirm ticket gone", "do approve order",
	)
}

// sevenSteps has as many steps as can be explored, each at a participant of its own, without keys
// and with deadlines.
func sevenSteps() saga.Definition[exploredOrder] {
	d := saga.Definition[exploredOrder]{Name: "order.seven"}
	call := func(name, channel string) saga.CallAction[exploredOrder, exploredReply] {
		command := exploredCommand(name, channel, "no")
		command.Key = nil
		return saga.Call(command, exploredOrder.itself)
	}
	for _, name := range []string{"one", "two", "three"} {
		d.Compensatable = append(d.Compensatable, saga.Compensatable[exploredOrder]{
			Name: name, Do: call(name, name), Undo: call("undo-"+name, name), Deadline: time.Second,
		})
	}
	d.Pivot = saga.Step[exploredOrder]{Name: "four", Do: call("four", "four"), Bar: time.Second}
	for _, name := range []string{"five", "six", "seven"} {
		d.Retriable = append(d.Retriable, saga.Step[exploredOrder]{Name: name, Do: call(name, name)})
	}
	return d
}

func TestSevenStepsWithoutKeysKeepTheirPromisesInEveryCourse(t *testing.T) {
	withoutRaceDetector(t)
	Explore(t, sevenSteps())
}

func TestTwoStepsOfOneKeyKeepTheirPromises(t *testing.T) {
	Explore(t, exploredSameKey(), From(exploredOrder{Order: "1"}))
}

func TestReplayRunsAScript(t *testing.T) {
	Replay(t, exploredCreateOrder(), `
		the saga starts: do "create order" lands
		shop.consumers gets do "verify consumer": do "verify consumer" refuses: unknown_consumer
		explored gets the reply to do "verify consumer" (refused): undo "create order" lands
	`)
	err := replay(t.Context(), exploredCreateOrder(), "the saga ends", nil)
	if err == nil || !strings.Contains(err.Error(), `line 1, "the saga ends", is not possible at its point; what is:`+"\n"+`the saga starts: do "create order" lands`) {
		t.Errorf("an impossible script: %v", err)
	}
}

func TestWhatCannotBeExploredIsRefused(t *testing.T) {
	nine := exploredCreateOrder()
	for _, name := range []string{"seven", "eight", "nine"} {
		nine.Retriable = append(nine.Retriable, saga.Step[exploredOrder]{Name: name, Do: saga.Local(nothing)})
	}
	for want, try := range map[string]func() (Explored, error){
		"9 steps: at most 8": func() (Explored, error) { return explore(t.Context(), nine, nil) },
		"from a state of type int": func() (Explored, error) {
			return explore(t.Context(), exploredCreateOrder(), []ExploreOption{From(1)})
		},
		"there is no such step": func() (Explored, error) {
			return explore(t.Context(), exploredCreateOrder(), []ExploreOption{LeavesEffects("cook")})
		},
		"more than 10 states": func() (Explored, error) {
			return explore(t.Context(), exploredCreateOrder(), []ExploreOption{MaxStates(10)})
		},
		"no steps": func() (Explored, error) {
			return explore(t.Context(), saga.Definition[exploredOrder]{Name: "empty"}, nil)
		},
	} {
		if _, err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
