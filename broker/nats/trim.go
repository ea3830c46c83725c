package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/skald-go/skald/inbox"
)

// Trimming takes from a channel's stream what every group has handled. Its rules:
//
//   - A group is registered in all partitions before it reads the first, and never
//     unregistered: one that is down keeps its messages until they are MaxAge old. (To remove a group for
//     good, purge its subjects from the stream SKALD__POSITIONS.)
//   - The stream is purged below the lowest registered position of all groups and
//     partitions. One whole prefix is dropped, which is cheap; the message at the lowest
//     position stays, so that readers and relays can check that the stream is the one they
//     know.
//   - A partition in which nothing is unhandled must not hold the others back, as
//     sequences are shared. It counts as handled up to before its first message behind the
//     group's committed position, or, when there is none, through what was the stream's last
//     sequence before that was looked up. Nothing may have been trimmed by age in the
//     meantime: what is gone could have been unhandled.
//   - The server syncs lazily, each stream at its own time. In a power failure a stream could
//     lose its newest messages, and keep registered positions that speak of them; others would
//     then get their sequences and be taken for handled. So a number is acted upon only when it was
//     read longer ago than the sync interval, on a connection that lives: a position committed
//     then is registered now, an L read then counts now, and what was lowest then, and
//     still is, is purged now.
//
// Registered numbers only rise within an incarnation, and each is written over the revision
// that it was computed from, so several processes may do all this at once.

const (
	// quiet is how many trim intervals pass between looks at the channels while this process
	// has nothing to tell: other processes may.
	quiet = 6
	// farewell bounds what Close does about positions.
	farewell = 2 * time.Second
)

// trimmer is the broker's background work. It works only while there are readers.
type trimmer struct {
	broker   *Broker
	woken    chan struct{} // has room for one signal
	cancel   context.CancelFunc
	done     chan struct{}
	channels map[string]*trimmedChannel
}

// trimmedChannel is what passes over one channel remember. All of it is forgotten with the
// connection.
type trimmedChannel struct {
	conn    *connection
	readers map[*reader]*told // of this process
	last    trail             // the stream's last sequence
	lowest  trail             // the lowest registered position
}

// told is what a reader had committed, and how much of that is registered.
type told struct {
	committed  trail
	registered uint64
}

func startTrimmer(ctx context.Context, b *Broker) *trimmer {
	ctx, cancel := context.WithCancel(ctx)
	t := &trimmer{broker: b, woken: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}), channels: map[string]*trimmedChannel{}}
	go t.run(ctx)
	return t
}

// wake makes a pass due within one trim interval.
func (t *trimmer) wake() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

// stop ends the background work with a last pass.
func (t *trimmer) stop() {
	t.cancel()
	<-t.done
}

func (t *trimmer) run(ctx context.Context) {
	defer close(t.done)
	interval := t.broker.cfg.TrimInterval
	timer := time.NewTimer(quiet * interval)
	defer timer.Stop()
	soon := false
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			t.pass(last)
			cancel()
			return
		case <-t.woken:
			if !soon {
				soon = true
				timer.Reset(interval)
			}
			continue
		case <-timer.C:
		}
		soon = t.pass(ctx)
		if soon {
			timer.Reset(interval)
		} else {
			timer.Reset(quiet * interval)
		}
	}
}

// pass looks at each channel that this process reads, and reports whether there is more to
// do soon.
func (t *trimmer) pass(ctx context.Context) (more bool) {
	readers := map[string][]*reader{}
	t.broker.mu.Lock()
	conn := t.broker.shared
	for r := range t.broker.readers {
		if r.conn == conn {
			readers[r.partition.Channel] = append(readers[r.partition.Channel], r)
		}
	}
	t.broker.mu.Unlock()
	for name, state := range t.channels {
		if state.conn != conn || readers[name] == nil {
			delete(t.channels, name)
		}
	}
	for name, group := range readers {
		if t.channels[name] == nil {
			t.channels[name] = &trimmedChannel{conn: conn, readers: map[*reader]*told{}}
		}
		again, err := t.channels[name].pass(ctx, &t.broker.cfg, name, group)
		if err != nil && ctx.Err() == nil && conn.alive() {
			t.broker.cfg.Logger.Warn("nats: positions not registered, or channel not trimmed; tried again", "channel", name, "error", err)
		}
		more = more || again || err != nil
	}
	return more
}

func (c *trimmedChannel) pass(ctx context.Context, cfg *Config, name string, readers []*reader) (more bool, err error) {
	now := time.Now()
	settled := now.Add(-cfg.settle())
	stream, err := findChannel(ctx, c.conn.js, name)
	if err != nil {
		return false, err
	}
	if failOutdated(stream, readers) {
		return true, nil
	}
	positions, err := openRegistry(ctx, c.conn.js, cfg)
	if err != nil {
		return false, err
	}
	c.last.add(now, stream.last)
	if err := c.tell(ctx, positions, readers, now, settled); err != nil {
		return false, err
	}
	entries, err := positions.list(ctx, name)
	if err != nil {
		return false, err
	}
	if err := c.passOver(ctx, positions, stream, entries, c.last.at(settled)); err != nil {
		return false, err
	}
	lowest := lowestOf(stream, entries)
	c.lowest.add(now, lowest)
	if upTo := min(lowest, c.lowest.at(settled)); upTo > stream.first {
		if err := stream.stream.Purge(ctx, jetstream.WithPurgeSequence(upTo)); err != nil {
			return false, fmt.Errorf("nats: trim stream %s: %w", streamName(name), err)
		}
	}
	return c.unsettled(settled), nil
}

// failOutdated ends readers of an earlier incarnation, which open again from its beginning.
func failOutdated(stream *channel, readers []*reader) (some bool) {
	for _, r := range readers {
		if r.incarnation != stream.incarnation {
			r.fail(ErrIncarnation)
			some = true
		}
	}
	return some
}

// tell registers what this process's readers had committed when it is settled.
func (c *trimmedChannel) tell(ctx context.Context, positions *registry, readers []*reader, now, settled time.Time) error {
	kept := make(map[*reader]*told, len(readers))
	for _, r := range readers {
		known := orElse(c.readers[r], &told{})
		kept[r] = known
		known.committed.add(now, r.progress())
		value := known.committed.at(settled)
		if value <= known.registered {
			continue
		}
		if err := positions.raise(ctx, r.partition, r.incarnation, func(e *entry) { e.committed = max(e.committed, value) }); err != nil {
			return err
		}
		known.registered = value
	}
	c.readers = kept
	return nil
}

// passOver lets partitions count as handled where the group has nothing unhandled, from the
// lowest one upwards. It ends at the first that cannot be raised: that one is the lowest
// whatever the others are, so a busy channel costs one look.
func (c *trimmedChannel) passOver(ctx context.Context, positions *registry, stream *channel, entries map[inbox.Partition]entry, last uint64) error {
	ascending := slices.SortedFunc(maps.Values(entries), func(a, b entry) int { return cmp.Compare(a.handled(), b.handled()) })
	var raised []entry
	for _, e := range ascending {
		if e.incarnation != stream.incarnation || e.handled() >= last {
			break
		}
		next, err := stream.next(ctx, e.Number, e.committed)
		if err != nil {
			return err
		}
		through := last
		if next > 0 {
			through = min(last, next-1)
		}
		if through <= e.handled() {
			break
		}
		e.through = through
		raised = append(raised, e)
	}
	if len(raised) == 0 {
		return nil
	}
	if err := stream.refresh(ctx); err != nil {
		return err
	}
	for _, e := range raised {
		if stream.first > entries[e.Partition].handled()+1 {
			continue // trimmed by age: perhaps unread
		}
		stored, ok, err := positions.put(ctx, e)
		if err != nil {
			return err
		}
		if ok {
			entries[e.Partition] = stored
		}
	}
	return nil
}

// next is the sequence of the first message in a partition behind a sequence; 0 when there
// is none.
func (c *channel) next(ctx context.Context, partition int, behind uint64) (uint64, error) {
	m, err := c.stream.GetMsg(ctx, behind+1, jetstream.WithGetMsgSubject(partitionSubject(c.name, partition)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("nats: look for what follows %d in partition %d of channel %s: %w", behind, partition, c.name, err)
	}
	return m.Sequence, nil
}

// lowestOf is the lowest position of all groups; 0 when a group is not known in all
// partitions of this incarnation.
func lowestOf(stream *channel, entries map[inbox.Partition]entry) uint64 {
	lowest := stream.last
	partitions := map[string]int{}
	for _, e := range entries {
		if e.incarnation != stream.incarnation {
			return 0
		}
		partitions[e.Group]++
		lowest = min(lowest, e.handled())
	}
	for _, n := range partitions {
		if n != stream.partitions {
			return 0
		}
	}
	if len(partitions) == 0 {
		return 0
	}
	return lowest
}

func (c *trimmedChannel) unsettled(settled time.Time) bool {
	for _, r := range c.readers {
		if r.committed.unsettled(settled) {
			return true
		}
	}
	return c.last.unsettled(settled) || c.lowest.unsettled(settled)
}
