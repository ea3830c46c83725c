package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// RelayGrants returns the SQL that lets a role run the relay, and no more than that: it reads the
// outbox and empties what is published of it, keeps the relay's own row, and what could not be
// published. It has no right on the application's tables, nor on those of inbox and sagas, and
// cannot add a message.
//
// Apply it with the role that owns Skald's tables, on the search path with which the store is
// opened, and again after each migration: a release may add to it. The role itself is made by an
// administrator:
//
//	CREATE ROLE shop_relay LOGIN REPLICATION PASSWORD '…';
//
// With [Poll] it works without REPLICATION. With it, PostgreSQL trusts the role with the log, whatever
// its grants: such a role may copy the whole cluster, read any publication, and, with an output
// plugin such as test_decoding, what is written to any table of the database. A line of pg_hba.conf
// that rejects it for "replication" prevents the first only.
func RelayGrants(role string) string {
	to := pgx.Identifier{role}.Sanitize()
	partitions := make([]string, buckets)
	for b := range partitions {
		partitions[b] = fmt.Sprintf("skald_outbox_%d", b)
	}
	// The column xid is written when the database turns out to be a copy in another cluster. For
	// LOCK TABLE, the right to TRUNCATE is enough.
	return fmt.Sprintf(`GRANT SELECT ON skald_migrations TO %[1]s;
GRANT SELECT, UPDATE (xid) ON skald_outbox TO %[1]s;
GRANT SELECT, TRUNCATE ON %[2]s TO %[1]s;
GRANT SELECT, UPDATE ON skald_relay TO %[1]s;
GRANT SELECT, INSERT, UPDATE, DELETE ON skald_unpublished TO %[1]s;
DO %[3]s;
`, to, strings.Join(partitions, ", "), literal(`BEGIN
	EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = 'skald_relay'::regclass), `+literal(role)+`);
END`))
}

// literal is a text as SQL writes it.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func (s *Store) role() string { return s.pool.Config().ConnConfig.User }

// mayNotMigrate says who has to bring the schema up to date when the store's own role may not, or
// does not see the schema.
func (s *Store) mayNotMigrate(version int, err error) error {
	if !hasCode(err, codeInsufficientPrivilege, codeInvalidSchemaName) {
		return failure("migrate the schema", err)
	}
	found := fmt.Sprintf("has version %d of Skald's schema", version)
	if version == 0 {
		found = fmt.Sprintf("has no tables of Skald's that the role %q can see", s.role())
	}
	return fmt.Errorf("postgres: the database %s, this program needs version %d, and the role %q may not make it: open the store once with the role that owns Skald's tables, or is to own them (for a database without them, applying Schema() does as well); a role that cannot see them needs USAGE on their schema, a relay's role the rest of RelayGrants: %w",
		found, len(migrations), s.role(), err)
}

// mayNotLook says what is missing when the store's role may not even read the schema's version.
func (s *Store) mayNotLook(err error) error {
	if hasCode(err, codeInsufficientPrivilege) {
		err = fmt.Errorf("the role %q has no right on Skald's tables: grant it what it needs, a relay's role what RelayGrants says: %w", s.role(), err)
	}
	return failure("read the schema's version", err)
}

// noReplication says what to do where the server does not let the relay read the log.
func (s *Store) noReplication(err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return err
	}
	switch {
	case server.Code == codeInsufficientPrivilege:
		return fmt.Errorf("the role %q may not replicate: an administrator runs ALTER ROLE %s REPLICATION (or grants what a managed server has in its place); or open the store with Relay %q: %w",
			s.role(), pgx.Identifier{s.role()}.Sanitize(), Poll, err)
	case server.Code == codeNotPrepared:
		return fmt.Errorf("the server's log is not made for logical replication: set wal_level = logical and restart the server; or open the store with Relay %q: %w", Poll, err)
	case server.Hint != "":
		return fmt.Errorf("%w: %s", err, server.Hint)
	}
	return err
}
