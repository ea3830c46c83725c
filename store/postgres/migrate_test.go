package postgres_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/skald-go/skald/store/postgres"
)

// versions is how many there are of the schema.
func versions() int { return strings.Count(postgres.Schema(), "-- Version ") }

// Faults: 15.
func TestStoresThatStartTogetherMigrateOnce(t *testing.T) {
	url := database(t)
	var starts sync.WaitGroup
	for range 4 {
		pool := connect(t, url)
		starts.Go(func() {
			if _, err := postgres.Open(t.Context(), pool, postgres.Config{}); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	store := open(t, connect(t, url), postgres.Config{})
	if n := read[int](t, store, "SELECT count(*) FROM skald_migrations"); n != versions() {
		t.Errorf("%d migrations recorded, not %d", n, versions())
	}
}

// Faults: 15.
func TestAMigrationThatWasCutShortRunsAgain(t *testing.T) {
	pool := connect(t, database(t))
	// The table of migrations is there, the first one is not: as after a crash between the two.
	_, err := pool.Exec(t.Context(), "CREATE TABLE skald_migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())")
	must(t, err)
	store := open(t, pool, postgres.Config{})
	if n := read[int](t, store, "SELECT count(*) FROM skald_migrations"); n != versions() {
		t.Errorf("%d migrations recorded, not %d", n, versions())
	}
}

func TestAnEarlierSchemaIsBroughtUpToDateWithWhatIsInIt(t *testing.T) {
	pool := connect(t, database(t))
	first, _, _ := strings.Cut(postgres.Schema(), "-- Version 2")
	_, err := pool.Exec(t.Context(), first+"INSERT INTO skald_definitions VALUES ('order', 1, 'kept')")
	must(t, err)
	store := open(t, pool, postgres.Config{})
	if n := read[int](t, store, "SELECT count(*) FROM skald_migrations"); n != versions() {
		t.Errorf("%d migrations recorded, not %d", n, versions())
	}
	if n := read[int](t, store, "SELECT count(*) FROM skald_definitions WHERE fingerprint = 'kept'"); n != 1 {
		t.Error("what was in the database is gone")
	}
	if n := read[int](t, store, "SELECT count(*) FROM skald_locks"); n != 0 {
		t.Errorf("there are %d locks, and nobody took any", n)
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	store := fresh(t)
	exec(t, store, "INSERT INTO skald_migrations VALUES (99)")
	_, err := postgres.Open(t.Context(), store.Pool(), postgres.Config{})
	if err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("Open of a newer schema returned %v", err)
	}
}

func TestSchemaIsWhatTheMigratorApplies(t *testing.T) {
	migrated := fresh(t)
	pool := connect(t, database(t))
	_, err := pool.Exec(t.Context(), postgres.Schema())
	must(t, err)
	byHand := open(t, pool, postgres.Config{})
	const schema = `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
SELECT format('%s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) AS line
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relname LIKE 'skald%' AND a.attnum > 0
UNION ALL SELECT format('%s %s', c.relname, c.reloptions) FROM pg_class AS c WHERE c.relname LIKE 'skald%'
UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'skald%'
UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'skald%'
UNION ALL SELECT pubname || tablename FROM pg_publication_tables WHERE pubname LIKE 'skald%') AS lines`
	got, want := read[string](t, byHand, schema), read[string](t, migrated, schema)
	if got != want || strings.Count(want, "\n") < 100 {
		t.Errorf("the printed schema makes\n%s\nand the migrator\n%s", got, want)
	}
}
