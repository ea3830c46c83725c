package service

import (
	"context"
	"fmt"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

// Health is how a service is doing.
type Health struct {
	// Ready is false before Run and while draining.
	Ready bool
	// Lag of the relay, wherever it runs.
	Lag relay.Lag
	// Held and Parked count messages that wait in the held table: for their next attempt or
	// behind another, and for an operator. Counting stops at HealthLimit.
	Held, Parked int
}

// HealthLimit is where Health stops to count held messages.
const HealthLimit = 1000

// Ready reports whether the service runs and is not draining. It asks nobody.
func (s *Service) Ready() bool { return s.state.Load() == running }

// Health reads figures from the store.
func (s *Service) Health(ctx context.Context) (Health, error) {
	h := Health{Ready: s.Ready()}
	var err error
	if h.Lag, err = s.relay.Lag(ctx); err != nil {
		return h, fmt.Errorf("service %q: lag of its outbox: %w", s.name, err)
	}
	held, err := s.store.ListHeld(ctx, s.name, 0, HealthLimit)
	if err != nil {
		return h, fmt.Errorf("service %q: held messages: %w", s.name, err)
	}
	for i := range held {
		if held[i].State == inbox.HeldParked {
			h.Parked++
		} else {
			h.Held++
		}
	}
	return h, nil
}
