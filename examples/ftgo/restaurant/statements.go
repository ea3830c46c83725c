package restaurant

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
	insertRestaurant = `INSERT INTO restaurants (id, version, content, created_at, updated_at) VALUES (?, ?, ?, ?, ?)`

	updateRestaurant = `UPDATE restaurants SET version = ?, content = ?, updated_at = ? WHERE id = ?`

	selectRestaurant = `SELECT content FROM restaurants WHERE id = ?`
)
