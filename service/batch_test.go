package service_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// till is one service that sends commands and events to itself, and handles them together.
type till struct {
	t       *testing.T
	store   *skaldtest.Store
	broker  *skaldtest.Broker
	service *service.Service
	calls   []string // the orders of each call
}

// inTill runs fn in a bubble of virtual time, with the service up.
func inTill(t *testing.T, register func(*till), fn func(*till)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &till{t: t, store: skaldtest.NewStore(), broker: skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})}
		c.store.ExpensiveSavepoints()
		var err error
		c.service, err = service.New("till", c.store, c.broker, service.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		register(c)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.service.Run(ctx) }()
		synctest.Wait()
		fn(c)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// send adds messages in one transaction, and gives the service time.
func (c *till) send(messages ...skald.Message) {
	c.t.Helper()
	err := service.Transact(c.t.Context(), c.service, func(ctx context.Context, tx *skaldtest.Tx) error {
		return c.service.Outbox().Add(ctx, tx, messages...)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(time.Second) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
	synctest.Wait()
}

func (c *till) charge(order string, cents int) skald.Message {
	c.t.Helper()
	m, err := authorize.Message(charge{order, cents})
	if err != nil {
		c.t.Fatal(err)
	}
	m.Headers.Set(skald.HeaderReplyTo, "till.answers")
	m.Headers.Set(skald.HeaderTraceParent, "trace of "+order)
	return m
}

// answers returns what was answered: the outcome and content, by the trace of the command.
func (c *till) answers() map[string]string {
	answers := map[string]string{}
	for _, m := range c.broker.Messages("till.answers") {
		answers[m.Trace().Parent] += m.Headers.Get(skald.HeaderOutcome) + " " + string(m.Payload)
	}
	return answers
}

func (c *till) expectHeld(want ...string) {
	c.t.Helper()
	held, err := c.store.ListHeld(c.t.Context(), "", 0, 100)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(held) != len(want) {
		c.t.Errorf("held: %+v, want %q", held, want)
		return
	}
	for i, h := range held {
		if got := string(h.State) + ": " + h.Reason; !strings.Contains(got, want[i]) {
			c.t.Errorf("held is %q, want %q", got, want[i])
		}
	}
}

// authorizeAll answers from queued statements: it declines what is over the limit.
func (c *till) authorizeAll(ctx context.Context, tx *skaldtest.Tx, requests []*service.Request[charge, ok]) error {
	var orders []string
	for _, r := range requests {
		orders = append(orders, r.Content.Order)
		tx.Queue(func() error {
			effect(tx, r.Content.Order)
			if r.Content.Cents > 1000 {
				r.Refuse(skald.Refuse("declined", "over the limit").Keep())
				return nil
			}
			r.Answer(ok{Note: skald.TraceFrom(r.Context(ctx)).Parent})
			return nil
		})
	}
	c.calls = append(c.calls, strings.Join(orders, " "))
	return nil
}

func TestCommandsThatAreHandledTogetherAreAnsweredByQueuedStatements(t *testing.T) {
	inTill(t, func(c *till) { service.HandleCommands(c.service, authorize, c.authorizeAll) }, func(c *till) {
		c.send(c.charge("a", 500), c.charge("b", 5000), c.charge("c", 500))
		if want := []string{"a b c"}; !slices.Equal(c.calls, want) {
			t.Errorf("the handler was called with %q, want %q", c.calls, want)
		}
		for order, want := range map[string]string{
			"a": `success {"note":"trace of a"}`, "b": `refused {"code":"declined","message":"over the limit"}`, "c": `success {"note":"trace of c"}`,
		} {
			if got := c.answers()["trace of "+order]; got != want {
				t.Errorf("order %s was answered %q, want %q", order, got, want)
			}
			if n, _ := c.store.Get("effects", order); n != "1" {
				t.Errorf("order %s took effect %q times", order, n)
			}
		}
		c.expectHeld()
	})
}

// Faults: 83.
func TestOneMalformedCommandAmongManyIsParkedAlone(t *testing.T) {
	inTill(t, func(c *till) { service.HandleCommands(c.service, authorize, c.authorizeAll) }, func(c *till) {
		malformed := c.charge("b", 1)
		malformed.Payload = []byte("no JSON")
		c.send(c.charge("a", 500), malformed, c.charge("c", 500))
		for _, order := range []string{"a", "c"} {
			if n, _ := c.store.Get("effects", order); n != "1" {
				t.Errorf("order %s took effect %q times", order, n)
			}
		}
		c.expectHeld("parked: " + skald.ErrMalformed.Error())
	})
}

func TestARefusalInPlaceOfAnErrorRefusesNothing(t *testing.T) {
	refuseAll := func(context.Context, *skaldtest.Tx, []*service.Request[charge, ok]) error { return refused("declined") }
	inTill(t, func(c *till) { service.HandleCommands(c.service, authorize, refuseAll) }, func(c *till) {
		c.send(c.charge("a", 500), c.charge("b", 500))
		if answers := c.answers(); len(answers) > 0 {
			t.Errorf("answered: %q", answers)
		}
		c.expectHeld("retrying: a batch handler", "retrying: a batch handler")
	})
}

func TestEventsAreHandledTogether(t *testing.T) {
	var calls []string
	ids := map[skald.ID]bool{}
	seeAll := func(_ context.Context, tx *skaldtest.Tx, events []*service.Received[ticket]) error {
		var orders []string
		for _, e := range events {
			orders, ids[e.ID()] = append(orders, e.Content.Order), true
			effect(tx, e.Content.Order)
		}
		calls = append(calls, strings.Join(orders, " "))
		if slices.Contains(orders, "b") {
			return errors.New("not b")
		}
		return nil
	}
	inTill(t, func(c *till) { service.HandleEvents(c.service, orderPlaced, seeAll) }, func(c *till) {
		var messages []skald.Message
		for _, order := range []string{"a", "b", "c"} {
			m, err := orderPlaced.Message(ticket{Order: order})
			if err != nil {
				t.Fatal(err)
			}
			messages = append(messages, m)
		}
		c.send(messages...)
		if want := []string{"a b c", "a", "b", "c"}; len(calls) < 4 || !slices.Equal(calls[:4], want) {
			t.Errorf("the handler was called with %q, want first %q", calls, want)
		}
		for order, want := range map[string]string{"a": "1", "b": "", "c": "1"} {
			if n, _ := c.store.Get("effects", order); n != want {
				t.Errorf("order %s took effect %q times, want %q", order, n, want)
			}
		}
		if len(ids) != 3 {
			t.Errorf("the events have %d ids", len(ids))
		}
		c.expectHeld(string(inbox.HeldRetrying) + ": not b")
	})
}

func TestABatchHandlerOfAnotherTransactionIsRefusedAtTheStart(t *testing.T) {
	s, err := service.New("till", skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{})
	if err != nil {
		t.Fatal(err)
	}
	service.HandleEvents(s, orderPlaced, func(context.Context, *testing.T, []*service.Received[ticket]) error { return nil })
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "takes a transaction of type *testing.T") {
		t.Errorf("Run returned %v", err)
	}
}
