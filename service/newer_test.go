package service_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// sent adds a message to the order service's outbox.
func (s *shop) sent(m skald.Message, err error) skald.ID {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	in := s.running["order"]
	if m.ID.IsZero() {
		m.ID = skald.NewID()
	}
	if err := service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
		return in.service.Outbox().Add(ctx, tx, m)
	}); err != nil {
		s.t.Fatal(err)
	}
	return m.ID
}

// What a newer release sends that an older consumer has never heard of.
type newerTicket struct {
	ticket
	Table int `json:"table"`
}

var (
	byTable     = func(t newerTicket) string { return t.Order }
	newerPlaced = skald.Event[newerTicket]{Name: orderPlaced.Name, Channel: orderPlaced.Channel, Key: byTable}
	secondEvent = skald.Event[newerTicket]{Name: orderPlaced.Name, Version: 2, Channel: orderPlaced.Channel, Key: byTable}
	otherEvent  = skald.Event[newerTicket]{Name: "shop.order-moved", Channel: orderPlaced.Channel, Key: byTable}
	secondOrder = skald.Command[newerTicket, ok]{Name: createTicket.Name, Version: 2, Channel: createTicket.Channel, Key: byTable}
	otherOrder  = skald.Command[newerTicket, ok]{Name: "shop.move-ticket", Channel: createTicket.Channel, Key: byTable}
)

// Faults: 76.
func TestWhatAnOlderConsumerDoesNotKnowIsIgnoredOrParkedAndRedrivenOnceItDoes(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		content := func(order string) newerTicket { return newerTicket{ticket{order, 1}, 7} }
		s.sent(newerPlaced.Message(content("field")))
		s.sent(otherEvent.Message(content("type")))
		parked := map[skald.ID]string{
			s.sent(secondEvent.Message(content("event"))):  `no handler for event "shop.order-placed" version 2, only for [1]`,
			s.sent(secondOrder.Message(content("second"))): `no handler for command "shop.create-ticket" version 2, only for [1]`,
			s.sent(otherOrder.Message(content("other"))):   `no handler for command "shop.move-ticket" version 1`,
		}
		s.pass(time.Second)
		s.expect("kitchen", "seen", "field", "1 ")
		held := s.held("kitchen")
		for _, h := range held {
			if want := parked[h.Message.ID]; h.State != inbox.HeldParked || want == "" || !strings.HasPrefix(h.Reason, want) {
				t.Errorf("%s %q version %d is %s: %s", h.Message.Kind, h.Message.Type, h.Message.Version, h.State, h.Reason)
			}
		}
		if len(held) != len(parked) {
			t.Errorf("%d messages are held, want %d", len(held), len(parked))
		}
		seen := func(_ context.Context, tx *skaldtest.Tx, c newerTicket) (ok, error) {
			tx.Put("tables", c.Order, "7")
			effect(tx, c.Order+" at a table")
			return ok{}, nil
		}
		s.stop("kitchen")
		s.also = map[string]func(*service.Service){"kitchen": func(svc *service.Service) {
			service.HandleEvent(svc, secondEvent, func(ctx context.Context, tx *skaldtest.Tx, c newerTicket) error {
				_, err := seen(ctx, tx, c)
				return err
			})
			service.HandleCommand(svc, secondOrder, seen)
			service.HandleCommand(svc, otherOrder, seen)
		}}
		s.start("kitchen")
		for id := range parked {
			if n, err := s.running["kitchen"].service.Redrive(s.t.Context(), id); n != 1 || err != nil {
				t.Errorf("redrive %s: %d, %v", id, n, err)
			}
		}
		s.pass(2 * time.Second)
		for _, order := range []string{"event", "second", "other"} {
			s.expect("kitchen", "tables", order, "7")
		}
		s.once()
		s.nothingHeld()
	})
}
