package databases_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

var quiet = slog.New(slog.DiscardHandler)

// server names a server; the DSN's user and database are replaced where they are given.
func server(t *testing.T, dsn, user, database string) *databases.Postgres {
	t.Helper()
	address, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		address.User = url.UserPassword(user, "secret")
	}
	if database != "" {
		address.Path = "/" + database
	}
	p, err := databases.NewPostgres(address.String(), postgres.Poll)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func execute(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func TestADatabaseIsMadeOnce(t *testing.T) {
	dsn := servers.StartPostgreSQL(t).URL()
	p := server(t, dsn, "", "")
	if db, err := p.Read(t.Context(), "order"); !errors.Is(err, databases.ErrAbsent) {
		t.Fatalf("before: %v, %v", db, err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			opened, err := p.Open(t.Context(), "order", quiet)
			if err == nil {
				err = opened.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	db, err := p.Read(t.Context(), "order")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var name string
	if err := db.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&name); err != nil || name != "ftgo_order" {
		t.Errorf("%q, %v", name, err)
	}
}

func TestAServerThatCannotBeUsedIsNamedWithTheRemedy(t *testing.T) {
	dsn := servers.StartPostgreSQL(t).URL()
	execute(t, dsn, "CREATE ROLE poor LOGIN", "CREATE ROLE dead NOLOGIN", "CREATE ROLE busy LOGIN CREATEDB CONNECTION LIMIT 0")
	cases := map[string]struct {
		dsn, user, database string
		say                 []string
	}{
		"not there":           {"postgres://u:secret@127.0.0.1:1", "", "", []string{"127.0.0.1:1", "cannot be reached", "--dsn"}},
		"refuses the login":   {dsn, "dead", "", []string{`"dead"`, "refuses the login", "--dsn"}},
		"may make none":       {dsn, "poor", "", []string{`"poor"`, "CREATEDB", "ftgo_order"}},
		"an unknown database": {dsn, "", "nothing", []string{`"nothing"`, "--dsn"}},
		"no connection left":  {dsn, "busy", "", []string{"max_connections", "pool_max_conns"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // else it waits for one that starts
			defer cancel()
			opened, err := server(t, c.dsn, c.user, c.database).Open(ctx, "order", quiet)
			if err == nil {
				t.Fatal("opened", opened.Close())
			}
			for _, part := range c.say {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\ndoes not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%v\ntells a secret", err)
			}
		})
	}
}

func TestAWrongAddressIsRefusedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"http://u:secret@x", "postgres://u:secret@x:port", "postgres://u:secret@x?sslmode=maybe"} {
		_, err := databases.NewPostgres(dsn, postgres.Poll)
		if err == nil || !strings.Contains(err.Error(), "postgres://") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}

// signal is a log that tells of its first line.
type signal struct {
	bytes.Buffer
	once sync.Once
	told chan struct{}
}

func (s *signal) Write(line []byte) (int, error) {
	defer s.once.Do(func() { close(s.told) })
	return s.Buffer.Write(line)
}

func TestAServerThatIsStillToBeStartedIsWaitedFor(t *testing.T) {
	started := servers.StartPostgreSQL(t)
	if err := started.Stop(); err != nil {
		t.Fatal(err)
	}
	log := &signal{told: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		opened, err := server(t, started.URL(), "", "").Open(t.Context(), "order", slog.New(slog.NewTextHandler(log, nil)))
		if err == nil {
			err = opened.Close()
		}
		ended <- err
	}()
	select {
	case <-log.told:
	case err := <-ended:
		t.Fatalf("did not wait: %v", err)
	}
	if err := started.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "waiting for the PostgreSQL server") {
		t.Errorf("log: %s", log)
	}
}
