package consumer

import _ "embed"

//go:embed sqlite.sql
var sqliteSchema string

const (
	insertConsumer = `
INSERT INTO consumers (id, version, name, order_limit, credit_limit, created_at) VALUES (?, ?, ?, ?, ?, ?)`

	selectConsumer = `SELECT version, name, order_limit, credit_limit, created_at FROM consumers WHERE id = ?`

	selectOrderLimit = `SELECT order_limit FROM consumers WHERE id = ?`
)
