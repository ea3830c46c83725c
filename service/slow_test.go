package service_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/skald-go/skald/skaldtest"
)

// slowly is a handler's work that takes a while and heeds its context.
func slowly(d time.Duration) func(context.Context, *skaldtest.Tx) error {
	return func(ctx context.Context, _ *skaldtest.Tx) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Faults: 26.
func TestABatchThatTakesLongerThanItsLeaseIsCommitted(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		s.on(createTicket.Name, slowly(7*time.Second)) // the lease is 5 seconds, and the only writer renews it
		s.mustPlace("a", 1, 500)
		s.pass(time.Minute)
		s.approved("a")
	})
}

// Faults: 26.
func TestALeaseThatIsRenewedLateLosesNothing(t *testing.T) {
	for _, took := range []time.Duration{1300, 1900, 2600, 3300, 4900} {
		took *= time.Millisecond
		t.Run(took.String(), func(t *testing.T) {
			inShop(t, nil, func(s *shop) {
				s.on(orderPlaced.Name, slowly(took))
				for n := range 12 {
					s.emit(fmt.Sprint(n%4), n)
					s.pass(700 * time.Millisecond)
				}
				s.pass(5 * time.Minute)
				for n := range 4 {
					s.expect("kitchen", "seen", fmt.Sprint(n), fmt.Sprintf("%d %d %d ", n, n+4, n+8))
				}
				s.once()
			})
		})
	}
}
