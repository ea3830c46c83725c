package consumer

import (
	"context"
	"database/sql"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/outbox"
)

// reactionVerify is the reaction's name in the record of effects.
const reactionVerify = "verify consumer"

// orderCreated is verify without anybody who asks: what it says is an event, and on record.
func (c *consumers) orderCreated(ctx context.Context, tx *sql.Tx, o orderapi.Created) error {
	_, err := c.verify(ctx, tx, consumerapi.Verification{OrderID: o.OrderID, ConsumerID: o.ConsumerID, Total: o.Total})
	if refusal, refused := skald.AsRefusal(err); refused {
		if err := c.audit.Effect(ctx, tx, o.OrderID, reactionVerify, audit.Decline); err != nil {
			return err
		}
		return outbox.Publish(ctx, c.service.Outbox(), tx, consumerapi.ConsumerVerificationFailed, orderapi.Failed(o.OrderID, refusal))
	}
	if err != nil {
		return err
	}
	if err := c.audit.Effect(ctx, tx, o.OrderID, reactionVerify, audit.Do); err != nil {
		return err
	}
	return outbox.Publish(ctx, c.service.Outbox(), tx, consumerapi.ConsumerVerified, orderapi.About{OrderID: o.OrderID})
}
