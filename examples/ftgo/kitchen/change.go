package kitchen

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/isolation"
)

// beginCancel locks the ticket, or refuses because the kitchen is at work on it.
func (k *kitchen) beginCancel(ctx context.Context, tx *sql.Tx, c kitchenapi.Change) (kitchenapi.Done, error) {
	if err := k.hold(ctx, tx, c.TicketID, CancelPending, nil); err != nil {
		return kitchenapi.Done{}, err
	}
	return kitchenapi.Done{}, k.audit.Effect(ctx, tx, c.Operation, stepCancel, audit.Do)
}

func (k *kitchen) undoCancel(ctx context.Context, tx *sql.Tx, c kitchenapi.Change) (kitchenapi.Done, error) {
	if err := k.store.release(ctx, tx, c.TicketID, CancelPending, time.Now().UnixMicro()); err != nil {
		return kitchenapi.Done{}, err
	}
	return kitchenapi.Done{}, k.audit.Effect(ctx, tx, c.Operation, stepCancel, audit.Undo)
}

func (k *kitchen) confirmCancel(ctx context.Context, tx *sql.Tx, c kitchenapi.Change) (kitchenapi.Done, error) {
	if err := k.store.move(ctx, tx, c.TicketID, CancelPending, Cancelled, time.Now().UnixMicro()); err != nil {
		return kitchenapi.Done{}, err
	}
	return kitchenapi.Done{}, k.audit.Effect(ctx, tx, c.Operation, stepConfirmCancel, audit.Do)
}

// beginRevise checks the new items and locks the ticket, or refuses as beginCancel does. The menu must be the one that they were
// priced by: it is read again here, and whoever has priced them by another does so again.
func (k *kitchen) beginRevise(ctx context.Context, tx *sql.Tx, r kitchenapi.Revision) (kitchenapi.Done, error) {
	restaurant, err := k.restaurant(ctx, tx, r.RestaurantID, r.RestaurantVersion)
	if err != nil {
		return kitchenapi.Done{}, err
	}
	err = isolation.Unchanged(int64(r.RestaurantVersion), int64(restaurant.Version),
		skald.Refusef(kitchenapi.RefusedMenuChanged, "the menu is at version %d, the items were priced by version %d", restaurant.Version, r.RestaurantVersion))
	if err == nil {
		err = checkItems(restaurant, r.LineItems)
	}
	if err != nil {
		return kitchenapi.Done{}, err
	}
	items, err := json.Marshal(r.LineItems)
	if err != nil {
		return kitchenapi.Done{}, fmt.Errorf("encode the new line items of ticket %s: %w", r.TicketID, err)
	}
	if err := k.hold(ctx, tx, r.TicketID, RevisionPending, items); err != nil {
		return kitchenapi.Done{}, err
	}
	return kitchenapi.Done{}, k.audit.Effect(ctx, tx, r.Operation, stepRevise, audit.Do)
}

func (k *kitchen) undoRevise(ctx context.Context, tx *sql.Tx, c kitchenapi.Change) (kitchenapi.Done, error) {
	if err := k.store.release(ctx, tx, c.TicketID, RevisionPending, time.Now().UnixMicro()); err != nil {
		return kitchenapi.Done{}, err
	}
	return kitchenapi.Done{}, k.audit.Effect(ctx, tx, c.Operation, stepRevise, audit.Undo)
}

func (k *kitchen) confirmRevise(ctx context.Context, tx *sql.Tx, c kitchenapi.Change) (kitchenapi.Done, error) {
	if err := k.store.revise(ctx, tx, c.TicketID, time.Now().UnixMicro()); err != nil {
		return kitchenapi.Done{}, err
	}
	return kitchenapi.Done{}, k.audit.Effect(ctx, tx, c.Operation, stepConfirmRevise, audit.Do)
}

// hold puts a ticket into a pending state, with the new items of a revision. A ticket on which the
// kitchen is at work is refused; one that another saga holds is no refusal but a reason to wait.
func (k *kitchen) hold(ctx context.Context, tx *sql.Tx, id string, to State, items []byte) error {
	found, ok, err := k.store.find(ctx, tx, id)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("there is no ticket %s", id)
	case found.state.Pending():
		return fmt.Errorf("ticket %s is %s", id, found.state)
	case !found.state.Changeable():
		return skald.Refusef(kitchenapi.RefusedTooLate, "the ticket is %s", found.state)
	}
	return k.store.hold(ctx, tx, found, to, items, time.Now().UnixMicro())
}
