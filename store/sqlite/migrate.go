package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations are the scripts in order; the number of a script, from 1, is its version.
var migrations = readMigrations()

func readMigrations() []string {
	entries, err := fs.ReadDir(migrationFiles, "migrations")
	if err != nil {
		panic("sqlite: embedded migrations: " + err.Error())
	}
	scripts := make([]string, len(entries))
	for i, entry := range entries {
		script, err := migrationFiles.ReadFile("migrations/" + entry.Name())
		if err != nil {
			panic("sqlite: embedded migrations: " + err.Error())
		}
		scripts[i] = string(script)
	}
	return scripts
}

const migrationsTable = `CREATE TABLE IF NOT EXISTS skald_migrations (
	version    INTEGER PRIMARY KEY,
	applied_at INTEGER NOT NULL
) STRICT`

const recordMigration = "INSERT INTO skald_migrations (version, applied_at) VALUES (?, ?)"

// Schema returns the SQL of all migrations, for those who apply it by other means or
// want to read it.
func Schema() string {
	var b strings.Builder
	b.WriteString(migrationsTable + ";\n")
	for i, script := range migrations {
		fmt.Fprintf(&b, "\n-- Version %d\n\nBEGIN IMMEDIATE;\n%s", i+1, script)
		fmt.Fprintf(&b, "INSERT INTO skald_migrations (version, applied_at) VALUES (%d, 1000000 * unixepoch());\nCOMMIT;\n", i+1)
	}
	return b.String()
}

// migrate applies what is missing, each script in a transaction of its own that looks
// again under the write lock: processes that start together take turns, and one that
// crashed in the middle left nothing behind.
func (s *Store) migrate(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: connect: %w", err)
	}
	defer conn.Close()
	version, err := schemaVersion(ctx, conn)
	if err != nil || version == len(migrations) {
		return err
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", s.config.BusyTimeout.Milliseconds())); err != nil {
		return fmt.Errorf("sqlite: set the busy timeout: %w", err)
	}
	for version < len(migrations) {
		if version, err = applyNext(ctx, conn); err != nil {
			return err
		}
	}
	return nil
}

// applyNext applies the script that is next under the lock, if there still is one, and
// returns the version reached.
func applyNext(ctx context.Context, conn *sql.Conn) (version int, err error) {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return 0, fmt.Errorf("sqlite: lock the database to migrate it: %w", err)
	}
	defer func() {
		if err != nil {
			_, rollback := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			err = errors.Join(err, rollback)
		}
	}()
	if version, err = schemaVersion(ctx, conn); err != nil {
		return 0, err
	}
	if version < len(migrations) {
		version++
		if err := apply(ctx, conn, version); err != nil {
			return 0, fmt.Errorf("sqlite: migrate the schema to version %d: %w", version, err)
		}
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		return 0, fmt.Errorf("sqlite: commit version %d of the schema: %w", version, err)
	}
	return version, nil
}

func apply(ctx context.Context, conn *sql.Conn, version int) error {
	if _, err := conn.ExecContext(ctx, migrationsTable); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, migrations[version-1]); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, recordMigration, version, time.Now().UnixMicro())
	return err
}

// schemaVersion is the newest version applied, 0 for a database without Skald's tables. A
// version that this binary does not know is an error: an older binary must not write to
// tables whose meaning has changed.
func schemaVersion(ctx context.Context, conn *sql.Conn) (int, error) {
	var tables, version int
	err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = 'skald_migrations'").Scan(&tables)
	if err == nil && tables > 0 {
		err = conn.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM skald_migrations").Scan(&version)
	}
	if err != nil {
		return 0, fmt.Errorf("sqlite: read the schema's version: %w", err)
	}
	if version > len(migrations) {
		return 0, fmt.Errorf("sqlite: the database has version %d of Skald's schema, and this program knows versions up to %d: a newer program has migrated it; run that one, or restore a copy from before", version, len(migrations))
	}
	return version, nil
}
