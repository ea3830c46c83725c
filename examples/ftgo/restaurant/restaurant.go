// Package restaurant is the restaurant service: it owns restaurants, their delivery zones and
// menus, tells the others of every change, and says whether one takes an order.
package restaurant

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"time"

	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/audit"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/service"
)

type restaurants struct {
	service *service.Service
	logger  *slog.Logger
	store   *store
}

// New makes the restaurant service on its host and returns its HTTP interface.
func New(ctx context.Context, h host.Host) (http.Handler, error) {
	if _, err := audit.Open(ctx, h); err != nil {
		return nil, err
	}
	s, err := openStore(ctx, h)
	if err != nil {
		return nil, err
	}
	r := &restaurants{service: h.Service, logger: h.Logger, store: s}
	service.HandleCommand(h.Service, restaurantapi.ValidateOrderDetails, r.validate)
	return r.routes(), nil
}

func (s *restaurants) routes() http.Handler {
	mux := httpkit.NewMux(s.logger)
	mux.Handle(http.MethodPost, "/v1/restaurants", s.create)
	mux.Handle(http.MethodGet, "/v1/restaurants/{id}", s.get)
	mux.Handle(http.MethodPut, "/v1/restaurants/{id}/menu", s.reviseMenu)
	return mux
}

func (s *restaurants) create(w http.ResponseWriter, r *http.Request) error {
	var asked request
	if err := httpkit.Decode(w, r, &asked); err != nil {
		return err
	}
	made, err := asked.restaurant()
	if err != nil {
		return err
	}
	err = service.Transact(r.Context(), s.service, func(ctx context.Context, tx *sql.Tx) error {
		if err := s.store.add(ctx, tx, made, time.Now().UnixMicro()); err != nil {
			return err
		}
		return outbox.Publish(ctx, s.service.Outbox(), tx, restaurantapi.RestaurantCreated, made)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/restaurants/"+made.ID)
	return httpkit.Reply(w, http.StatusCreated, made)
}

func (s *restaurants) get(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "restaurant")
	if err != nil {
		return err
	}
	found, ok, err := s.store.find(r.Context(), nil, id)
	if err != nil {
		return err
	}
	if !ok {
		return httpkit.NotFound("restaurant")
	}
	return httpkit.Reply(w, http.StatusOK, found)
}

func (s *restaurants) reviseMenu(w http.ResponseWriter, r *http.Request) error {
	id, err := httpkit.PathID(r, "restaurant")
	if err != nil {
		return err
	}
	var asked menuRequest
	if err := httpkit.Decode(w, r, &asked); err != nil {
		return err
	}
	var fields httpkit.Fields
	items := menu(&fields, asked.Menu)
	if err := fields.Err(); err != nil {
		return err
	}
	var revised restaurantapi.Restaurant
	err = service.Transact(r.Context(), s.service, func(ctx context.Context, tx *sql.Tx) error {
		found, ok, err := s.store.lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if !ok {
			return httpkit.NotFound("restaurant")
		}
		revised = found
		revised.Version++
		revised.Menu = items
		if err := s.store.save(ctx, tx, revised, time.Now().UnixMicro()); err != nil {
			return err
		}
		return outbox.Publish(ctx, s.service.Outbox(), tx, restaurantapi.MenuRevised, revised)
	})
	if err != nil {
		return err
	}
	return httpkit.Reply(w, http.StatusOK, revised)
}
