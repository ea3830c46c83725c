package restaurant

import _ "embed"

//go:embed sqlite.sql
var sqliteSchema string

const (
	insertRestaurant = `INSERT INTO restaurants (id, version, content, created_at, updated_at) VALUES (?, ?, ?, ?, ?)`

	updateRestaurant = `UPDATE restaurants SET version = ?, content = ?, updated_at = ? WHERE id = ?`

	selectRestaurant = `SELECT content FROM restaurants WHERE id = ?`
)
