package check

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/skald-go/skald/examples/ftgo/money"
)

func readOrders(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT id, consumer_id, state, total, line_items, idempotency_key FROM orders`, func(scan scan) error {
		var (
			id, items string
			o         order
		)
		if err := scan(&id, &o.consumer, &o.state, &o.total, &items, &o.idempotencyKey); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(items), &o.items); err != nil {
			return fmt.Errorf("line items of order %s: %w", id, err)
		}
		r.s.orders[id] = o
		return nil
	})
}

func readConsumerReplica(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT id, version, order_limit FROM consumer_replica`, func(scan scan) error {
		var (
			id         string
			c          consumerFacts
			orderLimit sql.NullInt64
		)
		if err := scan(&id, &c.version, &orderLimit); err != nil {
			return err
		}
		c.orderLimit = limitOf(orderLimit)
		r.s.consumerReplica[id] = c
		return nil
	})
}

func readRestaurantReplica(ctx context.Context, r *reader) {
	replica := map[string]restaurant{}
	r.s.restaurantReplicas[r.service] = replica
	readVersions(ctx, r, `SELECT id, version, content FROM restaurant_replica`, replica)
}

func readRestaurants(ctx context.Context, r *reader) {
	readVersions(ctx, r, `SELECT id, version, content FROM restaurants`, r.s.restaurants)
}

func readVersions(ctx context.Context, r *reader, query string, into map[string]restaurant) {
	r.rows(ctx, query, func(scan scan) error {
		var (
			id    string
			owned restaurant
		)
		if err := scan(&id, &owned.version, &owned.content); err != nil {
			return err
		}
		into[id] = owned
		return nil
	})
}

func readConsumers(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT id, version, order_limit, credit_limit FROM consumers`, func(scan scan) error {
		var (
			id         string
			c          consumer
			orderLimit sql.NullInt64
		)
		if err := scan(&id, &c.version, &orderLimit, &c.creditLimit); err != nil {
			return err
		}
		c.orderLimit = limitOf(orderLimit)
		r.s.consumers[id] = c
		return nil
	})
}

func limitOf(cents sql.NullInt64) limit { return limit{cents.Valid, money.Amount(cents.Int64)} }

func readTickets(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT id, state, line_items FROM tickets`, func(scan scan) error {
		var (
			id, items string
			t         ticket
		)
		if err := scan(&id, &t.state, &items); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(items), &t.items); err != nil {
			return fmt.Errorf("line items of ticket %s: %w", id, err)
		}
		r.s.tickets[id] = t
		return nil
	})
}

func readAccounts(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT consumer_id, consumer_version, credit_limit, authorized FROM accounts`, func(scan scan) error {
		var (
			id string
			a  account
		)
		if err := scan(&id, &a.consumerVersion, &a.creditLimit, &a.authorized); err != nil {
			return err
		}
		r.s.accounts[id] = a
		return nil
	})
}

func readAuthorizations(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT id, order_id, consumer_id, amount, state FROM authorizations`, func(scan scan) error {
		var a authorization
		if err := scan(&a.id, &a.order, &a.consumer, &a.amount, &a.state); err != nil {
			return err
		}
		r.s.authorizations = append(r.s.authorizations, a)
		return nil
	})
}

func readLedger(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT entry, posting, consumer_id, account, side, amount, balance FROM ledger ORDER BY entry`, func(scan scan) error {
		var e entry
		if err := scan(&e.number, &e.posting, &e.consumer, &e.account, &e.side, &e.amount, &e.balance); err != nil {
			return err
		}
		r.s.ledger = append(r.s.ledger, e)
		return nil
	})
}
