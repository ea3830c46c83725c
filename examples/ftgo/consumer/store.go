package consumer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// store is all SQL of the consumer service. Methods with a transaction run in it, the others
// read what is committed.
type store struct{ insert, selectByID, selectOrderLimit host.Statement }

func openStore(ctx context.Context, h host.Host) (*store, error) {
	if err := h.Migrate(ctx, "consumer", schema); err != nil {
		return nil, err
	}
	s := &store{}
	return s, h.Prepare(ctx, "consumer",
		host.Query{Into: &s.insert, SQL: insertConsumer},
		host.Query{Into: &s.selectByID, SQL: selectConsumer},
		host.Query{Into: &s.selectOrderLimit, SQL: selectOrderLimit})
}

func (s *store) add(ctx context.Context, tx *sql.Tx, c consumerapi.Consumer, at int64) error {
	var limit any
	if c.OrderLimit != nil {
		limit = int64(*c.OrderLimit)
	}
	_, err := host.Exec(ctx, tx, s.insert, c.ID, c.Version, c.Name, limit, int64(c.CreditLimit), at)
	if err != nil {
		return fmt.Errorf("insert consumer %s: %w", c.ID, err)
	}
	return nil
}

// find reads a consumer and when it was registered; false when there is none.
func (s *store) find(ctx context.Context, id string) (c consumerapi.Consumer, at int64, ok bool, err error) {
	c.ID = id
	var limit sql.NullInt64
	err = host.QueryRow(ctx, nil, s.selectByID, id).Scan(&c.Version, &c.Name, &limit, (*int64)(&c.CreditLimit), &at)
	c.OrderLimit = amount(limit)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return c, 0, false, nil
	case err != nil:
		return c, 0, false, fmt.Errorf("read consumer %s: %w", id, err)
	default:
		return c, at, true, nil
	}
}

// orderLimit reads a consumer's order limit, nil when it has none; false when there is no such
// consumer.
func (s *store) orderLimit(ctx context.Context, tx *sql.Tx, id string) (*money.Amount, bool, error) {
	var limit sql.NullInt64
	err := host.QueryRow(ctx, tx, s.selectOrderLimit, id).Scan(&limit)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read the order limit of consumer %s: %w", id, err)
	default:
		return amount(limit), true, nil
	}
}

func amount(cents sql.NullInt64) *money.Amount {
	if !cents.Valid {
		return nil
	}
	a := money.Amount(cents.Int64)
	return &a
}
