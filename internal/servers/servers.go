// Package servers gives tests, benchmarks and demos the real servers that they run against.
//
// A test that can share a server takes a database of its own on it:
//
//	url := servers.Database(t, servers.PostgreSQL(t))
//
// A test that restarts or crashes the server starts its own:
//
//	server := servers.StartPostgreSQL(t, "wal_keep_size=64MB")
//	err := server.Kill()
//
// The shared server is the one that the environment names (SKALD_POSTGRES), or else one that
// this process starts from installed programs. Nothing is skipped in silence: where there is
// no server the test fails and says what to do; SKALD_TEST=embedded is the way to say that
// such tests are to be left out.
package servers

import (
	"context"
	"os"
	"sync"
	"testing"
)

const (
	// Variable is the environment variable with the address of the shared PostgreSQL.
	Variable = "SKALD_POSTGRES"

	mode     = "SKALD_TEST"
	embedded = "embedded"
)

// PostgreSQL returns the URL of the database "postgres" on a server that tests share, with a
// superuser's role. The server of this process, where it has to start one, ends with the
// process, however that ends; a check for leaked goroutines has to leave out
// "github.com/skald-go/skald/internal/servers.(*process).wait" then.
func PostgreSQL(t testing.TB) string {
	t.Helper()
	skipEmbedded(t)
	if url := os.Getenv(Variable); url != "" {
		return url
	}
	server, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return server.URL()
}

// shared starts this process's server once.
var shared = sync.OnceValues(func() (*Server, error) {
	return Start(context.Background(), Options{})
})

// StartPostgreSQL starts a server for one test, with a cluster of its own, and removes both
// at its end. Each setting is a line "name=value" of postgresql.conf.
func StartPostgreSQL(t testing.TB, settings ...string) *Server {
	t.Helper()
	skipEmbedded(t)
	server, err := Start(t.Context(), Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func skipEmbedded(t testing.TB) {
	t.Helper()
	if os.Getenv(mode) == embedded {
		t.Skip("needs a PostgreSQL server, and " + mode + "=" + embedded + " leaves such tests out")
	}
}
