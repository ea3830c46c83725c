package kitchen

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
	insertTicket = `
INSERT INTO tickets (id, restaurant_id, state, previous_state, line_items, created_at, updated_at) VALUES (?, ?, ?, '', ?, ?, ?)`

	updateState = `UPDATE tickets SET state = ?, previous_state = '', updated_at = ? WHERE id = ? AND state = ?`

	holdTicket = `UPDATE tickets SET previous_state = state, state = ?, revised_items = ?, updated_at = ? WHERE id = ? AND state = ?`

	releaseTicket = `
UPDATE tickets SET state = previous_state, previous_state = '', revised_items = NULL, updated_at = ? WHERE id = ? AND state = ?`

	reviseTicket = `
UPDATE tickets SET state = previous_state, previous_state = '', line_items = revised_items, revised_items = NULL, updated_at = ?
WHERE id = ? AND state = ?`

	selectTicket = `SELECT restaurant_id, state, line_items, created_at, updated_at FROM tickets WHERE id = ?`
)
