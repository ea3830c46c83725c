package kitchen

import _ "embed"

//go:embed sqlite.sql
var sqliteSchema string

const (
	insertTicket = `INSERT INTO tickets (id, restaurant_id, state, line_items, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)`

	updateState = `UPDATE tickets SET state = ?, updated_at = ? WHERE id = ? AND state = ?`

	selectTicket = `SELECT restaurant_id, state, line_items, created_at, updated_at FROM tickets WHERE id = ?`
)
