package inbox

import (
	"context"
	"math"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
)

// run is the messages that a batch handler gets at once.
type run struct {
	registration *Registration
	items        []*item
}

// runs are collected while the items of a batch are looked at, and executed before anything
// that has to follow one of theirs.
type runs struct {
	order    []*run // by their first item
	by       map[*Registration]*run
	keys     map[ChannelKey]*run
	barriers map[BarrierKey]bool
	locks    map[lock.Key]bool
}

func (r *runs) add(g *Registration, it *item) {
	if r.by == nil {
		r.by, r.keys, r.barriers, r.locks = map[*Registration]*run{}, map[ChannelKey]*run{}, map[BarrierKey]bool{}, map[lock.Key]bool{}
	}
	to := r.by[g]
	if to == nil {
		to = &run{registration: g}
		r.by[g], r.order = to, append(r.order, to)
	}
	to.items = append(to.items, it)
	r.keys[keyOf(it.message)] = to
	if guard, ok := guardOf(it.message, g); ok {
		r.barriers[guard.key] = true
	}
	for k := range g.lockKeys(it.message) {
		r.locks[k] = true
	}
}

// alone reports whether a message is not handled together with others: what becomes of it
// must not touch them.
func (p *pass) alone(it *item) bool { return p.careful || it.suspect || it.failed != nil }

// mustFollow reports whether what is known of an item's key, or of its barrier, depends on a
// run that is not executed yet. A message of the same key may join the same run: a batch handler
// gets them in order. One that a barrier may decide does not join.
func (p *pass) mustFollow(it *item) bool {
	if len(p.runs.order) == 0 || it.message == nil || it.fault != nil {
		return false
	}
	m := it.message
	guard, ok := p.guardOf(m)
	if ok && p.runs.barriers[guard.key] {
		return true
	}
	if p.lockPending(m) {
		return true
	}
	to, pending := p.runs.keys[keyOf(m)]
	if !pending {
		return false
	}
	_, recorded := p.barriers[guard.key]
	decided := ok && (recorded || guard.action != skald.ActionDo)
	return decided || p.alone(it) || to.registration != p.consumer.routes.find(m)
}

// lockPending reports whether a message meets a lock that a run may take or release.
func (p *pass) lockPending(m *skald.Message) bool {
	if len(p.runs.locks) == 0 {
		return false
	}
	if g := p.consumer.routes.find(m); g != nil {
		for k := range g.lockKeys(m) {
			if p.runs.locks[k] {
				return true
			}
		}
	}
	return false
}

func (p *pass) executeRuns(ctx, handlers context.Context) error {
	pending := p.runs.order
	p.runs = runs{}
	for _, r := range pending {
		items, err := p.granted(ctx, r)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			continue
		}
		if err := p.execute(ctx, handlers, r.registration, items...); err != nil {
			return err
		}
	}
	return nil
}

// granted decides about a run's locks once more, and returns those of its messages that go on: a local step of a saga,
// or an operator, may have changed the queues since, in the same batch.
func (p *pass) granted(ctx context.Context, r *run) ([]*item, error) {
	g := r.registration
	if g.Locks == "" && g.Unlocks == "" {
		return r.items, nil
	}
	items := make([]*item, 0, len(r.items))
	for _, it := range r.items {
		decision, waits, err := p.atLock(ctx, it, g)
		switch {
		case err != nil:
			return nil, err
		case waits:
		case decision.answered:
			if err := p.answer(ctx, it, g, decision); err != nil {
				return nil, err
			}
		default:
			items = append(items, it)
		}
	}
	return items, nil
}

// run calls the handler that the registration has.
func (g *Registration) run(ctx context.Context, tx skald.Tx, requests []*Request) error {
	if g.HandleBatch != nil {
		return g.HandleBatch(skald.WithCorrelation(ctx, together(requests)), tx, requests)
	}
	r := requests[0]
	r.Settle(g.Handle(skald.WithCause(ctx, r.Message), tx, r.Message))
	return nil
}

// together is the correlation of what a batch handler sends without saying on whose behalf: it counts the
// fewest hops of any, so that nobody's loop stops the others.
func together(requests []*Request) skald.Correlation {
	c := skald.Correlation{Hops: math.MaxInt}
	for _, r := range requests {
		c.Hops = min(c.Hops, r.Message.Onward().Hops)
	}
	return c
}
