package inbox

import (
	"context"
	"sync"
	"time"
)

// leases holds the partitions that this instance reads, and a reader goroutine for each.
type leases struct {
	consumer *Consumer
	wanted   []Partition

	readers sync.WaitGroup
	mu      sync.Mutex
	owned   map[Partition]*owned
}

// owned is a partition that this instance reads.
type owned struct {
	lease  Lease // Position: as committed last
	cancel context.CancelFunc
	reader Reader
	// expires is when another instance may take the partition, by this process's monotonic clock,
	// counted from before the lease was asked for.
	expires time.Time
}

// arrival is what a reader hands to the lane.
type arrival struct {
	from       *owned
	deliveries []Delivery
}

func newLeases(c *Consumer, wanted []Partition) *leases {
	return &leases{consumer: c, wanted: wanted, owned: map[Partition]*owned{}}
}

// run claims what is free and renews what is held until ctx ends, and returns when every
// reader has stopped.
func (l *leases) run(ctx context.Context) {
	tick := time.NewTicker(l.consumer.config.LeaseTTL / 3)
	defer tick.Stop()
	for {
		l.renew(ctx)
		l.claim(ctx)
		select {
		case <-ctx.Done():
			l.readers.Wait()
			return
		case <-tick.C:
		}
	}
}

func (l *leases) renew(ctx context.Context) {
	held := l.snapshot()
	if len(held) == 0 {
		return
	}
	asked := time.Now()
	still, err := l.consumer.store.RenewPartitions(ctx, l.consumer.holder, held, l.consumer.config.LeaseTTL)
	if err != nil {
		if ctx.Err() == nil {
			l.consumer.config.Logger.Warn("inbox: leases not renewed", "group", l.consumer.group, "error", err)
		}
		l.dropExpired()
		return
	}
	kept := make(map[Partition]bool, len(still))
	for _, lease := range still {
		kept[lease.Partition] = true
	}
	l.mu.Lock()
	for p, o := range l.owned {
		if kept[p] {
			o.expires = asked.Add(l.consumer.config.LeaseTTL)
		}
	}
	l.mu.Unlock()
	for _, lease := range held {
		if !kept[lease.Partition] {
			l.drop(lease.Partition, "its lease has passed to another instance")
		}
	}
}

func (l *leases) claim(ctx context.Context) {
	l.mu.Lock()
	free := make([]Partition, 0, len(l.wanted))
	for _, p := range l.wanted {
		if l.owned[p] == nil {
			free = append(free, p)
		}
	}
	l.mu.Unlock()
	if len(free) == 0 || ctx.Err() != nil {
		return
	}
	asked := time.Now()
	claimed, err := l.consumer.store.ClaimPartitions(ctx, l.consumer.holder, free, l.consumer.config.LeaseTTL)
	if err != nil {
		if ctx.Err() == nil {
			l.consumer.config.Logger.Warn("inbox: partitions not claimed", "group", l.consumer.group, "error", err)
		}
		return
	}
	for _, lease := range claimed {
		l.take(ctx, lease, asked.Add(l.consumer.config.LeaseTTL))
	}
}

func (l *leases) take(ctx context.Context, lease Lease, expires time.Time) {
	ctx, cancel := context.WithCancel(ctx)
	o := &owned{lease: lease, cancel: cancel, expires: expires}
	l.mu.Lock()
	l.owned[lease.Partition] = o
	l.count()
	l.mu.Unlock()
	l.readers.Go(func() {
		defer cancel()
		l.read(ctx, o)
	})
}

// read keeps a reader of the partition open and hands on what it receives.
func (l *leases) read(ctx context.Context, o *owned) {
	for attempts := 0; ctx.Err() == nil; attempts++ {
		err := l.readOnce(ctx, o, &attempts)
		if ctx.Err() != nil {
			return
		}
		l.consumer.config.Logger.Warn("inbox: reader failed; opening it again from the committed position",
			"channel", o.lease.Channel, "group", o.lease.Group, "partition", o.lease.Number, "error", err)
		sleep(ctx, backoff(min(attempts+1, 6)))
	}
}

func (l *leases) readOnce(ctx context.Context, o *owned, attempts *int) error {
	reader, err := l.consumer.transport.OpenReader(ctx, o.lease.Partition, l.position(o))
	if err != nil {
		return err
	}
	l.setReader(o, reader)
	defer func() {
		l.setReader(o, nil)
		if err := reader.Close(); err != nil {
			l.consumer.config.Logger.Debug("inbox: close reader", "error", err)
		}
	}()
	for {
		deliveries, err := reader.Receive(ctx)
		if err != nil {
			return err
		}
		*attempts = 0
		select {
		case l.consumer.deliveries <- arrival{o, deliveries}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// count notes whether every partition is read here. It is called with the lock held.
func (l *leases) count() { l.consumer.readsAll.Store(len(l.owned) == len(l.wanted)) }

func (l *leases) setReader(o *owned, r Reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o.reader = r
}

func (l *leases) position(o *owned) Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return o.lease.Position
}

// holds reports whether a partition is still ours to read. Whether the lease has expired does
// not matter: the epoch, checked in the batch's own transaction, is the fence. On a database
// with one writer a long batch keeps its own lease from being renewed, and ends well
// all the same; what it dropped for that its reader would not bring again.
func (l *leases) holds(o *owned) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owned[o.lease.Partition] == o
}

// find returns the partition if this instance reads it, and nil otherwise.
func (l *leases) find(p Partition) *owned {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owned[p]
}

// committed records positions after a batch's commit, and tells the broker.
func (l *leases) committed(positions map[*owned]Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for o, p := range positions {
		o.lease.Position = p
		if o.reader != nil {
			o.reader.Committed(p)
		}
	}
}

func (l *leases) snapshot() []Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := make([]Lease, 0, len(l.owned))
	for _, o := range l.owned {
		held = append(held, o.lease)
	}
	return held
}

// dropExpired gives up what could not be renewed in time: another instance may have it.
func (l *leases) dropExpired() {
	now := time.Now()
	for _, lease := range l.snapshot() {
		l.mu.Lock()
		o := l.owned[lease.Partition]
		expired := o != nil && now.After(o.expires)
		l.mu.Unlock()
		if expired {
			l.drop(lease.Partition, "its lease could not be renewed in time")
		}
	}
}

// drop stops reading a partition without waiting for the reader.
func (l *leases) drop(p Partition, why string) {
	l.mu.Lock()
	o := l.owned[p]
	delete(l.owned, p)
	l.count()
	l.mu.Unlock()
	if o == nil {
		return
	}
	o.cancel()
	l.consumer.config.Logger.Warn("inbox: partition given up", "reason", why, "channel", p.Channel, "group", p.Group, "partition", p.Number)
}

// giveUp releases the leases in the store, after the last batch, so that another instance
// need not wait for them to expire.
func (l *leases) giveUp(ctx context.Context) {
	if err := l.consumer.store.ReleasePartitions(ctx, l.consumer.holder, l.snapshot()); err != nil {
		l.consumer.config.Logger.Warn("inbox: leases not released; others take over when they expire", "group", l.consumer.group, "error", err)
	}
}

// sleep waits, or returns early when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
