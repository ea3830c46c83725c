package inbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/unit"
	"github.com/skald-go/skald/lock"
)

// Locks are the semantic locks in the group's database.
func (c *Consumer) Locks() *lock.Locks { return c.locks }

// addLocks has a channel take the runtime's own commands about locks, which are sent to wherever a
// saga takes one.
func (r *routes) addLocks(channel string) error {
	key := route{channel, lock.ReserveType, lock.Version, ""}
	if r.exact[key] != nil {
		return nil
	}
	never := func(context.Context, skald.Tx, *skald.Message) (any, error) { return nil, nil }
	for kind, own := range map[string]ownHandler{lock.ReserveType: (*pass).reserve, lock.SweepType: (*pass).sweep} {
		if err := r.add(Registration{Channel: channel, Type: kind, Version: lock.Version, Handle: never, own: own}); err != nil {
			return err
		}
	}
	return nil
}

// ownHandler handles a command of the runtime's own, in place of a registration's handler.
type ownHandler func(p *pass, ctx context.Context, it *item) error

// lockKeys are the locks that a message takes, releases or reserves.
func (g *Registration) lockKeys(m *skald.Message) iter.Seq[lock.Key] {
	return func(yield func(lock.Key) bool) {
		for _, r := range [...]skald.Resource{g.Locks, g.Unlocks} {
			if r != "" && !yield(lock.Key{Resource: r, Key: m.Key}) {
				return
			}
		}
		if g.own != nil && g.Type == lock.ReserveType {
			var wanted lock.Key
			if skald.Decode(m, &wanted) == nil { // what is wrong with it is said when it is handled
				yield(wanted)
			}
		}
	}
}

func locking(m *skald.Message) bool {
	action := m.Headers.Get(skald.HeaderAction)
	return action == skald.ActionDo || action == ""
}

// atLock decides about a message that takes a lock, or releases one, before its handler runs: it goes on, is
// answered in place of its handler, or waits.
func (p *pass) atLock(ctx context.Context, it *item, g *Registration) (d decision, waits bool, err error) {
	m := it.message
	claim, err := lock.ClaimOf(m)
	if err != nil {
		return d, false, fmt.Errorf("%w: %s %q: %w", ErrUnhandleable, m.Kind, m.Type, err)
	}
	if g.Unlocks != "" {
		if refusal, err := p.foreign(ctx, lock.Key{Resource: g.Unlocks, Key: m.Key}, claim); refusal != nil || err != nil {
			return decision{answered: true, refusal: refusal}, false, err
		}
	}
	if g.Locks == "" || !locking(m) {
		return d, false, nil
	}
	k := lock.Key{Resource: g.Locks, Key: m.Key}
	verdict, before, err := p.locks().Ask(ctx, k, claim.Owner, claim.Policy)
	switch {
	case err != nil || verdict == lock.Granted:
		return d, false, err
	case verdict == lock.Waiting && !p.tooLong(k, claim.Owner):
		p.await(it, claim.Row(k), before)
		return d, true, nil
	}
	if err := p.locks().Abandon(ctx, k, claim.Owner, m.ID); err != nil {
		return d, false, err
	}
	return decision{answered: true, refusal: lock.Deny(k, m.Channel, before, verdict == lock.Died)}, false, nil
}

// foreign refuses to release a lock that is another's: whoever took it may change what the message is about.
func (p *pass) foreign(ctx context.Context, k lock.Key, claim lock.Claim) (*skald.Refusal, error) {
	verdict, before, err := p.locks().Ask(ctx, k, claim.Owner, lock.Refuse)
	if err != nil || verdict == lock.Granted {
		return nil, err
	}
	return lock.Deny(k, "", before, false), nil
}

func (p *pass) locks() *lock.Share { return p.consumer.locks.In(p.work) }

// tooLong reports whether a saga has waited for a lock for as long as it may.
func (p *pass) tooLong(k lock.Key, o lock.Owner) bool {
	row, ok := p.locks().Row(k, o)
	return ok && !p.work.Now.Before(row.Since.Add(p.consumer.config.LockPatience))
}

// await has a message wait in the queue for a lock, apart from the queue of its key: what releases the lock
// may come behind it there.
func (p *pass) await(it *item, row lock.Row, before []lock.Row) {
	m := it.message
	row.Group, row.Message = p.consumer.group, m.ID
	share := p.locks()
	share.Join(row)
	row, _ = share.Row(row.Key, row.Owner)
	next := row.Since.Add(p.consumer.config.LockPatience)
	if row.Message != m.ID { // another branch of its family waits: nobody wakes this one
		next = p.work.Now.Add(heldLook)
	}
	held := Held{
		Message: p.marked(*m), State: HeldRetrying, HeldAt: p.work.Now, NextAttempt: next,
		Reason: fmt.Sprintf("waits for the lock on %s, behind %d; it is held by saga %s (%s)", row.Key, len(before), before[0].Name, before[0].Saga),
	}
	if it.held != nil {
		held.HeldAt, held.Attempts = it.held.HeldAt, it.held.Attempts
	}
	p.setApart(it, held)
}

// setApart holds a message apart from the queue of its key, which it leaves if it is in it.
func (p *pass) setApart(it *item, held Held) *Held {
	if it.held != nil && !it.held.Apart {
		p.unhold = append(p.unhold, it.message.ID)
	}
	held.Apart = true
	p.apart = append(p.apart, held)
	return &p.apart[len(p.apart)-1]
}

// settleLocks writes down what a message that was answered does to locks. What its handler did not do, because the
// barrier answered in its place, leaves nothing locked either.
func (p *pass) settleLocks(ctx context.Context, m *skald.Message, g *Registration, ran, refused bool) error {
	if g.Locks == "" && g.Unlocks == "" {
		return nil
	}
	claim, err := lock.ClaimOf(m)
	if err != nil {
		return nil //nolint:nilerr // it was refused for that before its handler ran
	}
	action := m.Headers.Get(skald.HeaderAction)
	if g.Unlocks != "" && !refused && action != skald.ActionBar {
		if err := p.unlock(ctx, lock.Key{Resource: g.Unlocks, Key: m.Key}, claim, action, ran); err != nil {
			return err
		}
	}
	if g.Locks == "" {
		return nil
	}
	k := lock.Key{Resource: g.Locks, Key: m.Key}
	switch {
	case locking(m) && ran && !refused:
		return p.locks().Take(by(m, claim.Row(k)))
	case locking(m):
		return p.locks().Abandon(ctx, k, claim.Owner, m.ID)
	default: // a bar, in whose place its do may wait
		return p.locks().Withdraw(ctx, k, claim.Owner, claim.Saga, claim.Step)
	}
}

// by notes in whose name a lock is had.
func by(m *skald.Message, row lock.Row) lock.Row {
	row.Message = m.ID
	return row
}

// unlock ends what one step has done under a lock.
func (p *pass) unlock(ctx context.Context, k lock.Key, claim lock.Claim, action string, ran bool) error {
	switch {
	case ran:
		found, err := p.locks().Leave(ctx, k, claim.Owner)
		if err == nil && !found {
			p.consumer.config.Logger.WarnContext(ctx, "inbox: a step unlocks what its saga has not locked: an operator may have released it; or the keys of what locks and what unlocks differ",
				"group", p.consumer.group, "resource", k.Resource, "key", k.Key, "saga", claim.Name, "saga_id", claim.Saga, "step", claim.Step)
		}
		return err
	case action == skald.ActionUndo: // the do has not landed, and may wait
		return p.locks().Withdraw(ctx, k, claim.Owner, claim.Saga, claim.Step)
	default:
		return nil
	}
}

// reserve takes a lock for a saga that does nothing under it yet, and answers once it has it.
func (p *pass) reserve(ctx context.Context, it *item) error {
	m := it.message
	k, claim, err := p.reservation(m)
	if err != nil {
		p.fail(it, fmt.Errorf("%w: reserve a lock: %w", ErrUnhandleable, err))
		return nil
	}
	share := p.locks()
	switch m.Headers.Get(skald.HeaderAction) {
	case skald.ActionBar:
		if err := share.Withdraw(ctx, k, claim.Owner, claim.Saga, claim.Step); err != nil {
			return err
		}
		return p.done(it, nil)
	case skald.ActionReserve:
		claim.Step, claim.Policy = "", lock.Reserve // it is no step's yet
	}
	verdict, before, err := share.Ask(ctx, k, claim.Owner, claim.Policy)
	if err != nil {
		return err
	}
	_, queued := share.Row(k, claim.Owner)
	gone := it.held != nil && it.held.Apart && !queued // the saga has ended meanwhile, or an operator has removed it
	var refusal *skald.Refusal
	switch {
	case verdict == lock.Granted && !gone:
		share.Keep(by(m, claim.Row(k)))
	case verdict == lock.Waiting && !gone && !p.tooLong(k, claim.Owner):
		p.await(it, claim.Row(k), before)
		return nil
	default:
		refusal = lock.Deny(k, "", before, verdict == lock.Died && !gone)
		if gone {
			refusal.Message = fmt.Sprintf("%s: the saga was taken out of the queue for the lock, by its end or by an operator", k)
		}
		if err := share.Abandon(ctx, k, claim.Owner, m.ID); err != nil {
			return err
		}
	}
	reply, err := p.makeReply(m, nothing{}, refusal)
	if err != nil {
		return err
	}
	return p.done(it, reply)
}

// reservation is which lock a message reserves, and in whose name.
func (p *pass) reservation(m *skald.Message) (k lock.Key, claim lock.Claim, err error) {
	if claim, err = lock.ClaimOf(m); err != nil {
		return k, claim, err
	}
	if err = skald.Decode(m, &k); err != nil {
		return k, claim, err
	}
	if !p.consumer.routes.owns(m.Channel, k.Resource) {
		err = fmt.Errorf("resource %q: no command on channel %q locks it here; there are %q: deploy the service that declares it, or correct the declaration",
			k.Resource, m.Channel, p.consumer.routes.resources(m.Channel))
	}
	return k, claim, err
}

// sweep removes what a saga that has ended left locked.
func (p *pass) sweep(ctx context.Context, it *item) error {
	claim, err := lock.ClaimOf(it.message)
	if err != nil {
		p.fail(it, fmt.Errorf("%w: sweep locks: %w", ErrUnhandleable, err))
		return nil
	}
	if err := p.locks().Sweep(ctx, claim.Owner); err != nil {
		return err
	}
	return p.done(it, nil)
}

// abandonLocks takes a message that is given up out of the queues in which it waits. It may have no handler any more, which
// would say which ones they are.
func (c *Consumer) abandonLocks(ctx context.Context, work *unit.Work, m *skald.Message) error {
	claim, err := lock.ClaimOf(m)
	if err != nil {
		return nil //nolint:nilerr // then it waits for no lock
	}
	return c.locks.In(work).AbandonAll(ctx, claim.Owner, m.ID)
}

// owns reports whether a command on the channel locks the resource, or the orchestrator's own steps do.
func (r *routes) owns(channel string, resource skald.Resource) bool {
	return slices.Contains(r.locked[channel], resource)
}

func (r *routes) resources(channel string) []skald.Resource { return r.locked[channel] }

// RegisterLocks has the consumer take reservations of a resource on a channel: for locks that the
// steps of an orchestrator take in its own transactions.
func (c *Consumer) RegisterLocks(channel string, resources ...skald.Resource) error {
	var faults []error
	for _, r := range resources {
		faults = append(faults, c.routes.lock(channel, r))
	}
	return errors.Join(faults...)
}

func (r *routes) lock(channel string, resource skald.Resource) error {
	if r.locked == nil {
		r.locked = map[string][]skald.Resource{}
	}
	if !r.owns(channel, resource) {
		r.locked[channel] = append(r.locked[channel], resource)
	}
	return r.addLocks(channel)
}

// ReleaseLock lets an operator take a lock from the saga that holds it, with a reason; a saga that waits for it has to ask
// again. It reports whether there was anything to release. The saga is not told: where it comes to release the
// lock, and another has it by then, its step is refused and it is parked. It works while Run does.
func (c *Consumer) ReleaseLock(ctx context.Context, k lock.Key, root skald.ID, reason string) (released bool, err error) {
	if reason == "" {
		return false, fmt.Errorf("inbox: release the lock on %s: a reason is required", k)
	}
	err = c.Transact(ctx, func(ctx context.Context, tx skald.Tx) error {
		released, err = c.locks.Force(ctx, tx, k, root)
		return err
	})
	if err != nil {
		return false, err
	}
	if released {
		c.config.Logger.WarnContext(ctx, "inbox: lock released by an operator", "group", c.group, "resource", k.Resource, "key", k.Key, "saga", root, "reason", reason)
	}
	return released, nil
}

// defaultLockPatience is how long a message waits for a lock.
const defaultLockPatience = 5 * time.Minute
