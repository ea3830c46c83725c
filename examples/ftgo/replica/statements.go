package replica

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
	selectVersion = `SELECT version FROM restaurant_replica WHERE id = ?`

	selectContent = `SELECT content FROM restaurant_replica WHERE id = ?`

	// An older version never replaces a newer one.
	upsertRestaurant = `
INSERT INTO restaurant_replica (id, version, content) VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, content = excluded.content
WHERE excluded.version > restaurant_replica.version`
)
