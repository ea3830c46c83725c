package kitchen

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/service"
)

func (k *kitchen) routes() http.Handler {
	mux := httpkit.NewMux(k.logger)
	mux.Handle(http.MethodGet, "/v1/tickets/{id}", k.get)
	for _, t := range transitions {
		mux.Handle(http.MethodPost, "/v1/tickets/{id}/"+t.name, func(w http.ResponseWriter, r *http.Request) error {
			return k.transit(w, r, t)
		})
	}
	return mux
}

// view is a ticket as the HTTP interface shows it.
type view struct {
	ID           string          `json:"id"`
	OrderID      string          `json:"orderId"`
	RestaurantID string          `json:"restaurantId"`
	State        State           `json:"state"`
	LineItems    json.RawMessage `json:"lineItems"` // as stored
	CreatedAt    string          `json:"createdAt"`
	UpdatedAt    string          `json:"updatedAt"`
}

func (t ticket) view() view {
	return view{
		ID: t.id, OrderID: t.id, RestaurantID: t.restaurantID, State: t.state, LineItems: t.lineItems,
		CreatedAt: httpkit.Time(t.createdAt), UpdatedAt: httpkit.Time(t.updatedAt),
	}
}

func (k *kitchen) get(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "ticket")
	if err != nil {
		return err
	}
	found, ok, err := k.store.find(r.Context(), nil, id)
	if err != nil {
		return err
	}
	if !ok {
		return httpkit.NotFound("ticket")
	}
	return httpkit.Reply(w, http.StatusOK, found.view())
}

// transit answers a POST of the kitchen's own work on a ticket.
func (k *kitchen) transit(w http.ResponseWriter, r *http.Request, t transition) error {
	id, err := httpkit.PathID(r, "ticket")
	if err != nil {
		return err
	}
	var changed ticket
	err = service.Transact(r.Context(), k.service, func(ctx context.Context, tx *sql.Tx) error {
		var held *lock.Conflict
		if err := k.service.Locks().Free(ctx, tx, kitchenapi.Tickets, id); err != nil && !errors.As(err, &held) {
			return err
		}
		var ok bool
		var err error
		changed, ok, err = k.store.find(ctx, tx, id)
		if err != nil {
			return err
		}
		if !ok {
			return httpkit.NotFound("ticket")
		}
		if err := t.check(changed.state, held); err != nil {
			return err
		}
		changed.state, changed.updatedAt = t.to, time.Now().UnixMicro()
		if err := k.store.move(ctx, tx, id, t.from, t.to, changed.updatedAt); err != nil {
			return err
		}
		return k.audit.Effect(ctx, tx, id, t.name, audit.Do)
	})
	if err != nil {
		return err
	}
	return httpkit.Reply(w, http.StatusOK, changed.view())
}

// check is a conflict when a saga has locked the ticket, or its state does not allow the transition.
func (t transition) check(state State, held *lock.Conflict) error {
	switch {
	case held != nil:
		return httpkit.Held("ticket", string(state), held.Name, held.Holder, held.Since)
	case state == t.from:
		return nil
	default:
		return httpkit.NewProblem(http.StatusConflict, "the ticket is %s; %s takes one that is %s", state, t.name, t.from)
	}
}
