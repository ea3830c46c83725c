package service_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

var errTooLarge = errors.New("too large for this broker")

func TestWhatIsBehindARejectedMessageInItsBatchWaitsToo(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.broker.RejectIf(func(m *skald.Message) error {
			if m.Key == "a" && strings.Contains(string(m.Payload), `"items":1`) {
				return errTooLarge
			}
			return nil
		})
		in := s.running["order"]
		err := service.Transact(s.t.Context(), in.service, func(ctx context.Context, tx *skaldtest.Tx) error {
			var batch []skald.Message
			for n := range 4 {
				for _, key := range []string{"a", "b"} {
					m, err := orderPlaced.Message(ticket{key, n})
					if err != nil {
						return err
					}
					batch = append(batch, m)
				}
			}
			return in.service.Outbox().Add(ctx, tx, batch...)
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.pass(time.Second)
		s.expect("kitchen", "seen", "a", "0 ")
		s.expect("kitchen", "seen", "b", "0 1 2 3 ")
		s.broker.RejectIf(nil)
		s.emit("a", 4)
		s.pass(2 * time.Minute)
		s.expect("kitchen", "seen", "a", "0 1 2 3 4 ")
		s.once()
	})
}

// Faults: 18, 30.
func TestAHeldMessageWaitsForWhatIsPublishedAgainBeforeIt(t *testing.T) {
	for name, lose := range map[string]func(*skaldtest.Broker){
		"crashed": (*skaldtest.Broker).Crash,
		"wiped":   (*skaldtest.Broker).Wipe,
	} {
		t.Run(name, func(t *testing.T) {
			inShop(t, func(s *shop) { s.syncInterval = time.Minute }, func(s *shop) {
				s.stop("kitchen")
				s.emit("a", 0)
				s.pass(time.Second)
				s.broker.RejectIf(func(m *skald.Message) error {
					if m.Key == "a" {
						return errTooLarge
					}
					return nil
				})
				s.emit("a", 1)
				s.emit("a", 2)
				s.pass(40 * time.Second) // the held ones are due
				s.broker.RejectIf(nil)
				lose(s.broker)
				s.start("kitchen")
				s.emit("a", 3)
				s.pass(5 * time.Minute)
				s.expect("kitchen", "seen", "a", "0 1 2 3 ")
				s.once()
			})
		})
	}
}
