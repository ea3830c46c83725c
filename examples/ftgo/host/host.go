// Package host is what the application gives each of its services to live on.
package host

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"

	"github.com/skald-go/skald/service"
)

// Host is one service's own database and runtime. The service's schema is made in DB when
// the service is made, next to the tables of the store that Service runs on.
type Host struct {
	// DB is the store's own pool: the transactions that handlers get come from it.
	DB *sql.DB
	// Dialect of the database.
	Dialect Dialect
	Service *service.Service
	Logger  *slog.Logger
}

// Schema is a service's own tables in each dialect.
type Schema map[Dialect]string

// Migrate runs the statements of the host's dialect. They can be run again and again.
func (h Host) Migrate(ctx context.Context, owner string, schema Schema) error {
	statements, ok := schema[h.Dialect]
	if !ok {
		return fmt.Errorf("%s: no schema for the dialect %q", owner, h.Dialect)
	}
	if _, err := h.DB.ExecContext(ctx, h.Dialect.once(statements)); err != nil {
		return fmt.Errorf("%s: make the schema: %w", owner, err)
	}
	return nil
}
