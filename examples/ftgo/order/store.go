package order

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// store is all SQL of the order service. Methods with a transaction run in it, the others read
// what is committed.
type store struct {
	insertOrder, updateState, selectOrder, selectChange, selectByKey  host.Statement
	holdOrder, refuseOrder, updateItems, selectStanding, lockStanding host.Statement
	selectConsumer, upsertConsumer                                    host.Statement
}

func openStore(ctx context.Context, h host.Host) (*store, error) {
	if err := h.Migrate(ctx, "order", schema); err != nil {
		return nil, err
	}
	s := &store{}
	return s, h.Prepare(ctx, "order",
		host.Query{Into: &s.insertOrder, SQL: insertOrder},
		host.Query{Into: &s.updateState, SQL: updateState},
		host.Query{Into: &s.selectOrder, SQL: selectOrder},
		host.Query{Into: &s.selectChange, SQL: selectChange},
		host.Query{Into: &s.selectByKey, SQL: selectByKey},
		host.Query{Into: &s.holdOrder, SQL: holdOrder},
		host.Query{Into: &s.refuseOrder, SQL: refuseOrder},
		host.Query{Into: &s.updateItems, SQL: updateItems},
		host.Query{Into: &s.selectStanding, SQL: selectStanding},
		host.Query{Into: &s.lockStanding, SQL: selectStanding, Lock: true},
		host.Query{Into: &s.selectConsumer, SQL: selectConsumer},
		host.Query{Into: &s.upsertConsumer, SQL: upsertConsumer})
}

// add inserts a new order in a pending state.
func (s *store) add(ctx context.Context, tx *sql.Tx, o Order, in orderapi.State, at int64) error {
	items, err := json.Marshal(o.LineItems)
	if err != nil {
		return fmt.Errorf("encode the line items of order %s: %w", o.ID, err)
	}
	var key, hash any
	if o.IdempotencyKey != "" {
		key, hash = o.IdempotencyKey, o.RequestHash
	}
	_, err = host.Exec(ctx, tx, s.insertOrder, o.ID, o.ConsumerID, o.RestaurantID, string(in),
		int64(o.Total), string(items), o.DeliveryAddress.Zone, o.DeliveryAddress.Street, o.Coordination,
		orderapi.FirstVersion, key, hash, at, at)
	if err != nil {
		return fmt.Errorf("insert order %s: %w", o.ID, err)
	}
	return nil
}

// leave changes an order's state from one to another; it is an error when the order is in
// neither, or is not there.
func (s *store) leave(ctx context.Context, tx *sql.Tx, from orderapi.State, c change) error {
	result, err := host.Exec(ctx, tx, s.updateState, string(c.State), c.RejectionReason, c.LastRefusal, c.at, c.ID, string(from))
	if err != nil {
		return fmt.Errorf("set order %s to %s: %w", c.ID, c.State, err)
	}
	if changed, err := result.RowsAffected(); err != nil || changed != 1 {
		return errors.Join(fmt.Errorf("set order %s to %s: it is not in %s", c.ID, c.State, from), err)
	}
	return nil
}

// hold changes an APPROVED order to a pending state, and counts the operation that does it: that numbers the version which the
// operation makes. It reads the version that this is decided on, and is false when the order is not APPROVED.
func (s *store) hold(ctx context.Context, tx *sql.Tx, c change) (decided orderapi.Versions, ok bool, err error) {
	err = host.QueryRow(ctx, tx, s.holdOrder, string(c.State), c.at, c.ID, string(orderapi.StateApproved)).Scan(&decided.From, &decided.To)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return decided, false, nil
	case err != nil:
		return decided, false, fmt.Errorf("set order %s to %s: %w", c.ID, c.State, err)
	}
	decided.To += orderapi.FirstVersion
	return decided, true, nil
}

// refuse has an APPROVED order show why a change was refused.
func (s *store) refuse(ctx context.Context, tx *sql.Tx, id, why string) error {
	if _, err := host.Exec(ctx, tx, s.refuseOrder, why, id, string(orderapi.StateApproved)); err != nil {
		return fmt.Errorf("set the last refusal of order %s: %w", id, err)
	}
	return nil
}

// revise replaces an order's line items and total: that is its next version.
func (s *store) revise(ctx context.Context, tx *sql.Tx, r orderapi.Revision) error {
	encoded, err := json.Marshal(r.LineItems)
	if err == nil {
		_, err = host.Exec(ctx, tx, s.updateItems, string(encoded), int64(r.Total), r.To, r.OrderID)
	}
	if err != nil {
		return fmt.Errorf("set the line items of order %s: %w", r.OrderID, err)
	}
	return nil
}

// standing is how an order stands, and whose it is.
type standing struct {
	state                    orderapi.State
	consumerID, restaurantID string
}

// standing reads how an order stands, and with a transaction keeps others from changing it; false
// when there is no such order.
func (s *store) standing(ctx context.Context, tx *sql.Tx, id string) (standing, bool, error) {
	var now standing
	query := s.selectStanding
	if tx != nil {
		query = s.lockStanding
	}
	err := host.QueryRow(ctx, tx, query, id).Scan(&now.state, &now.consumerID, &now.restaurantID)
	return found(now, err, "order", id)
}

// find reads an order; false when there is none.
func (s *store) find(ctx context.Context, id string) (view, bool, error) {
	v := view{change: change{ID: id}}
	var items []byte
	err := host.QueryRow(ctx, nil, s.selectOrder, id).Scan(&v.ConsumerID, &v.RestaurantID, &v.State, (*int64)(&v.Total), &items,
		&v.DeliveryAddress.Zone, &v.DeliveryAddress.Street, &v.Coordination, &v.RejectionReason, &v.LastRefusal,
		&v.createdAt, &v.at)
	v.LineItems = items
	return found(v, err, "order", id)
}

// change reads an order's newest change; false when there is no such order.
func (s *store) change(ctx context.Context, id string) (change, bool, error) {
	c := change{ID: id}
	err := host.QueryRow(ctx, nil, s.selectChange, id).Scan(&c.State, &c.RejectionReason, &c.LastRefusal, &c.at)
	return found(c, err, "order", id)
}

// earlier is the order that an idempotency key stands for.
type earlier struct {
	change
	requestHash []byte
}

// byKey reads the order of a consumer's idempotency key, in tx when there is one.
func (s *store) byKey(ctx context.Context, tx *sql.Tx, consumer, key string) (earlier, bool, error) {
	var e earlier
	err := host.QueryRow(ctx, tx, s.selectByKey, consumer, key).Scan(&e.ID, &e.State, &e.requestHash)
	return found(e, err, "idempotency key of consumer", consumer)
}

// consumer is what the replica knows of a consumer.
type consumer struct {
	version    int
	orderLimit *money.Amount
}

// consumer reads a consumer of the replica, in tx when there is one.
func (s *store) consumer(ctx context.Context, tx *sql.Tx, id string) (consumer, bool, error) {
	var (
		c     consumer
		limit sql.NullInt64
	)
	err := host.QueryRow(ctx, tx, s.selectConsumer, id).Scan(&c.version, &limit)
	if limit.Valid {
		amount := money.Amount(limit.Int64)
		c.orderLimit = &amount
	}
	return found(c, err, "consumer", id)
}

func (s *store) saveConsumer(ctx context.Context, tx *sql.Tx, c consumerapi.Consumer) error {
	var limit any
	if c.OrderLimit != nil {
		limit = int64(*c.OrderLimit)
	}
	if _, err := host.Exec(ctx, tx, s.upsertConsumer, c.ID, c.Version, limit); err != nil {
		return fmt.Errorf("replicate consumer %s at version %d: %w", c.ID, c.Version, err)
	}
	return nil
}

// found tells the absence of a row from a fault.
func found[T any](row T, err error, kind, id string) (T, bool, error) {
	switch {
	case err == nil:
		return row, true, nil
	case errors.Is(err, sql.ErrNoRows):
		return row, false, nil
	default:
		return row, false, fmt.Errorf("read %s %s: %w", kind, id, err)
	}
}
