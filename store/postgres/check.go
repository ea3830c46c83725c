package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// oldestServer is the first version whose logical replication sends values in binary form, and
// messages without a table: 14.
const oldestServer = 140000

// check refuses a server that could lose what it has committed, unless that is accepted by name.
func (s *Store) check(ctx context.Context) error {
	var version int
	var database string
	settings := map[string]string{"fsync": "", "full_page_writes": "", "synchronous_commit": ""}
	err := s.pool.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_database()").Scan(&version, &database)
	if err != nil {
		return failure("connect to the database", err)
	}
	if version < oldestServer {
		return fmt.Errorf("postgres: database %q: the server's version is %d.%d: Skald needs 14 or newer", database, version/10000, version%10000)
	}
	var faults []error
	for name := range settings {
		var value string
		if err := s.pool.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return failure("read the setting "+name, err)
		}
		if value == "off" && !slices.Contains(s.config.AcceptUnsafe, name) {
			faults = append(faults, fmt.Errorf("postgres: database %q: %s is off: a commit whose messages are published may be lost; turn it on, or name %q in Config.AcceptUnsafe", database, name, name))
		}
	}
	return errors.Join(faults...)
}
