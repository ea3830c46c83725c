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

// Faults: 83.
func TestAPayloadThatCannotBeReadIsParkedAndOthersFlowOn(t *testing.T) {
	unreadable := []string{
		"", `{"order":"a"`, "{\"order\":\"\xff\"}", `{"order":"a","order":"b"}`,
		`{"order":"a","items":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`,
		`{"order":"a","more":` + strings.Repeat("[", skald.MaxNesting) + strings.Repeat("]", skald.MaxNesting) + `}`,
	}
	inShop(t, nil, func(s *shop) {
		in := s.running["order"]
		err := service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
			for i, payload := range unreadable {
				m := skald.Message{
					Kind: skald.KindEvent, Channel: orderPlaced.Channel, Type: orderPlaced.Name, Version: 1,
					Key: string(rune('a' + i)), Payload: []byte(payload),
				}
				if err := in.service.Outbox().Add(ctx, tx, m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s.emit("z", 1)
		s.pass(time.Second)
		s.expect("kitchen", "seen", "z", "1 ")
		held := s.held("kitchen")
		for _, h := range held {
			if h.State != inbox.HeldParked || !strings.Contains(h.Reason, skald.ErrMalformed.Error()) {
				t.Errorf("%.60q is %s: %.200s", h.Message.Payload, h.State, h.Reason)
			}
		}
		if len(held) != len(unreadable) {
			t.Errorf("%d messages are held, and %d cannot be read", len(held), len(unreadable))
		}
	})
}
