package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skald-go/skald/relay"
)

// slotPause is left between two attempts to make the slot.
const slotPause = 10 * time.Second

// cursor reads the outbox: from the log while the slot serves, and from the table what the log does
// not reach. What it does next is, in this order: finish the reading of the table, tail, poll.
type cursor struct {
	store *Store
	last  relay.Position // given out, or where the reader comes from

	reading *scan  // nil when there is none
	floor   string // what was read from the table before; empty when nothing is to be read from it
	base    string // a slot was made, and this much is to be read from the table before it
	tail    *stream
	rest    []relay.Record // of a piece, beyond the limit

	making  chan making // a slot, in another goroutine; nil when none is made
	madeAt  time.Time   // the last attempt
	problem string      // of it
	life    context.Context
	stop    context.CancelFunc
}

// making is how an attempt to make the slot came out.
type making struct {
	slot madeSlot
	err  error
}

// OpenOutbox implements [relay.Source]. Where the relay tails, a cursor takes the slot from the one
// before it.
func (s *Store) OpenOutbox(ctx context.Context, after relay.Position) (relay.Cursor, error) {
	c := &cursor{store: s, last: after}
	c.life, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := c.open(ctx, after); err != nil {
		c.stop()
		return nil, failure("open the outbox", err)
	}
	return c, nil
}

func (c *cursor) open(ctx context.Context, after relay.Position) error {
	s := c.store
	from, err := s.resume(ctx, after)
	if err != nil {
		return err
	}
	s.source.trail.rewind(after)
	usable := false
	if s.config.Relay == Poll {
		err = s.leaveSlot(ctx)
	} else {
		usable, err = c.slotUsable(ctx, from)
	}
	if err != nil {
		return err
	}
	c.floor = from.floor
	if after.Commit == 0 {
		return c.openAll(ctx, from, usable)
	}
	if from.bound != "" {
		if err := c.finish(ctx, from, after); err != nil {
			return err
		}
	}
	if !usable {
		return nil
	}
	c.base = from.base
	return c.takeSlot(ctx, after)
}

// openAll opens everything that the outbox retains.
func (c *cursor) openAll(ctx context.Context, from resumption, usable bool) error {
	c.floor = emptySnapshot
	if !usable {
		return nil
	}
	switch {
	case c.store.config.Relay == Emit:
		c.floor = ""
	case from.floor != emptySnapshot: // the slot is past some of it
		reading, err := c.store.look(ctx, emptySnapshot)
		if err != nil {
			return err
		}
		c.read(reading)
	case from.base != "": // the slot is as old as the outbox's settled part: none
		c.base = from.base
	default:
		c.floor = ""
	}
	return c.takeSlot(ctx, relay.Position{})
}

// finish goes on with a reading of the table that an earlier cursor did not end.
func (c *cursor) finish(ctx context.Context, from resumption, after relay.Position) error {
	reading, err := c.store.span(ctx, from.floor, from.bound, from.scanned, place(after.Commit))
	if err != nil {
		return err
	}
	reading.index = from.position.Index
	if from.position.Commit == after.Commit {
		reading.skip = after.Index
	}
	c.read(reading)
	return nil
}

// read makes a reading the next thing to do, with positions behind those given out.
func (c *cursor) read(n *scan) {
	c.floor = n.bound
	if n.empty() {
		return
	}
	if n.behind <= c.last.Commit && n.skip == 0 {
		n.behind, n.index = c.last.Commit|1, c.last.Index
	}
	c.reading = n
}

// slotUsable reports whether the log can be tailed from where the reader stopped. A slot with which
// that is not possible is dropped, so that a new one can be made.
func (c *cursor) slotUsable(ctx context.Context, from resumption) (bool, error) {
	s := c.store
	state, err := s.slot(ctx)
	if err != nil {
		return false, err
	}
	problem := ""
	switch {
	case state.foreign != "":
		return false, fmt.Errorf("the replication slot %s is not Skald's: %s; give another name in Config.Slot", s.source.slot, state.foreign)
	case !state.exists && from.confirmed == 0:
		return false, nil // there never was one
	case !state.exists:
		problem = "it is gone"
	case state.lost:
		problem = "the server has removed the part of the log that it needs (max_slot_wal_keep_size)"
	case state.confirmed == 0 || from.confirmed == 0:
		problem = "it was still being made, or nobody noted that it was" // what comes before it is not in it
	case state.confirmed > from.confirmed:
		problem = fmt.Sprintf("it stands at %s in the log, and messages are settled up to %s only", state.confirmed, from.confirmed)
	default:
		s.source.confirmed.Store(uint64(from.confirmed))
		return true, nil
	}
	if s.config.Relay == Emit {
		return false, fmt.Errorf("the replication slot %s cannot be read on: %s; with Relay emit it was the only copy of what was not published yet. To go on without that, drop the slot, set skald_relay.confirmed to '0/0', and start again", s.source.slot, problem)
	}
	if from.confirmed != 0 {
		s.config.Logger.Error("postgres: the replication slot cannot be read on; reading the table until there is a new one", "slot", s.source.slot, "problem", problem)
	}
	return false, s.dropSlot(ctx)
}

// takeSlot begins to tail. The slot is taken before the table is read, so that it is ours; what it
// brings waits.
func (c *cursor) takeSlot(ctx context.Context, after relay.Position) (err error) {
	c.tail, err = c.store.startStream(ctx, after)
	return err
}

// Next implements [relay.Cursor].
func (c *cursor) Next(ctx context.Context, limit int) ([]relay.Record, error) {
	if limit < 1 {
		return nil, fmt.Errorf("postgres: read the outbox: limit %d: must be at least 1", limit)
	}
	for {
		records, err := c.next(ctx, limit)
		if err != nil {
			return nil, failure("read the outbox", err)
		}
		if len(records) > 0 {
			c.last = records[len(records)-1].Position
			return records, nil
		}
	}
}

// next does the next thing that there is to do.
func (c *cursor) next(ctx context.Context, limit int) ([]relay.Record, error) {
	switch {
	case c.reading != nil:
		return c.scan(ctx, limit)
	case c.base != "":
		return nil, c.readBase(ctx)
	case c.tail != nil:
		return c.follow(ctx, limit)
	default:
		return nil, c.poll(ctx)
	}
}

func (c *cursor) scan(ctx context.Context, limit int) ([]relay.Record, error) {
	records, err := c.reading.next(ctx, c.store, limit)
	if err == nil && c.reading.empty() {
		c.reading = nil
	}
	return records, err
}

// readBase reads from the table what the slot's own snapshot sees, and the log does not bring.
func (c *cursor) readBase(ctx context.Context) error {
	if err := c.store.visible(ctx, c.base); err != nil {
		return err
	}
	reading, err := c.store.span(ctx, c.floor, c.base, 0, place(c.store.source.confirmed.Load()))
	if err != nil {
		return err
	}
	c.base = ""
	c.read(reading)
	return nil
}

// follow takes what the stream has. Its positions go on from those of the table.
func (c *cursor) follow(ctx context.Context, limit int) ([]relay.Record, error) {
	if len(c.rest) == 0 {
		var p piece
		select {
		case p = <-c.tail.pieces:
		case err := <-c.tail.failed:
			return nil, c.broken(ctx, err)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		p.note(&c.store.source.trail, c.last)
		c.rest = p.records
	}
	n := min(limit, len(c.rest))
	records := c.rest[:n:n]
	c.rest = c.rest[n:]
	return records, nil
}

// broken finds out whether the slot can be read on after the stream has failed: not where the
// publication was missing, because it is missing in that part of the log for ever.
func (c *cursor) broken(ctx context.Context, err error) error {
	if hasCode(err, codeUndefinedObject) && c.store.config.Relay != Emit {
		c.store.config.Logger.Error("postgres: the log cannot be decoded where the publication was missing; dropping the slot", "slot", c.store.source.slot, "error", err)
		c.tail.close() //nolint:contextcheck // it ends within a second
		c.tail = nil
		return errors.Join(err, c.store.dropSlot(ctx))
	}
	return fmt.Errorf("tail the log: %w", err)
}

// poll looks for new rows, and at the slot that is being made.
func (c *cursor) poll(ctx context.Context) error {
	select {
	case made := <-c.making: // there may be rows at every look
		c.making = nil
		return c.handOver(ctx, made)
	default:
	}
	changed, longest := c.store.news.watch(time.Now())
	c.makeSlot()
	reading, err := c.store.look(ctx, c.floor)
	if err != nil {
		return err
	}
	if c.read(reading); c.reading != nil {
		return nil
	}
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case made := <-c.making:
		c.making = nil
		return c.handOver(ctx, made)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// makeSlot begins to make the slot if the relay is to tail and nobody does so yet.
func (c *cursor) makeSlot() {
	if c.store.config.Relay == Poll || c.making != nil || time.Since(c.madeAt) < slotPause {
		return
	}
	c.madeAt = time.Now()
	into := make(chan making, 1)
	c.making = into
	go func() {
		slot, err := c.store.createSlot(c.life)
		into <- making{slot, err}
	}()
}

// handOver goes from polling to tailing.
func (c *cursor) handOver(ctx context.Context, made making) error {
	if hasCode(made.err, codeDuplicateObject) { // opening again shows whose it is
		return fmt.Errorf("make the replication slot: %w", made.err)
	}
	if made.err != nil {
		if c.problem != made.err.Error() {
			c.problem = made.err.Error()
			c.store.config.Logger.Error("postgres: there is no replication slot, and it could not be made; polling the table and trying again", "slot", c.store.source.slot, "pause", slotPause, "error", made.err)
		}
		return nil
	}
	if err := c.store.adopt(ctx, made.slot); err != nil {
		return err
	}
	c.store.config.Logger.Info("postgres: tailing the log", "slot", c.store.source.slot, "from", made.slot.from.String())
	c.base = made.slot.snapshot
	return c.takeSlot(ctx, relay.Position{})
}

// Close implements [relay.Cursor].
func (c *cursor) Close() error {
	c.stop()
	if c.tail != nil {
		c.tail.close()
	}
	if c.making != nil {
		<-c.making
	}
	return nil
}
