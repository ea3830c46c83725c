package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
)

// decision is what a barrier says about a command without running its handler.
type decision struct {
	answered bool
	content  any
	refusal  *skald.Refusal
}

// nothing is the content of an answer that has none.
type nothing struct{}

// atBarrier decides about a saga's command, or a reaction's event, by what is recorded of its
// attempt: an undo that comes first does nothing and bars its do; a do that comes after is refused.
func (p *pass) atBarrier(ctx context.Context, m *skald.Message, g *Registration) (decision, error) {
	guard, ok := guardOf(m, g)
	if !ok {
		return decision{}, nil
	}
	key := guard.key
	b, recorded := p.barriers[key]
	switch guard.action {
	case skald.ActionUndo:
		if recorded && b.State == BarrierDone {
			return decision{}, nil
		}
		if recorded {
			return decision{answered: true, content: nothing{}}, nil
		}
		if m.Headers.Get(skald.HeaderLanded) != "" { // so long ago that its record was cleaned up
			return decision{}, nil
		}
		p.setBarrier(Barrier{BarrierKey: key, State: BarrierUndone})
		return decision{answered: true, content: nothing{}}, p.releaseDo(ctx, key)
	case skald.ActionBar:
		if recorded && (b.State == BarrierDone || b.State == BarrierRefused) {
			return p.recordedOutcome(ctx, b)
		}
		if !recorded {
			p.setBarrier(Barrier{BarrierKey: key, State: BarrierBarred})
			return barred("the bar came before the command"), p.releaseDo(ctx, key)
		}
		return barred("the bar came before the command"), nil
	default:
		another := m.Kind == skald.KindEvent && b.State == BarrierDone // event of the same reaction
		if recorded && !another {
			return barred("its undo, or its bar, came before it"), nil
		}
		return decision{}, nil
	}
}

func barred(why string) decision {
	return decision{answered: true, refusal: skald.Refuse(skald.RefusedBarred, why)}
}

// recordedOutcome answers a bar with what the pivot was answered.
func (p *pass) recordedOutcome(ctx context.Context, b Barrier) (decision, error) {
	encoded := p.replyOf(b.Command)
	if encoded == nil {
		known, err := p.consumer.store.Handled(ctx, p.tx, p.consumer.group, []skald.ID{b.Command})
		if err != nil {
			return decision{}, err
		}
		for _, h := range known {
			encoded = h.Reply
		}
	}
	var recorded skald.Message
	if err := recorded.UnmarshalBinary(encoded); err != nil {
		return decision{}, fmt.Errorf("inbox: recorded reply of command %s: %w", b.Command, err)
	}
	d := decision{answered: true}
	if recorded.Headers.Get(skald.HeaderOutcome) == skald.OutcomeRefused {
		d.refusal = &skald.Refusal{}
		return d, skald.Decode(&recorded, d.refusal)
	}
	d.content = rawContent(recorded.Payload)
	return d, nil
}

// rawContent is an answer that is encoded already.
type rawContent []byte

// MarshalJSON implements [json.Marshaler].
func (r rawContent) MarshalJSON() ([]byte, error) { return r, nil }

// replyOf finds the reply to a command that this batch handled itself.
func (p *pass) replyOf(command skald.ID) []byte {
	for i := range p.handled {
		if p.handled[i].ID == command {
			return p.handled[i].Reply
		}
	}
	return nil
}

// recordBarrier notes what became of a command whose handler ran.
func (p *pass) recordBarrier(m *skald.Message, g *Registration, refused bool) {
	guard, ok := guardOf(m, g)
	if !ok {
		return
	}
	key := guard.key
	switch {
	case guard.action == skald.ActionDo && refused:
		p.setBarrier(Barrier{BarrierKey: key, State: BarrierRefused, Command: m.ID})
	case guard.action == skald.ActionDo:
		p.setBarrier(Barrier{BarrierKey: key, State: BarrierDone, Command: m.ID})
	case !refused:
		p.setBarrier(Barrier{BarrierKey: key, State: BarrierUndone, Command: p.barriers[key].Command})
	}
}

func (p *pass) setBarrier(b Barrier) {
	p.barriers[b.BarrierKey] = b
	for i := range p.changed {
		if p.changed[i].BarrierKey == b.BarrierKey {
			p.changed[i] = b
			return
		}
	}
	p.changed = append(p.changed, b)
}

// overtakes reports whether an undo or a bar goes before its own do, which is held: the do
// is then made due, and refused by the barrier.
func (p *pass) overtakes(ctx context.Context, m *skald.Message) (bool, error) {
	guard, ok := p.guardOf(m)
	if !ok || guard.action == skald.ActionDo || !p.consumer.routes.besideDo(m) {
		return false, nil
	}
	return p.release(ctx, guard.key)
}

// releaseDo makes the do of an undo, or of a bar, due if it is held where that need not overtake it: apart from its key, as
// what has met a lock is, or, of an event, on another channel.
func (p *pass) releaseDo(ctx context.Context, key BarrierKey) error {
	_, err := p.release(ctx, key)
	return err
}

// release makes the do of a barrier due, and reports whether it is held.
func (p *pass) release(ctx context.Context, key BarrierKey) (bool, error) {
	for i := range p.hold {
		h := &p.hold[i]
		if other, ok := p.guardOf(&h.Message); ok && other == (guarded{key, skald.ActionDo}) {
			if h.State == HeldParked {
				h.State = HeldRetrying
			}
			h.NextAttempt = p.work.Now
			return true, nil
		}
	}
	found, err := p.consumer.store.ReleaseHeldDos(ctx, p.tx, p.consumer.group, []BarrierKey{key})
	if len(found) > 0 {
		p.work.Committed = append(p.work.Committed, p.consumer.wakeHeld)
	}
	return len(found) > 0, err
}

// makeReply makes and checks the reply to a command, before its writes are kept; nil when
// nobody waits for one.
func (p *pass) makeReply(m *skald.Message, answer any, refusal *skald.Refusal) (*skald.Message, error) {
	if m.Headers.Get(skald.HeaderReplyTo) == "" {
		return nil, nil
	}
	reply, err := skald.Reply(m, answer, refusal)
	if err != nil {
		return nil, err
	}
	reply.Source, reply.Time = p.consumer.group, p.work.Now
	return &reply, reply.Validate()
}

// done ends a handled message: its reply is sent, and recorded.
func (p *pass) done(it *item, reply *skald.Message) error {
	h := Handled{ID: it.message.ID}
	if reply != nil {
		encoded, err := reply.MarshalBinary()
		if err != nil {
			return err
		}
		h.Reply = encoded
		p.work.Outgoing = append(p.work.Outgoing, *reply)
	}
	p.handled = append(p.handled, h)
	if it.held != nil {
		p.unhold = append(p.unhold, it.message.ID)
	}
	return nil
}

// answerAgainAfter is how old a recorded reply must be to be sent again. A duplicate that
// comes sooner was published or delivered twice, and its reply is on its way already: to send
// it again would double the load just when a relay catches up.
const answerAgainAfter = time.Minute

// answerAgain answers a duplicate with its recorded reply, under that reply's own id.
func (p *pass) answerAgain(known Handled) error {
	if known.Reply == nil {
		return nil
	}
	var m skald.Message
	if err := m.UnmarshalBinary(known.Reply); err != nil {
		return fmt.Errorf("inbox: recorded reply of command %s: %w", known.ID, err)
	}
	if p.work.Now.Sub(m.Time) >= answerAgainAfter {
		p.work.Outgoing = append(p.work.Outgoing, m)
	}
	return nil
}

// fail holds a message for its next attempt, or parks it.
func (p *pass) fail(it *item, cause error) {
	if errors.Is(cause, ErrPostponed) {
		p.postpone(it, cause)
		return
	}
	var conflict *lock.Conflict
	it.conflicts = errors.As(cause, &conflict)
	attempts := 1
	if it.held != nil {
		attempts += it.held.Attempts
	}
	if errors.Is(cause, ErrUnhandleable) || errors.Is(cause, skald.ErrMalformed) || attempts >= p.consumer.config.MaxAttempts {
		p.keep(it, HeldParked, attempts, cause.Error())
		return
	}
	p.keep(it, HeldRetrying, attempts, cause.Error())
}

// postpone holds a message for a process that can handle it: the attempt does not count.
func (p *pass) postpone(it *item, cause error) {
	attempts, waited := 0, time.Duration(0)
	if it.held != nil {
		attempts, waited = it.held.Attempts, p.work.Now.Sub(it.held.HeldAt)
	}
	h := p.keep(it, HeldRetrying, attempts, cause.Error())
	h.NextAttempt = p.work.Now.Add(postponement(waited))
	p.postponed[it.message.ID] = true
}

func (p *pass) park(it *item, reason string) {
	attempts := 1
	if it.held != nil {
		attempts += it.held.Attempts
	}
	p.keep(it, HeldParked, attempts, reason)
}

// keep puts a message into the held table; what follows it in its key joins it there.
func (p *pass) keep(it *item, state HeldState, attempts int, reason string) *Held {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	h := Held{Message: p.marked(*it.message), Raw: it.raw, State: state, Attempts: attempts, Reason: reason, HeldAt: p.work.Now}
	if it.held != nil {
		h.Raw, h.HeldAt = it.held.Raw, it.held.HeldAt
	}
	if it.fault != nil {
		h.Message = skald.Message{ID: skald.NewID(), Channel: it.from.lease.Channel, Time: p.work.Now}
	}
	if state == HeldRetrying {
		h.NextAttempt = p.work.Now.Add(p.consumer.config.Backoff(attempts))
	}
	switch h.Apart = it.held != nil && it.held.Apart; {
	case it.conflicts && !h.Apart:
		return p.setApart(it, h)
	case h.Apart:
		p.failed[h.Queue()] = true
	case h.Raw == nil:
		p.blocked[keyOf(it.message)] = true
		p.failed[keyOf(it.message)] = true
	}
	p.hold = append(p.hold, h)
	return &p.hold[len(p.hold)-1]
}

func (p *pass) logHeld(h *Held) {
	c := p.consumer
	attributes := []any{"group", c.group, "channel", h.Message.Channel, "type", h.Message.Type, "message_id", h.Message.ID, "attempts", h.Attempts, "reason", h.Reason}
	switch {
	case p.postponed[h.Message.ID] && h.HeldAt.Equal(p.work.Now):
		c.config.Logger.Warn("inbox: message held: it waits for a process that can handle it", attributes...)
	case p.postponed[h.Message.ID]:
		c.config.Logger.Debug("inbox: message held on: it still waits for a process that can handle it", attributes...)
	case h.State == HeldParked:
		c.config.Logger.Error("inbox: message parked: it waits for an operator", attributes...)
	case h.State == HeldRetrying:
		c.config.Logger.Warn("inbox: message held: it will be tried again", append(attributes, "next_attempt", h.NextAttempt)...)
	case h.State == HeldFollowing:
		c.config.Logger.Debug("inbox: message held behind another of its key", attributes...)
	}
}
