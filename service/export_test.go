package service

import (
	"context"

	"github.com/skald-go/skald/inbox"
)

// Stepper starts a service whose batches a test makes itself.
func (s *Service) Stepper(ctx context.Context) (*inbox.Stepper, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return s.consumer.Stepper(ctx)
}
