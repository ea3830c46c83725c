package inbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/unit"
)

// maxReason bounds what is kept of an error, in bytes.
const maxReason = 2 << 10

// pass is one run over a batch's items in one transaction. What it finds out is kept here
// until the commit, and forgotten with the pass when there is none.
type pass struct {
	lane       *lane
	consumer   *Consumer
	batch      Batch
	tx         skald.Tx
	work       *unit.Work
	items      []*item
	careful    bool // nothing is handled together, and everything behind a savepoint
	savepoints bool // cost nothing

	current atomic.Pointer[running]
	runs    runs

	known    map[skald.ID]Handled // handled before this batch
	seen     map[skald.ID]bool    // handled, held or parked in this batch, or held before
	blocked  map[ChannelKey]bool  // by a held message
	failed   map[ChannelKey]bool  // by a held message that was tried in this batch, or in an earlier part of it
	barriers map[BarrierKey]Barrier

	handled   []Handled
	changed   []Barrier
	hold      []Held
	postponed map[skald.ID]bool // which of those wait for another process
	unhold    []skald.ID
	apart     []Held // what waits for a lock
	positions map[*owned]Position
	results   map[*item]error
	ran       []*item // functions; the first one's id is on record, so that a batch that landed is known again
}

func newPass(l *lane, b Batch, items []*item, careful bool) *pass {
	return &pass{
		lane: l, consumer: l.consumer, batch: b, tx: b.Tx(), items: items, careful: careful, savepoints: b.CheapSavepoints(),
		work: unit.New(b.Tx(), l.now().UTC()), known: map[skald.ID]Handled{}, seen: map[skald.ID]bool{},
		blocked: map[ChannelKey]bool{}, failed: maps.Clone(l.failed), barriers: map[BarrierKey]Barrier{},
		positions: map[*owned]Position{}, results: map[*item]error{}, postponed: map[skald.ID]bool{},
	}
}

// run handles every item and writes what came of it. ctx is for the store, handlers for the
// handlers: it can be cancelled.
func (p *pass) run(ctx, handlers context.Context) error {
	handlers = unit.With(handlers, p.work)
	if err := p.prepare(handlers); err != nil {
		return err
	}
	if err := p.look(ctx); err != nil {
		return err
	}
	for _, it := range p.items {
		if err := p.item(ctx, handlers, it); err != nil {
			return err
		}
	}
	if err := p.executeRuns(ctx, handlers); err != nil {
		return err
	}
	return p.write(ctx)
}

// look asks the store, once for the whole batch, what is known of its messages.
func (p *pass) look(ctx context.Context) error {
	q := p.question()
	found, err := look(ctx, p.consumer.store, p.tx, p.consumer.group, q)
	if err != nil {
		return err
	}
	if len(q.Locks) > 0 {
		p.locks().Adopt(q.Locks, found.Locks)
	}
	landed, err := p.landed(ctx)
	if err != nil {
		return err
	}
	for _, h := range append(found.Handled, landed...) {
		p.known[h.ID] = h
	}
	for _, key := range found.Blocked {
		p.blocked[key] = true
	}
	for _, id := range found.Held {
		p.seen[id] = true
	}
	for _, b := range found.Barriers {
		p.barriers[b.BarrierKey] = b
	}
	return nil
}

func (p *pass) question() Question {
	q := Question{
		IDs: make([]skald.ID, 0, len(p.items)), Arrived: make([]skald.ID, 0, len(p.items)),
		Keys: make([]ChannelKey, 0, len(p.items)), Barriers: make([]BarrierKey, 0, len(p.items)),
	}
	asked := make(map[ChannelKey]bool, len(p.items))
	for _, it := range p.items {
		q.Locks = append(q.Locks, it.locks...)
		if it.message == nil || it.fault != nil {
			continue
		}
		q.IDs = append(q.IDs, it.message.ID)
		if it.held == nil {
			q.Arrived = append(q.Arrived, it.message.ID)
			if key := keyOf(it.message); !asked[key] {
				asked[key] = true
				q.Keys = append(q.Keys, key)
			}
		}
		if guard, ok := p.guardOf(it.message); ok {
			q.Barriers = append(q.Barriers, guard.key)
		}
		if g := p.consumer.routes.find(it.message); g != nil {
			q.Locks = slices.AppendSeq(q.Locks, g.lockKeys(it.message))
		}
	}
	q.Locks = p.locks().Missing(q.Locks)
	return q
}

// prepare shows registrations that want it all their messages at once. It comes first, so that what
// they only note is asked together with what the runtime asks.
func (p *pass) prepare(ctx context.Context) error {
	var wanted map[*Registration][]*skald.Message
	for _, it := range p.items {
		if it.message == nil || it.fault != nil || it.failed != nil {
			continue
		}
		g := p.consumer.routes.find(it.message)
		if g == nil || g.Prepare == nil {
			continue
		}
		if wanted == nil {
			wanted = map[*Registration][]*skald.Message{}
		}
		wanted[g] = append(wanted[g], it.message)
	}
	for g, messages := range wanted {
		if err := g.Prepare(ctx, p.tx, messages); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) item(ctx, handlers context.Context, it *item) error {
	if p.mustFollow(it) {
		if err := p.executeRuns(ctx, handlers); err != nil {
			return err
		}
	}
	switch {
	case it.job != nil:
		return p.runJob(ctx, handlers, it)
	case it.held != nil:
		return p.retry(ctx, handlers, it)
	default:
		p.positions[it.from] = it.position
		return p.deliver(ctx, handlers, it)
	}
}

// deliver handles a message that came from the broker.
func (p *pass) deliver(ctx, handlers context.Context, it *item) error {
	m := it.message
	if it.fault != nil {
		p.park(it, fmt.Sprintf("what arrived is no message: %v", it.fault))
		return nil //nolint:nilerr // parked, where an operator sees it
	}
	if p.seen[m.ID] {
		return nil
	}
	p.seen[m.ID] = true
	if known, ok := p.known[m.ID]; ok {
		return p.answerAgain(known)
	}
	if p.blocked[keyOf(m)] {
		overtakes, err := p.overtakes(ctx, m)
		if err != nil {
			return err
		}
		if !overtakes {
			p.keep(it, HeldFollowing, 0, "behind another message of its key")
			return nil
		}
	}
	return p.handle(ctx, handlers, it)
}

// retry handles a held message that is due, or follows one in this batch.
func (p *pass) retry(ctx, handlers context.Context, it *item) error {
	if p.failed[it.held.Queue()] || !p.fence(it.message) {
		return nil
	}
	if _, known := p.known[it.message.ID]; known { // since: by a commit that landed although it failed, or by another instance
		p.unhold = append(p.unhold, it.message.ID)
		return nil
	}
	if it.held.Raw != nil {
		p.park(it, "what arrived is no message, and cannot be tried again: "+it.held.Reason)
		return nil
	}
	return p.handle(ctx, handlers, it)
}

// fence makes the commit depend on the lease of a held message's partition, as a delivery
// does; false when this instance does not read that partition any more.
func (p *pass) fence(m *skald.Message) bool {
	o := p.lane.owner(m)
	if o == nil {
		return false
	}
	if _, ok := p.positions[o]; !ok {
		p.positions[o] = p.lane.leases.position(o)
	}
	return true
}

func (p *pass) handle(ctx, handlers context.Context, it *item) error {
	m := it.message
	g := p.consumer.routes.find(m)
	switch {
	case g == nil:
		return p.unknown(it)
	case it.failed != nil:
		p.fail(it, it.failed)
		return nil //nolint:nilerr // held, with its error as the reason
	}
	if hops := m.Correlation().Hops; hops > p.consumer.config.hops(g) {
		p.fail(it, tooFar(m, hops, p.consumer.config.hops(g)))
		return nil
	}
	if g.own != nil {
		return g.own(p, ctx, it)
	}
	decision, err := p.atBarrier(ctx, m, g)
	if err != nil {
		return err
	}
	if !decision.answered && (g.Locks != "" || g.Unlocks != "") {
		var waits bool
		decision, waits, err = p.atLock(ctx, it, g)
		if errors.Is(err, ErrUnhandleable) {
			p.fail(it, err)
			return nil
		}
		if waits || err != nil {
			return err
		}
	}
	if decision.answered && g.Reaction != nil && g.Reaction.Skipped != nil {
		return p.execute(ctx, handlers, &Registration{Handle: g.Reaction.Skipped}, it)
	}
	if decision.answered {
		return p.answer(ctx, it, g, decision)
	}
	if g.HandleBatch != nil && !p.alone(it) {
		p.runs.add(g, it)
		return nil
	}
	return p.execute(ctx, handlers, g, it)
}

// answer ends a message in place of its handler.
func (p *pass) answer(ctx context.Context, it *item, g *Registration, d decision) error {
	reply, err := p.makeReply(it.message, d.content, d.refusal)
	if err != nil {
		return err
	}
	if err := p.settleLocks(ctx, it.message, g, false, d.refusal != nil); err != nil {
		return err
	}
	return p.done(it, reply)
}

// unknown ends a message that has no handler. An event that nobody here has subscribed to is none of ours;
// anything else waits for an operator, and for a release that knows it.
func (p *pass) unknown(it *item) error {
	m := it.message
	versions := p.consumer.routes.otherVersions(m)
	switch {
	case len(versions) > 0:
		p.park(it, fmt.Sprintf("no handler for %s %q version %d, only for %d", m.Kind, m.Type, m.Version, versions))
	case m.Kind == skald.KindEvent:
		return p.done(it, nil)
	default:
		p.park(it, fmt.Sprintf("no handler for %s %q version %d", m.Kind, m.Type, m.Version))
	}
	return nil
}

// write puts down what came of the batch, each kind in one statement.
func (p *pass) write(ctx context.Context) error {
	store, group := p.consumer.store, p.consumer.group
	p.work.Seal()
	// In this order: what is removed makes the next of its key due, also one held just now; and who waits for a
	// lock may have left its key's queue for that, and may have got the lock in this very batch.
	if err := store.Hold(ctx, p.tx, group, p.hold); err != nil {
		return err
	}
	if err := store.Unhold(ctx, p.tx, group, p.unhold); err != nil {
		return err
	}
	if err := store.Hold(ctx, p.tx, group, p.apart); err != nil {
		return err
	}
	if err := p.work.Flush(ctx); err != nil {
		return err
	}
	if len(p.ran) > 0 {
		record := []Handled{{ID: p.ran[0].id}}
		if err := store.RecordHandled(ctx, p.tx, group+functionGroup, p.work.Now, record); err != nil {
			return err
		}
	}
	if err := p.consumer.outbox.AddMessages(ctx, p.tx, p.work.Outgoing); err != nil {
		return err
	}
	if err := store.RecordHandled(ctx, p.tx, group, p.work.Now, p.handled); err != nil {
		return err
	}
	if err := store.SaveBarriers(ctx, p.tx, p.work.Now, p.changed); err != nil {
		return err
	}
	leases := make([]Lease, 0, len(p.positions))
	for o, position := range p.positions {
		if !p.lane.leases.holds(o) {
			return ErrFenced
		}
		leases = append(leases, Lease{Partition: o.lease.Partition, Epoch: o.lease.Epoch, Position: position})
	}
	return store.SavePositions(ctx, p.tx, leases)
}

// functionGroup is appended to the group's name for the records of batches that ran functions:
// they are no messages. No group's own name has a slash.
const functionGroup = "/functions"

// landed finds the records of those batches whose commit failed that took effect all the same.
func (p *pass) landed(ctx context.Context) ([]Handled, error) {
	var records []skald.ID
	for _, it := range p.items {
		if it.unsure != nil {
			records = append(records, it.unsure.record)
		}
	}
	if len(records) == 0 {
		return nil, nil
	}
	return p.consumer.store.Handled(ctx, p.tx, p.consumer.group+functionGroup, records)
}

// doubt notes how the batch's functions came out, after a commit that failed.
func (p *pass) doubt() {
	for _, it := range p.ran {
		it.unsure = &unsure{p.ran[0].id, p.results[it]}
	}
}

func keyOf(m *skald.Message) ChannelKey { return ChannelKey{m.Channel, m.OrderKey()} }
