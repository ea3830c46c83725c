// Package replica keeps a service's copy of the restaurants, fed by the restaurant service's
// events: with it the service validates requests and commands without asking anybody.
package replica

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/watch"
	"github.com/skald-go/skald/service"
)

// Restaurants is a replica of all restaurants with their menus. It is safe for concurrent use.
type Restaurants struct {
	version, content, upsert host.Statement

	cache cache
	hub   watch.Hub[struct{}]
}

// OpenRestaurants makes the replica's table. Register feeds it.
func OpenRestaurants(ctx context.Context, h host.Host) (*Restaurants, error) {
	if err := h.Migrate(ctx, "replica", schema); err != nil {
		return nil, err
	}
	r := &Restaurants{}
	return r, h.Prepare(ctx, "replica",
		host.Query{Into: &r.version, SQL: selectVersion},
		host.Query{Into: &r.content, SQL: selectContent},
		host.Query{Into: &r.upsert, SQL: upsertRestaurant})
}

// Register subscribes the replica to what happens to restaurants.
func (r *Restaurants) Register(s *service.Service) {
	service.HandleEvent(s, restaurantapi.RestaurantCreated, r.replicate)
	service.HandleEvent(s, restaurantapi.MenuRevised, r.replicate)
}

func (r *Restaurants) replicate(ctx context.Context, tx *sql.Tx, restaurant restaurantapi.Restaurant) error {
	content, err := json.Marshal(restaurant)
	if err != nil {
		return fmt.Errorf("encode restaurant %s: %w", restaurant.ID, err)
	}
	if _, err := host.Exec(ctx, tx, r.upsert, restaurant.ID, restaurant.Version, string(content)); err != nil {
		return fmt.Errorf("replicate restaurant %s at version %d: %w", restaurant.ID, restaurant.Version, err)
	}
	service.OnCommit(ctx, func() { r.hub.Tell(restaurant.ID, struct{}{}) })
	return nil
}

// Find reads a restaurant, in tx when there is one, and its whole menu only where the version
// is not in the cache; false when the replica does not have it.
func (r *Restaurants) Find(ctx context.Context, tx *sql.Tx, id string) (*Restaurant, bool, error) {
	var version int
	switch err := host.QueryRow(ctx, tx, r.version, id).Scan(&version); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read the version of restaurant %s: %w", id, err)
	}
	if cached := r.cache.get(id, version); cached != nil {
		return cached, true, nil
	}
	var encoded []byte
	if err := host.QueryRow(ctx, tx, r.content, id).Scan(&encoded); err != nil {
		return nil, false, fmt.Errorf("read restaurant %s: %w", id, err)
	}
	var told restaurantapi.Restaurant
	if err := json.Unmarshal(encoded, &told); err != nil {
		return nil, false, fmt.Errorf("replica of restaurant %s: %w", id, err)
	}
	restaurant := New(told)
	r.cache.put(restaurant)
	return restaurant, true, nil
}

// Await reads what is committed, and waits for a restaurant that the replica does not have yet;
// false when patience runs out.
func (r *Restaurants) Await(ctx context.Context, id string, patience time.Duration) (*Restaurant, bool, error) {
	return watch.Await(ctx, &r.hub, id, patience, func(ctx context.Context) (*Restaurant, bool, error) {
		return r.Find(ctx, nil, id)
	})
}
