// Package hosttest gives a service's tests a host: a real database, and the shipped runtime on an
// in-memory broker.
package hosttest

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/postgres"
	"github.com/skald-go/skald/store/sqlite"
)

// Store is a kind of database for hosts.
type Store struct {
	dialect host.Dialect
	open    func(tb testing.TB, name string) (service.Store, *sql.DB)
}

var (
	// SQLite is the embedded default. What is committed is not on disk: tests have nothing to lose.
	SQLite = Store{host.SQLite, openSQLite}
	// PostgreSQL is a database on the server that tests share.
	PostgreSQL = Store{host.PostgreSQL, openPostgreSQL}
)

// OnEachStore runs a test on each kind of database.
func OnEachStore(t *testing.T, test func(t *testing.T, on Store)) {
	t.Helper()
	for _, store := range []Store{SQLite, PostgreSQL} {
		t.Run(string(store.dialect), func(t *testing.T) { test(t, store) })
	}
}

func openSQLite(tb testing.TB, name string) (service.Store, *sql.DB) {
	tb.Helper()
	config := sqlite.Config{AcceptSynchronous: sqlite.SynchronousOff}
	store, err := sqlite.Open(tb.Context(), filepath.Join(tb.TempDir(), name+".db"), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store, store.DB()
}

func openPostgreSQL(tb testing.TB, _ string) (service.Store, *sql.DB) {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), servers.Database(tb, servers.PostgreSQL(tb)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	store, err := postgres.Open(tb.Context(), pool, postgres.Config{SQL: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.DB().Close(); err != nil {
			tb.Error(err)
		}
	})
	return store, store.DB()
}

// New makes a host with a database of its own, for the length of the test.
func New(tb testing.TB, on Store, name string, broker service.Broker) host.Host {
	tb.Helper()
	store, db := on.open(tb, name)
	logger := slog.New(slog.DiscardHandler)
	s, err := service.New(name, store, broker, service.Config{Logger: logger})
	if err != nil {
		tb.Fatal(err)
	}
	return host.Host{DB: db, Dialect: on.dialect, Service: s, Logger: logger}
}

// Run runs services until the test ends.
func Run(tb testing.TB, services ...*service.Service) {
	tb.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error)
	for _, s := range services {
		go func() { done <- s.Run(ctx) }()
	}
	tb.Cleanup(func() {
		stop()
		for range services {
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				tb.Error(err)
			}
		}
	})
}

// InTx calls fn in a transaction of the host's database, and commits.
func InTx(tb testing.TB, h host.Host, fn func(ctx context.Context, tx *sql.Tx) error) error {
	tb.Helper()
	tx, err := h.DB.BeginTx(tb.Context(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := fn(tb.Context(), tx); err != nil {
		if undone := tx.Rollback(); undone != nil {
			tb.Fatal(undone)
		}
		return err
	}
	return tx.Commit()
}

// Count returns the single number that a query answers.
func Count(tb testing.TB, h host.Host, query string, args ...any) int {
	tb.Helper()
	var n int
	if err := host.QueryRow(tb.Context(), nil, prepare(tb, h, query), args...).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return n
}

// Exec executes a statement in a transaction of its own.
func Exec(tb testing.TB, h host.Host, statement string, args ...any) {
	tb.Helper()
	prepared := prepare(tb, h, statement)
	err := InTx(tb, h, func(ctx context.Context, tx *sql.Tx) error {
		_, err := host.Exec(ctx, tx, prepared, args...)
		return err
	})
	if err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

func prepare(tb testing.TB, h host.Host, query string) host.Statement {
	tb.Helper()
	var s host.Statement
	if err := h.Prepare(tb.Context(), "test", host.Query{Into: &s, SQL: query}); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Sent returns type, key and payload of the messages that the host's service has sent to a
// channel, in the order in which it did.
func Sent(tb testing.TB, h host.Host, channel string) []skald.Message {
	tb.Helper()
	query := `SELECT type, key, payload, NULL FROM skald_outbox WHERE channel = ? ORDER BY seq`
	if h.Dialect == host.PostgreSQL {
		query = `SELECT type, key, ''::bytea, message FROM skald_outbox WHERE channel = $1 ORDER BY seq`
	}
	rows, err := h.DB.QueryContext(tb.Context(), query, channel)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	var sent []skald.Message
	for rows.Next() {
		var m skald.Message
		var encoded []byte
		err := rows.Scan(&m.Type, &m.Key, &m.Payload, &encoded)
		if err == nil && encoded != nil {
			err = m.UnmarshalBinary(encoded)
		}
		if err != nil {
			tb.Fatal(err)
		}
		sent = append(sent, m)
	}
	if err := rows.Err(); err != nil {
		tb.Fatal(err)
	}
	return sent
}

// Do sends a request to a handler; headers are names and values in turn.
func Do(tb testing.TB, handler http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	tb.Helper()
	request := httptest.NewRequestWithContext(tb.Context(), method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer
}
