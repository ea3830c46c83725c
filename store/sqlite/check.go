package sqlite

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// oldest is the first version of SQLite without the WAL-reset bug, by which two
// connections that checkpoint and write at the same moment could damage the file
// (https://sqlite.org/wal.html#walresetbug).
const oldest = "3.51.3"

// check verifies what durability rests on, as it is in force on the connections.
func (s *Store) check(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: connect: %w", err)
	}
	defer conn.Close()
	var version, journal string
	var synchronous int
	for query, dest := range map[string]any{
		"SELECT sqlite_version()": &version, "PRAGMA journal_mode": &journal, "PRAGMA synchronous": &synchronous,
	} {
		if err := conn.QueryRowContext(ctx, query).Scan(dest); err != nil {
			return fmt.Errorf("sqlite: %s: %w", query, err)
		}
	}
	if !atLeast(version, oldest) {
		return fmt.Errorf("sqlite: the driver brings SQLite %s: versions before %s can damage a database in WAL mode; use modernc.org/sqlite v1.61.1 or newer", version, oldest)
	}
	if !strings.EqualFold(journal, "wal") {
		return fmt.Errorf(`sqlite: journal mode %q: readers would block the writer; add _pragma=journal_mode(WAL) to the data source name`, journal)
	}
	if synchronous < levels[s.config.AcceptSynchronous] {
		return fmt.Errorf("sqlite: PRAGMA synchronous is %d: a power failure could undo commits whose messages are at the broker already; add _pragma=synchronous(FULL) to the data source name, or name the weaker setting in Config.AcceptSynchronous", synchronous)
	}
	return nil
}

// atLeast compares versions of the form 3.51.3.
func atLeast(version, least string) bool {
	have, want := strings.Split(version, "."), strings.Split(least, ".")
	for i := range want {
		if i >= len(have) {
			return false
		}
		h, err := strconv.Atoi(have[i])
		w, _ := strconv.Atoi(want[i])
		if err != nil || h != w {
			return err == nil && h > w
		}
	}
	return true
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
