package restaurant

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
	"github.com/skald-go/skald/examples/ftgo/host"
)

// store is all SQL of the restaurant service.
type store struct{ insert, update, selectByID, lockByID host.Statement }

func openStore(ctx context.Context, h host.Host) (*store, error) {
	if err := h.Migrate(ctx, "restaurant", schema); err != nil {
		return nil, err
	}
	s := &store{}
	return s, h.Prepare(ctx, "restaurant",
		host.Query{Into: &s.insert, SQL: insertRestaurant},
		host.Query{Into: &s.update, SQL: updateRestaurant},
		host.Query{Into: &s.selectByID, SQL: selectRestaurant},
		host.Query{Into: &s.lockByID, SQL: selectRestaurant, Lock: true})
}

func (s *store) add(ctx context.Context, tx *sql.Tx, r restaurantapi.Restaurant, at int64) error {
	content, err := encode(r)
	if err != nil {
		return err
	}
	_, err = host.Exec(ctx, tx, s.insert, r.ID, r.Version, string(content), at, at)
	if err != nil {
		return fmt.Errorf("insert restaurant %s: %w", r.ID, err)
	}
	return nil
}

func (s *store) save(ctx context.Context, tx *sql.Tx, r restaurantapi.Restaurant, at int64) error {
	content, err := encode(r)
	if err != nil {
		return err
	}
	_, err = host.Exec(ctx, tx, s.update, r.Version, string(content), at, r.ID)
	if err != nil {
		return fmt.Errorf("update restaurant %s to version %d: %w", r.ID, r.Version, err)
	}
	return nil
}

// find reads a restaurant, in tx when there is one; false when there is no such restaurant.
func (s *store) find(ctx context.Context, tx *sql.Tx, id string) (restaurantapi.Restaurant, bool, error) {
	return read(ctx, tx, s.selectByID, id)
}

// lock reads a restaurant that is to be changed, and keeps others from changing it; false when there
// is no such restaurant.
func (s *store) lock(ctx context.Context, tx *sql.Tx, id string) (restaurantapi.Restaurant, bool, error) {
	return read(ctx, tx, s.lockByID, id)
}

func read(ctx context.Context, tx *sql.Tx, query host.Statement, id string) (restaurantapi.Restaurant, bool, error) {
	var (
		r       restaurantapi.Restaurant
		content []byte
	)
	err := host.QueryRow(ctx, tx, query, id).Scan(&content)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &r)
	}
	if err != nil {
		return r, false, fmt.Errorf("read restaurant %s: %w", id, err)
	}
	return r, true, nil
}
