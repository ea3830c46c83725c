// Package databases opens the services' databases: each service has its own, in files or on a
// server.
package databases

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/service"
)

// Databases are where the services keep their data.
type Databases interface {
	// Open opens a service's database for the service to run on, and makes it if it is absent.
	Open(ctx context.Context, service string, logger *slog.Logger) (*Database, error)
	// Read opens a service's database for reading; the error is ErrAbsent when there is none. The
	// caller closes it.
	Read(ctx context.Context, service string) (*sql.DB, error)
	// String says where they are, without secrets.
	String() string
}

// ErrAbsent says that a service has no database: it has never run.
var ErrAbsent = errors.New("there is no such database")

// Database is a service's own, with a store on it. Close it after the service has ended.
type Database struct {
	Store   service.Store
	DB      *sql.DB
	Dialect host.Dialect

	close func() error
}

// Close closes the store and every connection.
func (d *Database) Close() error { return d.close() }
