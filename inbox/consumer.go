package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/outbox"
)

// ErrStopped is returned by Transact when the consumer does not run, or stops before the
// function's turn.
var ErrStopped = errors.New("inbox: the consumer is not running")

// Consumer reads the channels of its registrations as one subscriber group, and handles
// their messages in batches: one transaction each, on the group's own database.
type Consumer struct {
	config    Config
	group     string
	holder    string
	store     Store
	outbox    outbox.Store
	transport Transport
	routes    routes
	locks     *lock.Locks

	deliveries chan arrival
	jobs       chan *item
	held       chan struct{} // held messages may have become due
	stopped    chan struct{}
	stopOnce   sync.Once
	readsAll   atomic.Bool
}

// New returns a consumer of a group on its store, fed by a transport. The group's name
// must be the same in all instances of a service, and differ between services.
func New(group string, store Store, box outbox.Store, transport Transport, config Config) (*Consumer, error) {
	config, err := config.withDefaults()
	faults := []error{err}
	if err := skald.CheckName(group); err != nil {
		faults = append(faults, fmt.Errorf("inbox: group %w", err))
	}
	if store == nil || box == nil || transport == nil {
		faults = append(faults, errors.New("inbox: a store, an outbox and a transport are required"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	c := &Consumer{
		config: config, group: group, holder: skald.NewID().String(), store: store, outbox: box, transport: transport,
		deliveries: make(chan arrival), jobs: make(chan *item, config.BatchSize),
		held: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	c.locks = lock.New(store, c.wakeHeld)
	return c, nil
}

// Register adds a handler. It must not be called once Run has begun.
func (c *Consumer) Register(g Registration) error { return c.routes.add(g) }

// Run reads and handles until ctx ends; then it finishes the batch under way and gives its
// partitions up. It returns an error only when it could not start.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.Stop()
	partitions, err := c.partitions(ctx)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	leases := newLeases(c, partitions)
	group.Go(func() { leases.run(ctx) })
	group.Go(func() { c.clean(ctx) })
	lane := newLane(c, leases, partitions)
	lane.run(ctx)
	group.Wait()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.config.LeaseTTL)
	defer cancel()
	leases.giveUp(drain)
	return nil
}

// ReadsAll reports whether this instance of the group reads every partition of its channels, so that
// no other one, as far as it knows, gets any message.
func (c *Consumer) ReadsAll() bool { return c.readsAll.Load() }

// Stop makes every Transact return [ErrStopped]: for a consumer that will not run, or not any
// more. Run calls it at its end.
func (c *Consumer) Stop() { c.stopOnce.Do(func() { close(c.stopped) }) }

func (c *Consumer) partitions(ctx context.Context) ([]Partition, error) {
	var all []Partition
	for _, channel := range c.routes.order {
		count, err := c.transport.Partitions(ctx, channel)
		if err != nil {
			return nil, fmt.Errorf("inbox: channel %q: %w", channel, err)
		}
		for n := range count {
			all = append(all, Partition{Channel: channel, Group: c.group, Number: n})
		}
	}
	return all, nil
}

// Transact runs fn in the transaction of the next batch, together with the messages that are
// waiting, and returns once that is committed. When fn returns an error, its writes are undone
// and the error is returned as it is. When ctx ends first, fn may or may not have taken effect.
func (c *Consumer) Transact(ctx context.Context, fn func(ctx context.Context, tx skald.Tx) error) error {
	job := &item{
		job: fn, id: skald.NewID(), gone: func() error { return context.Cause(ctx) }, done: make(chan error, 1),
		trace: skald.TraceFrom(ctx), correlation: skald.CorrelationFrom(ctx), locks: lock.AheadIn(ctx),
	}
	select {
	case c.jobs <- job:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.stopped:
		return ErrStopped
	}
	select {
	case err := <-job.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.stopped:
		select {
		case err := <-job.done:
			return err
		default:
			return ErrStopped
		}
	}
}

func (c *Consumer) wakeHeld() {
	select {
	case c.held <- struct{}{}:
	default:
	}
}

// clean removes old records in small pieces, so that no handler waits long for the database.
func (c *Consumer) clean(ctx context.Context) {
	const piece = 500
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for n := piece; n > 0 && ctx.Err() == nil; {
			var err error
			if n, err = c.store.CleanInbox(ctx, c.config.Now().Add(-c.config.Retention), piece); err != nil {
				if ctx.Err() == nil {
					c.config.Logger.Error("inbox: clean-up failed; trying again in a minute", "group", c.group, "error", err)
				}
				break
			}
		}
	}
}
