package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/skald-go/skald/store/sqlite"
)

// versions is how many there are of the schema.
func versions() int { return strings.Count(sqlite.Schema(), "-- Version ") }

func TestStoresThatStartTogetherMigrateOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.db")
	var starts sync.WaitGroup
	for range 6 {
		starts.Go(func() {
			store, err := sqlite.Open(t.Context(), path, sqlite.Config{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	if n := number(t, open(t, path).DB(), "SELECT count(*) FROM skald_migrations"); n != versions() {
		t.Errorf("%d migrations recorded, not %d", n, versions())
	}
}

// Faults: 15.
func TestAMigrationThatWasCutShortRunsAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.db")
	db := openRaw(t, path)
	// The table of migrations is there, the first one is not: as after a crash between the two.
	_, err := db.ExecContext(t.Context(), "CREATE TABLE skald_migrations (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT")
	must(t, err)
	if n := number(t, open(t, path).DB(), "SELECT count(*) FROM skald_migrations"); n != versions() {
		t.Errorf("%d migrations recorded, not %d", n, versions())
	}
}

func TestAnEarlierSchemaIsBroughtUpToDateWithWhatIsInIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.db")
	first, _, _ := strings.Cut(sqlite.Schema(), "-- Version 2")
	_, err := openRaw(t, path).ExecContext(t.Context(), first+`
INSERT INTO skald_definitions VALUES ('order', 1, 'kept')`)
	must(t, err)
	db := open(t, path).DB()
	if n := number(t, db, "SELECT count(*) FROM skald_migrations"); n != versions() {
		t.Errorf("%d migrations recorded, not %d", n, versions())
	}
	if n := number(t, db, "SELECT count(*) FROM skald_definitions WHERE fingerprint = 'kept'"); n != 1 {
		t.Error("what was in the database is gone")
	}
	if n := number(t, db, "SELECT count(*) FROM skald_locks"); n != 0 {
		t.Errorf("there are %d locks, and nobody took any", n)
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.db")
	store := open(t, path)
	_, err := store.DB().ExecContext(t.Context(), "INSERT INTO skald_migrations VALUES (99, 0)")
	must(t, err)
	_, err = sqlite.Open(t.Context(), path, sqlite.Config{})
	if err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("Open of a newer schema returned %v", err)
	}
}

func TestSchemaIsWhatTheMigratorApplies(t *testing.T) {
	folder := t.TempDir()
	migrated := open(t, filepath.Join(folder, "migrated.db"))
	byHand := openRaw(t, filepath.Join(folder, "byhand.db"))
	_, err := byHand.ExecContext(t.Context(), sqlite.Schema())
	must(t, err)
	if got, want := schemaOf(t, byHand), schemaOf(t, migrated.DB()); got != want {
		t.Errorf("the printed schema makes\n%s\nand the migrator\n%s", got, want)
	}
	open(t, filepath.Join(folder, "byhand.db"))
}

func schemaOf(t *testing.T, db *sql.DB) string {
	t.Helper()
	var schema string
	must(t, db.QueryRowContext(t.Context(), "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)").Scan(&schema))
	return schema
}

func openRaw(t *testing.T, path string) *sql.DB {
	t.Helper()
	return openDSN(t, "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
}

func openDSN(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", dsn)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

func TestOpenSaysWhatIsWrongWithThePath(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for path, want := range map[string]string{
		filepath.Join(folder, "missing", "service.db"): filepath.Join(folder, "missing"),
		filepath.Join(file, "service.db"):              "cannot write in the folder",
		"/proc/service.db":                             "cannot write in the folder /proc",
		folder:                                         "is a folder",
		":memory:":                                     "needs a file",
		"":                                             "needs a file",
	} {
		_, err := sqlite.Open(t.Context(), path, sqlite.Config{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q) returned %v, which does not say %q", path, err, want)
		}
	}
}

func TestOddPathsAreTakenAsTheyAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "50% of ünïts? #1&2.db")
	open(t, path)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the database is elsewhere: %v", err)
	}
}

func TestNewChecksTheDatabase(t *testing.T) {
	tests := map[string]struct {
		pragmas string
		config  sqlite.Config
		limit   int
		want    string
	}{
		"safe":                  {pragmas: "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"},
		"safer":                 {pragmas: "&_pragma=journal_mode(WAL)&_pragma=synchronous(EXTRA)"},
		"no WAL":                {pragmas: "&_pragma=synchronous(FULL)", want: "journal_mode(WAL)"},
		"unsafe":                {pragmas: "&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)", want: "AcceptSynchronous"},
		"unsafe, accepted":      {pragmas: "&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)", config: sqlite.Config{AcceptSynchronous: sqlite.SynchronousNormal}},
		"less than is accepted": {pragmas: "&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)", config: sqlite.Config{AcceptSynchronous: sqlite.SynchronousNormal}, want: "synchronous is 0"},
		"no such setting":       {pragmas: "&_pragma=journal_mode(WAL)", config: sqlite.Config{AcceptSynchronous: "SOMETIMES"}, want: "SOMETIMES"},
		"too few connections":   {pragmas: "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", limit: 1, want: "at least 4"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			db := openDSN(t, "file:"+filepath.Join(t.TempDir(), "service.db")+"?_pragma=busy_timeout(5000)"+test.pragmas)
			db.SetMaxOpenConns(test.limit)
			store, err := sqlite.New(t.Context(), db, test.config)
			if test.want == "" {
				must(t, err)
				must(t, begin(t, store).Commit(t.Context())) // by a deferred transaction
				must(t, store.Close())
				must(t, db.PingContext(t.Context()))
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New returned %v, which does not say %q", err, test.want)
			}
		})
	}
}

func TestABatchOnDeferredTransactionsTakesTheWriteLockAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.db")
	store, err := sqlite.New(t.Context(), openRaw(t, path), sqlite.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	begin(t, store)
	other, err := sqlite.Open(t.Context(), path, sqlite.Config{BusyTimeout: 1})
	must(t, err)
	defer other.Close()
	if _, err := other.Begin(t.Context()); !other.Retryable(err) {
		t.Errorf("another process's Begin returned %v", err)
	}
}
