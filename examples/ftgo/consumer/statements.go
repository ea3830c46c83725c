package consumer

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
	insertConsumer = `
INSERT INTO consumers (id, version, name, order_limit, credit_limit, created_at) VALUES (?, ?, ?, ?, ?, ?)`

	selectConsumer = `SELECT version, name, order_limit, credit_limit, created_at FROM consumers WHERE id = ?`

	selectOrderLimit = `SELECT order_limit FROM consumers WHERE id = ?`
)
