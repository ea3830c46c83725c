package host_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"

	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/hosttest"
	"github.com/skald-go/skald/skaldtest"
)

// Processes of one service may start at the same time.
func TestASchemaIsMadeByManyAtOnce(t *testing.T) { hosttest.OnEachStore(t, makeSchemaAtOnce) }

func makeSchemaAtOnce(t *testing.T, on hosttest.Store) {
	t.Helper()
	h := hosttest.New(t, on, "order", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	statements := ""
	for table := range 20 {
		statements += fmt.Sprintf("CREATE TABLE IF NOT EXISTS made_%d (id TEXT NOT NULL PRIMARY KEY);\n", table)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := h.Migrate(t.Context(), "test", host.Schema{h.Dialect: statements}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := h.Migrate(t.Context(), "test", host.Schema{"paper": statements}); err == nil {
		t.Error("a schema of another dialect was made")
	}
}

func TestStatementsAreOneTextForAllDialects(t *testing.T) { hosttest.OnEachStore(t, oneText) }

func oneText(t *testing.T, on hosttest.Store) {
	t.Helper()
	h := hosttest.New(t, on, "order", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	for query, want := range map[string]string{
		`SELECT CAST(? AS TEXT) || CAST(? AS TEXT)`:                       "ab",
		`SELECT CAST(?2 AS TEXT) || CAST(?1 AS TEXT) || CAST(?2 AS TEXT)`: "bab",
	} {
		var statement host.Statement
		if err := h.Prepare(t.Context(), "test", host.Query{Into: &statement, SQL: query}); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := host.QueryRow(t.Context(), nil, statement, "a", "b").Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v", query, got, err)
		}
	}
	if err := h.Prepare(t.Context(), "test", host.Query{Into: new(host.Statement), SQL: "SELECT nothing"}); err == nil {
		t.Error("what the database does not understand was prepared")
	}
}

// What executes statements by their text, as package isolation does, executes the prepared one.
func TestATransactionExecutesAPreparedStatementByItsText(t *testing.T) {
	hosttest.OnEachStore(t, executesByText)
}

func executesByText(t *testing.T, on hosttest.Store) {
	t.Helper()
	h := hosttest.New(t, on, "order", skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	hosttest.Exec(t, h, `CREATE TABLE counted (n INTEGER NOT NULL)`)
	var insert host.Statement
	if err := h.Prepare(t.Context(), "test", host.Query{Into: &insert, SQL: `INSERT INTO counted VALUES (?1), (?1)`}); err != nil {
		t.Fatal(err)
	}
	err := hosttest.InTx(t, h, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := insert.In(tx).ExecContext(ctx, insert.Text(), 1); err != nil {
			return err
		}
		_, err := insert.In(tx).ExecContext(ctx, `INSERT INTO counted VALUES (5)`)
		return err
	})
	if n := hosttest.Count(t, h, `SELECT sum(n) FROM counted`); err != nil || n != 7 {
		t.Errorf("%d, %v", n, err)
	}
}
