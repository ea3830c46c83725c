package inbox

import (
	"context"
	"fmt"
	"time"

	"github.com/skald-go/skald"
)

// Stepper runs a consumer's batches one at a time, when it is told to and at the moments that
// it is given, in place of [Consumer.Run]: a test that decides itself what arrives when
// (skaldtest.Explore) drives the shipped code with it. It is used by one goroutine.
type Stepper struct {
	lane *lane
	now  time.Time
}

// Stepper claims every partition of the consumer's channels, reads none of them, and never renews
// the leases. The consumer must not run as well.
func (c *Consumer) Stepper(ctx context.Context) (*Stepper, error) {
	partitions, err := c.partitions(ctx)
	if err != nil {
		return nil, err
	}
	claimed, err := c.store.ClaimPartitions(ctx, c.holder, partitions, c.config.LeaseTTL)
	if err != nil {
		return nil, err
	}
	if len(claimed) < len(partitions) {
		return nil, fmt.Errorf("inbox: %d of %d partitions are another instance's", len(partitions)-len(claimed), len(partitions))
	}
	leases := newLeases(c, partitions)
	for _, lease := range claimed {
		leases.owned[lease.Partition] = &owned{lease: lease, cancel: func() {}}
	}
	s := &Stepper{lane: newLane(c, leases, partitions)}
	s.lane.now = func() time.Time { return s.now }
	return s, nil
}

// Deliver handles the deliveries in one batch, tried once: an error means that nothing of it
// is known to be committed.
func (s *Stepper) Deliver(ctx context.Context, now time.Time, deliveries ...Delivery) error {
	items := make([]*item, len(deliveries))
	for i := range deliveries {
		d := &deliveries[i]
		from := s.lane.owner(&d.Message)
		if from == nil {
			return fmt.Errorf("inbox: group %q does not read channel %q", s.lane.consumer.group, d.Message.Channel)
		}
		items[i] = &item{message: &d.Message, from: from, position: d.Position, fault: d.Fault, raw: d.Raw}
	}
	return s.batch(ctx, now, items)
}

// RetryHeld handles the held messages that are due, and those that follow them, in one batch.
func (s *Stepper) RetryHeld(ctx context.Context, now time.Time) error {
	if err := s.lane.takeHeld(ctx, now); err != nil {
		return err
	}
	items := s.lane.queue
	s.lane.queue = nil
	return s.batch(ctx, now, items)
}

// Transact runs fn in a batch of its own, as [Consumer.Transact] does.
func (s *Stepper) Transact(ctx context.Context, now time.Time, fn func(ctx context.Context, tx skald.Tx) error) error {
	job := &item{job: fn, id: skald.NewID(), done: make(chan error, 1)}
	if err := s.batch(ctx, now, []*item{job}); err != nil {
		return err
	}
	return <-job.done
}

func (s *Stepper) batch(ctx context.Context, now time.Time, items []*item) error {
	s.now = now
	clear(s.lane.failed)
	return s.lane.attempt(ctx, items)
}

// Around has fn called in place of every run of a handler, with what it is to handle. run runs the handler; fn
// may settle the requests itself instead.
func (s *Stepper) Around(fn func(requests []*Request, run func() error) error) { s.lane.around = fn }

// Reads reports whether the consumer reads a channel.
func (s *Stepper) Reads(channel string) bool { return s.lane.counts[channel] > 0 }

// Close ends the stepper.
func (s *Stepper) Close() { s.lane.endRunner() }
