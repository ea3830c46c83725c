package order

import (
	_ "embed"

	"github.com/skald-go/skald/examples/ftgo/host"
)

var (
	//go:embed sqlite.sql
	sqliteSchema string
	//go:embed postgres.sql
	postgresSchema string

	schema = host.Schema{host.SQLite: sqliteSchema, host.PostgreSQL: postgresSchema}
)

const (
	insertOrder = `
INSERT INTO orders (id, consumer_id, restaurant_id, state, total, line_items, zone, street, coordination,
    rejection_reason, last_refusal, operations, version, idempotency_key, request_hash, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', '', 0, ?, ?, ?, ?, ?)`

	updateState = `UPDATE orders SET state = ?, rejection_reason = ?, last_refusal = ?, updated_at = ? WHERE id = ? AND state = ?`

	holdOrder = `
UPDATE orders SET state = ?, last_refusal = '', operations = operations + 1, updated_at = ? WHERE id = ? AND state = ?
RETURNING version, operations`

	// An order that somebody holds shows how that ends.
	refuseOrder = `UPDATE orders SET last_refusal = ? WHERE id = ? AND state = ?`

	updateItems = `UPDATE orders SET line_items = ?, total = ?, version = ? WHERE id = ?`

	selectStanding = `SELECT state, consumer_id, restaurant_id FROM orders WHERE id = ?`

	selectOrder = `
SELECT consumer_id, restaurant_id, state, total, line_items, zone, street, coordination, rejection_reason, last_refusal,
    created_at, updated_at
FROM orders WHERE id = ?`

	selectChange = `SELECT state, rejection_reason, last_refusal, updated_at FROM orders WHERE id = ?`

	selectByKey = `SELECT id, state, request_hash FROM orders WHERE consumer_id = ? AND idempotency_key = ?`

	selectConsumer = `SELECT version, order_limit FROM consumer_replica WHERE id = ?`

	// An older version never replaces a newer one.
	upsertConsumer = `
INSERT INTO consumer_replica (id, version, order_limit) VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, order_limit = excluded.order_limit
WHERE excluded.version > consumer_replica.version`
)
