package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations are the scripts in order; the number of a script, from 1, is its version.
var migrations = readMigrations()

func readMigrations() []string {
	entries, err := fs.ReadDir(migrationFiles, "migrations")
	if err != nil {
		panic("postgres: embedded migrations: " + err.Error())
	}
	scripts := make([]string, len(entries))
	for i, entry := range entries {
		script, err := migrationFiles.ReadFile("migrations/" + entry.Name())
		if err != nil {
			panic("postgres: embedded migrations: " + err.Error())
		}
		scripts[i] = string(script)
	}
	return scripts
}

const migrationsTable = `CREATE TABLE IF NOT EXISTS skald_migrations (
	version    integer     PRIMARY KEY,
	applied_at timestamptz NOT NULL DEFAULT now()
)`

// migrationLock is the key of the advisory lock under which the schema is changed.
const migrationLock = 0x736b616c64 // "skald"

// Schema returns the SQL of all migrations, for those who apply it by other means or want to
// read it.
func Schema() string {
	var b strings.Builder
	b.WriteString(migrationsTable + ";\n")
	for i, script := range migrations {
		fmt.Fprintf(&b, "\n-- Version %d\n\nBEGIN;\n%s\nINSERT INTO skald_migrations (version) VALUES (%d);\nCOMMIT;\n", i+1, script, i+1)
	}
	return b.String()
}

// migrate applies what is missing, each script in a transaction of its own that looks again under
// a lock: processes that start together take turns, and one that crashed in the middle left
// nothing behind.
func (s *Store) migrate(ctx context.Context) error {
	for {
		version, err := s.schemaVersion(ctx, s.pool)
		if err != nil || version == len(migrations) {
			return err
		}
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.applyNext(ctx, tx) })
		if err != nil {
			return s.mayNotMigrate(version, err)
		}
	}
}

func (s *Store) applyNext(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, migrationsTable); err != nil {
		return err
	}
	version, err := s.schemaVersion(ctx, tx)
	if err != nil || version == len(migrations) {
		return err
	}
	if _, err := tx.Exec(ctx, migrations[version]); err != nil {
		return fmt.Errorf("version %d: %w", version+1, err)
	}
	_, err = tx.Exec(ctx, "INSERT INTO skald_migrations (version) VALUES ($1)", version+1)
	return err
}

// querier is a pool, a connection or a transaction.
type querier interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

// schemaVersion is the newest version applied, 0 for a database without Skald's tables. A
// version that this binary does not know is an error: an older binary must not write to tables
// whose meaning has changed.
func (s *Store) schemaVersion(ctx context.Context, db querier) (version int, err error) {
	var migrated bool
	err = db.QueryRow(ctx, "SELECT to_regclass('skald_migrations') IS NOT NULL").Scan(&migrated)
	if err == nil && migrated {
		err = db.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM skald_migrations").Scan(&version)
	}
	if err != nil {
		return 0, s.mayNotLook(err)
	}
	if version > len(migrations) {
		return 0, fmt.Errorf("postgres: the database has version %d of Skald's schema, and this program knows versions up to %d: a newer program has migrated it; run that one, or restore a copy from before", version, len(migrations))
	}
	return version, nil
}
