// Package host is what the application gives each of its services to live on.
package host

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/skald-go/skald/service"
)

// Host is one service's own database and runtime. The service's schema is made in DB when
// the service is made, next to the tables of the store that Service runs on.
type Host struct {
	// DB is the store's own pool: the transactions that handlers get come from it.
	DB *sql.DB
	// Dialect of the database. Only SQLite works yet.
	Dialect string
	Service *service.Service
	Logger  *slog.Logger
}

// SQLite is the dialect of the embedded default.
const SQLite = "sqlite"

// Schema is a service's own tables in each dialect.
type Schema map[string]string

// Migrate runs the statements of the host's dialect. They can be run again and again.
func (h Host) Migrate(ctx context.Context, owner string, schema Schema) error {
	statements, ok := schema[h.Dialect]
	if !ok {
		return fmt.Errorf("%s: no schema for the dialect %q", owner, h.Dialect)
	}
	if _, err := h.DB.ExecContext(ctx, statements); err != nil {
		return fmt.Errorf("%s: make the schema: %w", owner, err)
	}
	return nil
}

// Query is a statement to prepare, and where to put it.
type Query struct {
	Into **sql.Stmt
	SQL  string
}

// Prepare prepares statements for the life of DB: what runs for every message or request is
// parsed once for each connection. It returns every fault at once.
func (h Host) Prepare(ctx context.Context, owner string, queries ...Query) error {
	var faults []error
	for _, q := range queries {
		statement, err := h.DB.PrepareContext(ctx, q.SQL) //nolint:sqlclosecheck // closed with DB
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: prepare %q: %w", owner, q.SQL, err))
			continue
		}
		*q.Into = statement
	}
	return errors.Join(faults...)
}
