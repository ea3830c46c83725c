package inbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/unit"
)

// Redrive makes parked or retrying messages due now, and returns how many it found.
func (c *Consumer) Redrive(ctx context.Context, ids ...skald.ID) (int, error) {
	n, err := c.store.Redrive(ctx, c.group, ids)
	c.wakeHeld()
	return n, err
}

// Discard gives held messages up: they are recorded as handled without having been, and what
// follows them in their keys goes on. A command is answered with the refusal
// [skald.RefusedDiscarded] and the reason, so that its saga compensates, or is parked when its pivot has
// landed; its undo then does nothing. Discard returns how many of ids were held. It works while
// Run does.
func (c *Consumer) Discard(ctx context.Context, reason string, ids ...skald.ID) (int, error) {
	if reason == "" {
		return 0, fmt.Errorf("inbox: discard %d messages: a reason is required: it is what the commands are answered with", len(ids))
	}
	found, err := c.findHeld(ctx, ids)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	discarded := 0
	err = c.Transact(ctx, func(ctx context.Context, tx skald.Tx) error {
		discarded, err = c.discard(ctx, tx, found, reason)
		return err
	})
	c.wakeHeld()
	return discarded, err
}

// findHeld looks through the held table, which is as long as what is wrong.
func (c *Consumer) findHeld(ctx context.Context, ids []skald.ID) ([]Held, error) {
	const page = 500
	var found []Held
	for after, full := int64(0), true; full && len(found) < len(ids); {
		held, err := c.store.ListHeld(ctx, c.group, after, page)
		if err != nil {
			return nil, err
		}
		for i := range held {
			after = held[i].Place
			if slices.Contains(ids, held[i].Message.ID) {
				found = append(found, held[i])
			}
		}
		full = len(held) == page
	}
	return found, nil
}

func (c *Consumer) discard(ctx context.Context, tx skald.Tx, held []Held, reason string) (int, error) {
	work := unit.From(ctx, tx)
	ids := make([]skald.ID, len(held))
	for i := range held {
		ids[i] = held[i].Message.ID
	}
	handled, err := c.store.Handled(ctx, tx, c.group, ids)
	if err != nil {
		return 0, err
	}
	if len(handled) > 0 {
		return 0, fmt.Errorf("inbox: message %s has just been handled; look again before discarding", handled[0].ID)
	}
	records := make([]Handled, len(held))
	for i := range held {
		if records[i], err = c.giveUp(ctx, tx, work, &held[i].Message, reason); err != nil {
			return 0, err
		}
	}
	if err := c.store.RecordHandled(ctx, tx, c.group, work.Now, records); err != nil {
		return 0, err
	}
	return len(held), c.store.Unhold(ctx, tx, c.group, ids)
}

// giveUp answers a command, and bars a saga's step for good as its refusal would have.
func (c *Consumer) giveUp(ctx context.Context, tx skald.Tx, work *unit.Work, m *skald.Message, reason string) (Handled, error) {
	record := Handled{ID: m.ID}
	c.config.Logger.WarnContext(ctx, "inbox: message discarded by an operator", "group", c.group, "channel", m.Channel, "type", m.Type, "message_id", m.ID, "reason", reason)
	if err := c.abandonLocks(ctx, work, m); err != nil || m.Headers.Get(skald.HeaderReplyTo) == "" {
		return record, err
	}
	reply, err := skald.Reply(m, nil, skald.Refuse(skald.RefusedDiscarded, reason))
	if err != nil {
		return record, err
	}
	reply.Source, reply.Time = c.group, work.Now
	work.Outgoing = append(work.Outgoing, reply)
	if record.Reply, err = reply.MarshalBinary(); err != nil {
		return record, err
	}
	guard, ok := guardOf(m, nil)
	if !ok || guard.action != skald.ActionDo {
		return record, nil
	}
	return record, c.barDiscarded(ctx, tx, work.Now, Barrier{BarrierKey: guard.key, State: BarrierRefused, Command: m.ID})
}

func (c *Consumer) barDiscarded(ctx context.Context, tx skald.Tx, now time.Time, b Barrier) error {
	recorded, err := c.store.LockBarriers(ctx, tx, []BarrierKey{b.BarrierKey})
	if err != nil || len(recorded) > 0 {
		return err // its undo or its bar came first: that stands
	}
	return c.store.SaveBarriers(ctx, tx, now, []Barrier{b})
}
