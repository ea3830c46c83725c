// Package hosttest gives a service's tests a host: a real SQLite database, and the shipped
// runtime on an in-memory broker.
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

	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/sqlite"
)

// New makes a host with a database of its own, for the length of the test.
func New(tb testing.TB, name string, broker service.Broker) host.Host {
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
	logger := slog.New(slog.DiscardHandler)
	s, err := service.New(name, store, broker, service.Config{Logger: logger})
	if err != nil {
		tb.Fatal(err)
	}
	return host.Host{DB: store.DB(), Dialect: host.SQLite, Service: s, Logger: logger}
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
	if err := h.DB.QueryRowContext(tb.Context(), query, args...).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return n
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
