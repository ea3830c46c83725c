package sqlite

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skald-go/skald"
)

// countedInsert and countedSelect are bulk statements of the test's own. They keep numbers and
// their squares in a table that is there: every store prepares all statements when it opens.
var (
	countedInsert = newBulk("INSERT INTO skald_definitions (name, version, fingerprint) VALUES ", "('number', ?, ?)", "")
	countedSelect = newBulk("SELECT version FROM skald_definitions WHERE name = 'number' AND CAST(fingerprint AS INTEGER) >= ? AND version IN (", "?", ") ORDER BY version")
)

func TestBulkStatementsCoverEveryNumberOfRows(t *testing.T) {
	store, err := Open(t.Context(), filepath.Join(t.TempDir(), "service.db"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, n := range []int{0, 1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 85, 128, 200} {
		want := make([]int64, n)
		for i := range want {
			want[i] = int64(i + 1)
		}
		err := store.write(t.Context(), func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(t.Context(), "DELETE FROM skald_definitions"); err != nil {
				return err
			}
			changed, err := execRows(t.Context(), store, tx, countedInsert, want, func(args []any, n *int64) []any { return append(args, *n, *n**n) })
			if changed != int64(n) {
				t.Errorf("%d rows: %d inserted", n, changed)
			}
			return err
		})
		if err != nil {
			t.Fatalf("%d rows: %v", n, err)
		}
		var got []int64
		err = queryKeys(t.Context(), store, nil, countedSelect, []any{4}, want, func(args []any, n *int64) []any { return append(args, *n) },
			func(rows *sql.Rows) error {
				got = append(got, 0)
				return rows.Scan(&got[len(got)-1])
			})
		if err != nil {
			t.Fatalf("%d keys: %v", n, err)
		}
		if want = want[min(n, 1):]; !slices.Equal(got, want) {
			t.Errorf("%d keys: found %v, not %v", n, got, want)
		}
	}
}

func TestHeadersComeBackAsTheyWere(t *testing.T) {
	for _, headers := range []skald.Headers{
		nil,
		{{Name: "a", Value: ""}},
		{{Name: "sagastep", Value: "create: ticket, ünd \"more\""}, {Name: "b", Value: " spaced "}},
	} {
		got, err := parseHeaders(headerLines(headers))
		if err != nil || !slices.Equal(got, headers) {
			t.Errorf("%v came back as %v, %v", headers, got, err)
		}
	}
	for _, lines := range []string{"name", "name: value", "name\n", "\n"} {
		if headers, err := parseHeaders(lines); err == nil {
			t.Errorf("%q was read as %v", lines, headers)
		}
	}
}

func TestVersionsAreComparedByNumber(t *testing.T) {
	for version, want := range map[string]bool{
		"3.51.3": true, "3.51.10": true, "3.52.0": true, "4.0.0": true, "3.54.0": true,
		"3.51.2": false, "3.9.9": false, "3.51": false, "2.99.99": false, "": false, "3.x.9": false,
	} {
		if got := atLeast(version, "3.51.3"); got != want {
			t.Errorf("version %q at least 3.51.3: %t", version, got)
		}
	}
}

func TestNoStatementReadsAWholeTable(t *testing.T) {
	store, err := Open(t.Context(), filepath.Join(t.TempDir(), "service.db"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, query := range append(slices.Clone(statements), readOutbox) {
		if strings.HasSuffix(query, "skald") || strings.Contains(query, "numbers") || query == statements[listUnpublished] || query == statements[unpublishedKeys] {
			continue // savepoints, the tests' own, and what wants all of the few
		}
		for _, step := range planOf(t, store, query) {
			if strings.HasSuffix(step, "USING INDEX skald_sagas_live") {
				continue // it has the live ones only
			}
			table, scan := strings.CutPrefix(step, "SCAN ")
			table, _, _ = strings.Cut(table, " ")
			if scan && table != "skald_relay" && (strings.HasPrefix(table, "skald_") || table == "h") {
				t.Errorf("%s\n\treads a whole table: %s", query, step)
			}
		}
	}
}

func planOf(t *testing.T, store *Store, query string) []string {
	t.Helper()
	args := make([]any, 2000) // more than any statement has parameters
	rows, err := store.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var ignored int
		var step string
		if err := rows.Scan(&ignored, &ignored, &ignored, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}
