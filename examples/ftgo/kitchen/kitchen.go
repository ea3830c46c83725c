// Package kitchen is the kitchen service: it turns orders into tickets, checked against its
// replica of the restaurants' menus, and follows each through the kitchen.
package kitchen

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/replica"
	"github.com/skald-go/skald/service"
)

// The names of the saga's steps in the record of effects.
const (
	stepCreate        = "create ticket"
	stepConfirm       = "confirm ticket"
	stepCancel        = "cancel ticket"
	stepConfirmCancel = "confirm ticket cancel"
	stepRevise        = "revise ticket"
	stepConfirmRevise = "confirm ticket revision"
)

type kitchen struct {
	service     *service.Service
	logger      *slog.Logger
	store       *store
	audit       *audit.Log
	restaurants *replica.Restaurants
}

// New makes the kitchen service on its host and returns its HTTP interface.
func New(ctx context.Context, h host.Host) (http.Handler, error) {
	k, err := open(ctx, h)
	if err != nil {
		return nil, err
	}
	k.restaurants.Register(h.Service)
	service.HandleCommand(h.Service, kitchenapi.CreateTicket, k.create)
	service.HandleCommand(h.Service, kitchenapi.RejectTicket, k.reject)
	service.HandleCommand(h.Service, kitchenapi.ConfirmTicket, k.confirm)
	service.HandleCommand(h.Service, kitchenapi.BeginCancelTicket, k.beginCancel)
	service.HandleCommand(h.Service, kitchenapi.UndoCancelTicket, k.undoCancel)
	service.HandleCommand(h.Service, kitchenapi.ConfirmCancelTicket, k.confirmCancel)
	service.HandleCommand(h.Service, kitchenapi.BeginReviseTicket, k.beginRevise)
	service.HandleCommand(h.Service, kitchenapi.UndoReviseTicket, k.undoRevise)
	service.HandleCommand(h.Service, kitchenapi.ConfirmReviseTicket, k.confirmRevise)
	k.react()
	return k.routes(), nil
}

func open(ctx context.Context, h host.Host) (*kitchen, error) {
	k := &kitchen{service: h.Service, logger: h.Logger}
	var err error
	if k.audit, err = audit.Open(ctx, h); err != nil {
		return nil, err
	}
	if k.restaurants, err = replica.OpenRestaurants(ctx, h); err != nil {
		return nil, err
	}
	if k.store, err = openStore(ctx, h); err != nil {
		return nil, err
	}
	return k, nil
}

// create refuses what is not on the menu.
func (k *kitchen) create(ctx context.Context, tx *sql.Tx, t kitchenapi.NewTicket) (kitchenapi.Created, error) {
	restaurant, err := k.restaurant(ctx, tx, t.RestaurantID, t.RestaurantVersion)
	if err != nil {
		return kitchenapi.Created{}, err
	}
	if err := checkItems(restaurant, t.LineItems); err != nil {
		return kitchenapi.Created{}, err
	}
	if err := k.store.add(ctx, tx, t, time.Now().UnixMicro()); err != nil {
		return kitchenapi.Created{}, err
	}
	return kitchenapi.Created{TicketID: t.TicketID}, k.audit.Effect(ctx, tx, t.TicketID, stepCreate, audit.Do)
}

// restaurant finds a restaurant in the replica. One that is behind the version which the order relies on
// cannot tell: that is no refusal but a reason to wait.
func (k *kitchen) restaurant(ctx context.Context, tx *sql.Tx, id string, version int) (*replica.Restaurant, error) {
	found, ok, err := k.restaurants.Find(ctx, tx, id)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("restaurant %s is not in the replica yet", id)
	case found.Version < version:
		return nil, fmt.Errorf("restaurant %s is at version %d in the replica, the order relies on %d", id, found.Version, version)
	}
	return found, nil
}

// checkItems looks the items up in the restaurant's menu.
func checkItems(restaurant *replica.Restaurant, items []kitchenapi.LineItem) error {
	if len(items) == 0 {
		return skald.Refuse(kitchenapi.RefusedQuantity, "there is nothing to prepare")
	}
	for _, item := range items {
		if _, ok := restaurant.Item(item.MenuItemID); !ok {
			return skald.Refusef(kitchenapi.RefusedUnknownItem, "%q is not on the restaurant's menu", item.MenuItemID)
		}
		if item.Quantity < 1 {
			return skald.Refusef(kitchenapi.RefusedQuantity, "%d of %q cannot be prepared", item.Quantity, item.MenuItemID)
		}
	}
	return nil
}

func (k *kitchen) reject(ctx context.Context, tx *sql.Tx, t kitchenapi.Ticket) (kitchenapi.Done, error) {
	if err := k.store.move(ctx, tx, t.TicketID, CreatePending, CreateRejected, time.Now().UnixMicro()); err != nil {
		return kitchenapi.Done{}, err
	}
	return kitchenapi.Done{}, k.audit.Effect(ctx, tx, t.TicketID, stepCreate, audit.Undo)
}

func (k *kitchen) confirm(ctx context.Context, tx *sql.Tx, t kitchenapi.Ticket) (kitchenapi.Done, error) {
	if err := k.store.move(ctx, tx, t.TicketID, CreatePending, AwaitingAcceptance, time.Now().UnixMicro()); err != nil {
		return kitchenapi.Done{}, err
	}
	return kitchenapi.Done{}, k.audit.Effect(ctx, tx, t.TicketID, stepConfirm, audit.Do)
}
