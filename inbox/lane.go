package inbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
)

// heldLook is how often the lane looks for held messages that another process made due.
const heldLook = time.Second

// item is one piece of a batch: a delivery, a held message that is due, or a function.
type item struct {
	message *skald.Message
	// Of a delivery.
	from     *owned
	position Position
	fault    error
	raw      []byte
	// Of a held message.
	held *Held
	// Of a function.
	job  func(ctx context.Context, tx skald.Tx) error
	id   skald.ID
	gone func() error // why the caller does not wait any more; nil while it does
	done chan error
	// What the caller's context says of what it sends, and of the locks that it meets.
	trace       skald.Trace
	correlation skald.Correlation
	locks       []lock.Key
	// unsure is set after a commit that may have landed although it failed.
	unsure *unsure

	// ended says that the item is committed; what is left of its batch goes on without it.
	ended bool
	// suspect says that the item gets a savepoint, and is not handled together with others: it
	// failed or refused where neither was so.
	suspect bool
	// conflicts says that the handler has met a saga's lock: what releases that may be behind the message.
	conflicts bool
	// failed says that the handler is not to be run again in this batch: it hung, or what it
	// left behind broke the batch.
	failed error
}

// unsure is how a function came out in a batch whose commit failed: true if the batch's
// record is found.
type unsure struct {
	record skald.ID
	result error
}

// lane turns what waits into batches, one after the other.
type lane struct {
	consumer *Consumer
	leases   *leases
	counts   map[string]int // partitions by channel
	queue    []*item
	passes   chan func() // to the runner; nil when there is none
	heldAt   time.Time   // when to look for held messages again
	now      func() time.Time
	around   func(requests []*Request, run func() error) error // of a stepper; nil for nothing
	// failed are the keys of what failed in the batch under way, which may take several
	// transactions: what was read as held behind it does not overtake it in a later one.
	failed map[ChannelKey]bool
}

func newLane(c *Consumer, l *leases, partitions []Partition) *lane {
	counts := map[string]int{}
	for _, p := range partitions {
		counts[p.Channel]++
	}
	return &lane{consumer: c, leases: l, counts: counts, now: c.config.Now, failed: map[ChannelKey]bool{}}
}

func (l *lane) run(ctx context.Context) {
	for l.gather(ctx) {
		n := min(len(l.queue), l.consumer.config.BatchSize)
		items := l.queue[:n:n]
		l.queue = l.queue[n:]
		l.process(ctx, items)
	}
	l.endRunner()
	l.consumer.Stop()
}

// runner is the goroutine that runs the passes. It lives as long as the lane, because the
// stack that a database call needs is grown only once, or until a pass is abandoned in it.
func (l *lane) runner() chan<- func() {
	if l.passes == nil {
		passes := make(chan func())
		l.passes = passes
		go func() {
			for run := range passes {
				run()
			}
		}()
	}
	return l.passes
}

// endRunner lets the runner go, once it has returned from the pass it is in.
func (l *lane) endRunner() {
	if l.passes != nil {
		close(l.passes)
		l.passes = nil
	}
}

// gather waits until there is something to do, and takes what else waits; false when ctx
// ended.
func (l *lane) gather(ctx context.Context) bool {
	select {
	case <-l.consumer.held: // first, or a lane that is never idle would not hear of it
		l.heldAt = time.Now()
	default:
	}
	l.dueHeld(ctx)
	if len(l.queue) == 0 {
		look := time.NewTimer(time.Until(l.heldAt))
		defer look.Stop()
		select {
		case <-ctx.Done():
			return false
		case a := <-l.consumer.deliveries:
			l.enqueue(a)
		case j := <-l.consumer.jobs:
			l.queue = append(l.queue, j)
		case <-l.consumer.held:
			l.heldAt = time.Now()
			l.dueHeld(ctx)
		case <-look.C:
			l.dueHeld(ctx)
		}
	}
	for len(l.queue) < l.consumer.config.BatchSize {
		select {
		case a := <-l.consumer.deliveries:
			l.enqueue(a)
		case j := <-l.consumer.jobs:
			l.queue = append(l.queue, j)
		default:
			return ctx.Err() == nil
		}
	}
	return ctx.Err() == nil
}

func (l *lane) enqueue(a arrival) {
	for i := range a.deliveries {
		d := &a.deliveries[i]
		l.queue = append(l.queue, &item{message: &d.Message, from: a.from, position: d.Position, fault: d.Fault, raw: d.Raw})
	}
}

// dueHeld puts held messages whose time has come before everything else. It looks when the
// earliest next attempt is due, and once a second for those that another process made due.
func (l *lane) dueHeld(ctx context.Context) {
	if time.Now().Before(l.heldAt) || ctx.Err() != nil {
		return
	}
	now := l.now()
	l.heldAt = time.Now().Add(heldLook)
	next, found, err := l.consumer.store.NextHeld(ctx, l.consumer.group)
	switch {
	case err != nil || !found:
	case next.After(now):
		l.lookIn(next.Sub(now))
	default:
		err = l.takeHeld(ctx, now)
	}
	if err != nil && ctx.Err() == nil {
		l.consumer.config.Logger.Error("inbox: held messages not read; looking again in a second", "group", l.consumer.group, "error", err)
	}
}

func (l *lane) takeHeld(ctx context.Context, now time.Time) error {
	limit := l.consumer.config.BatchSize
	due, err := l.consumer.store.DueHeld(ctx, l.consumer.group, now, limit)
	items := make([]*item, 0, len(due)+len(l.queue))
	for i := range due {
		if l.owner(&due[i].Message) != nil {
			items = append(items, &item{message: &due[i].Message, held: &due[i]})
		}
	}
	if len(due) == limit && len(items) > 0 {
		l.heldAt = time.Now() // there may be more; not if all of these are another instance's
	}
	l.queue = append(items, l.queue...)
	return err
}

// lookIn has held messages looked for after that long, if that is sooner than they would be. It
// counts by the clock that never jumps: by the other one, which the stored moments are of, a clock that is put
// back would stop the looking for as long.
func (l *lane) lookIn(wait time.Duration) {
	if at := time.Now().Add(wait); at.Before(l.heldAt) {
		l.heldAt = at
	}
}

// owner is the partition of a held message, if this instance reads it: its next attempt is
// made there and nowhere else.
func (l *lane) owner(m *skald.Message) *owned {
	n := l.counts[m.Channel]
	if n == 0 {
		return nil
	}
	return l.leases.find(Partition{Channel: m.Channel, Group: l.consumer.group, Number: skald.Partition(m.OrderKey(), n)})
}

// process brings the items to their end: committed, or given up because their partition was.
func (l *lane) process(ctx context.Context, items []*item) {
	batch := context.WithoutCancel(ctx)
	clear(l.failed)
	for attempts := 1; ; attempts++ {
		if items = l.alive(items); len(items) == 0 {
			return
		}
		err := l.attempt(batch, items)
		if err == nil {
			return
		}
		if errors.Is(err, ErrFenced) {
			l.leases.renew(batch)
			if attempts == 1 {
				continue
			}
		}
		l.consumer.config.Logger.Error("inbox: batch not committed; trying again", "group", l.consumer.group, "messages", len(items), "attempts", attempts, "error", err)
		if attempts >= 3 || ctx.Err() != nil {
			items = failJobs(items, fmt.Errorf("inbox: the batch was not committed, as far as is known: %w", err))
		}
		if ctx.Err() != nil {
			return // uncommitted messages are delivered again to whoever comes next
		}
		sleep(ctx, backoff(min(attempts, 7)))
	}
}

// alive drops what is committed, deliveries of partitions that are no longer ours, and
// functions whose caller has gone.
func (l *lane) alive(items []*item) []*item {
	alive := items[:0:0]
	for _, it := range items {
		switch {
		case it.ended:
		case it.job != nil && it.gone() != nil:
			it.done <- it.gone()
		case it.from != nil && !l.leases.holds(it.from):
		default:
			alive = append(alive, it)
		}
	}
	return alive
}

func failJobs(items []*item, err error) []*item {
	rest := items[:0:0]
	for _, it := range items {
		if it.job != nil {
			it.done <- err
			continue
		}
		rest = append(rest, it)
	}
	return rest
}

// focusedReplays is how often a batch is replayed with savepoints around suspects alone; after
// that everything gets one.
const focusedReplays = 3

// attempt runs the items in one transaction. A handler that fails without a savepoint around
// it, or hangs, makes it run again with one; what breaks the commit makes each item run in a
// transaction of its own, so that only the culprit is held.
func (l *lane) attempt(ctx context.Context, items []*item) error {
	err := l.once(ctx, items, false)
	for replays := 1; errors.Is(err, errReplay) && replays <= focusedReplays+len(items)+1; replays++ {
		err = l.once(ctx, items, replays > focusedReplays)
	}
	if err == nil || errors.Is(err, ErrFenced) || l.consumer.store.Retryable(err) {
		return err
	}
	if len(items) == 1 {
		return l.holdCulprit(ctx, items[0], err)
	}
	for _, it := range items {
		if err := l.attempt(ctx, []*item{it}); err != nil {
			return err
		}
	}
	return nil
}

// holdCulprit records that an item cannot be committed, without running its handler again.
func (l *lane) holdCulprit(ctx context.Context, it *item, cause error) error {
	if it.failed != nil {
		return cause
	}
	it.failed = cause
	return l.once(ctx, []*item{it}, true)
}

// once is one pass over the items in one transaction, watched for handlers that hang. Statements
// that a handler has queued, and its functions for their results, may run as late as in the
// commit.
func (l *lane) once(ctx context.Context, items []*item, careful bool) error {
	b, err := l.consumer.store.Begin(ctx)
	if err != nil {
		return err
	}
	handlers, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newPass(l, b, items, careful)
	late := func() string { return "what a handler had queued" }
	finished := make(chan error, 1)
	l.runner() <- func() {
		finished <- l.consumer.protect(late, func() error { return p.run(ctx, handlers) })
	}
	err = l.watch(p, finished, cancel)
	if err == nil {
		if err = l.consumer.protect(late, func() error { return b.Commit(ctx) }); err != nil {
			p.doubt()
		}
	}
	if err != nil {
		if rollback := b.Rollback(); rollback != nil {
			l.consumer.config.Logger.Warn("inbox: roll back", "error", rollback)
		}
		return err
	}
	l.settle(p)
	return nil
}

// watch waits for the pass. It cancels a handler that takes too long, and abandons one that
// does not heed that: its transaction is rolled back under it.
func (l *lane) watch(p *pass, finished <-chan error, cancel context.CancelFunc) error {
	limit := l.consumer.config.HandlerTimeout
	look := time.NewTimer(limit)
	defer look.Stop()
	for {
		select {
		case err := <-finished:
			return err
		case <-look.C:
		}
		current := p.current.Load()
		if current == nil {
			look.Reset(limit)
			continue
		}
		switch took := time.Since(current.since); {
		case took >= 2*limit && current.abandon():
			l.endRunner()
			l.blame(current.items, fmt.Errorf("the %s was still running %s after it began, although its context was cancelled; it was abandoned", current.items[0].describe(), took.Round(time.Millisecond)))
			return errReplay
		case took >= limit:
			if current.cancel() { // not if it finished just now: those after it are not to blame
				cancel()
			}
			look.Reset(max(2*limit-took, time.Millisecond))
		default:
			look.Reset(limit - took)
		}
	}
}

// blame notes whose handler hung: it is not run for that message again. Which one of several
// it was nobody knows; in the replay each is handled alone.
func (l *lane) blame(items []*item, cause error) {
	if len(items) == 1 {
		items[0].failed = cause
		return
	}
	l.logTakenApart(items, cause)
	for _, it := range items {
		it.suspect = true
	}
}

func (l *lane) logTakenApart(items []*item, cause error) {
	m := items[0].message
	l.consumer.config.Logger.Warn("inbox: batch handler failed; its messages are handled one by one",
		"group", l.consumer.group, "channel", m.Channel, "type", m.Type, "messages", len(items), "error", cause)
}

// errReplay asks for the batch to be run again, more carefully where it is suspected.
var errReplay = errors.New("inbox: replay with savepoints")

// settle tells everybody about a committed batch.
func (l *lane) settle(p *pass) {
	l.leases.committed(p.positions)
	maps.Copy(l.failed, p.failed)
	for _, it := range p.items {
		it.ended = true
	}
	for _, fn := range p.work.Committed { // before the callers go on: they may rely on it
		l.consumer.after(fn)
	}
	for it, err := range p.results {
		it.done <- err
	}
	if len(p.unhold) > 0 {
		l.heldAt = time.Now()
	}
	for i := range p.apart {
		h := &p.apart[i]
		if h.State == HeldParked {
			p.logHeld(h)
			continue
		}
		l.consumer.config.Logger.Debug("inbox: message waits for a lock", "group", l.consumer.group, "channel", h.Message.Channel, "type", h.Message.Type, "message_id", h.Message.ID, "reason", h.Reason)
		l.lookIn(h.NextAttempt.Sub(p.work.Now))
	}
	for i := range p.hold {
		h := &p.hold[i]
		p.logHeld(h)
		if h.State == HeldRetrying {
			l.lookIn(h.NextAttempt.Sub(p.work.Now))
		}
	}
}

// after runs what waited for the commit.
func (c *Consumer) after(fn func()) {
	defer func() {
		if r := recover(); r != nil {
			c.config.Logger.Error("inbox: function after a commit panicked", "panic", fmt.Sprint(r), "stack", stack())
		}
	}()
	fn()
}

// running is the handler that is being run, as the watch sees it.
type running struct {
	items []*item
	since time.Time
	state atomic.Int32
}

// The states of a running handler.
const (
	started int32 = iota
	cancelled
	finished
	abandoned
)

// cancel reports whether the handler is still running, and is told to end.
func (r *running) cancel() bool { return r.state.CompareAndSwap(started, cancelled) }

// abandon reports whether the handler is given up; false when it finished just now.
func (r *running) abandon() bool { return r.state.CompareAndSwap(cancelled, abandoned) }

// finish returns the state that the handler found when it returned.
func (r *running) finish() int32 {
	if r.state.CompareAndSwap(started, finished) {
		return finished
	}
	if r.state.CompareAndSwap(cancelled, finished) {
		return cancelled
	}
	return abandoned
}

func (it *item) describe() string {
	if it.message == nil {
		return "function in a batch"
	}
	return fmt.Sprintf("handler of %q", it.message.Type)
}
