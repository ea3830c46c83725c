package servers_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	neturl "net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/skald-go/skald/internal/servers"
)

// connect gives a connection to the database that the URL leads to.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func exec1(t *testing.T, conn *pgx.Conn, statement string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func query[T any](t *testing.T, conn *pgx.Conn, statement string, args ...any) T {
	t.Helper()
	var answer T
	if err := conn.QueryRow(t.Context(), statement, args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return answer
}

// eventually polls for what another process does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	const patience, pause = 30 * time.Second, 20 * time.Millisecond
	for waited := time.Duration(0); !done(); waited += pause {
		if waited > patience {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
		<-time.After(pause)
	}
}

func TestWhatWasCommittedOutlivesStopAndKill(t *testing.T) {
	server := servers.StartPostgreSQL(t)
	url := server.URL()
	exec1(t, connect(t, url), `CREATE TABLE kept (n int)`)
	for n, down := range []func() error{server.Stop, server.Kill, server.Kill} {
		conn := connect(t, url)
		exec1(t, conn, `INSERT INTO kept VALUES ($1)`, n)
		if err := down(); err != nil {
			t.Fatal(err)
		}
		if err := conn.Ping(t.Context()); err == nil {
			t.Error("the connection survived the server's end")
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if server.URL() != url {
			t.Errorf("the server came back at %s, it was at %s", server.URL(), url)
		}
		if kept := query[int](t, connect(t, server.SocketURL()), `SELECT count(*) FROM kept`); kept != n+1 {
			t.Errorf("%d of %d rows are left", kept, n+1)
		}
	}
}

func TestAKilledServerRecoversAndAStoppedOneNeedNot(t *testing.T) {
	server := servers.StartPostgreSQL(t)
	recovered := func() bool {
		log, err := os.ReadFile(server.Dir() + "/log")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(log), "database system was not properly shut down")
	}
	for name, down := range map[string]func() error{"stop": server.Stop, "kill": server.Kill} {
		exec1(t, connect(t, server.URL()), `CREATE TABLE after_`+name+` ()`)
		if err := down(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if recovered() != (name == "kill") {
			t.Errorf("after %s: recovered from a crash: %v", name, recovered())
		}
	}
}

func TestServersSideBySideShareNothing(t *testing.T) {
	one, other := servers.StartPostgreSQL(t), servers.StartPostgreSQL(t)
	exec1(t, connect(t, one.URL()), `CREATE TABLE mine ()`)
	exec1(t, connect(t, other.URL()), `CREATE TABLE mine ()`)
	if err := one.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := connect(t, other.URL()).Ping(t.Context()); err != nil {
		t.Errorf("one server's end harmed the other: %v", err)
	}
}

func TestSettingsAreThoseOfTheCluster(t *testing.T) {
	conn := connect(t, servers.StartPostgreSQL(t, "wal_sender_timeout=7s", "search_path='a''b', public").URL())
	for name, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_level": "logical",
		"server_encoding": "UTF8", "wal_sender_timeout": "7s", "search_path": "'a''b', public",
	} {
		if got := query[string](t, conn, `SELECT current_setting($1)`, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestAServerThatCannotStartSaysWhy(t *testing.T) {
	servers.PostgreSQL(t) // skips, or fails, where there are no servers
	_, err := servers.Start(t.Context(), servers.Options{Settings: []string{"no_such_setting=1"}})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("the error does not show the server's log: %v", err)
	}
}

func TestADatabaseIsDroppedWithItsSlotsAndWhoeverUsesIt(t *testing.T) {
	shared := servers.PostgreSQL(t)
	var name string
	t.Run("uses a database", func(t *testing.T) {
		url := servers.Database(t, shared)
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		name = query[string](t, conn, `SELECT current_database()::text`)
		exec1(t, conn, `CREATE PUBLICATION "none"`) // without it the reader would end with the first change
		exec1(t, conn, `SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, name)
		// Like a relay that is still running when its test ends; its connection is not closed.
		reader, err := pgx.Connect(t.Context(), url+"&replication=database")
		if err != nil {
			t.Fatal(err)
		}
		receive := fmt.Sprintf(`START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names 'none')`, name)
		reader.PgConn().Frontend().SendQuery(&pgproto3.Query{String: receive})
		if err := reader.PgConn().Frontend().Flush(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the slot to be in use", func() bool {
			return query[bool](t, conn, `SELECT active FROM pg_replication_slots WHERE slot_name = $1`, name)
		})
	})
	left := query[int](t, connect(t, shared),
		`SELECT (SELECT count(*) FROM pg_database WHERE datname = $1) + (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1)`, name)
	if left != 0 {
		t.Errorf("%d of the database and its slot are left", left)
	}
}

// hosting has this test program start a server, print where, and wait to be killed.
const hosting = "SKALD_SERVERS_TEST_HOSTS"

func TestMain(m *testing.M) {
	if os.Getenv(hosting) == "" {
		os.Exit(m.Run())
	}
	server, err := servers.Start(context.Background(), servers.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.Dir())
	fmt.Println(server.URL())
	select {}
}

func TestAServerEndsWithTheProcessThatStartedIt(t *testing.T) {
	servers.PostgreSQL(t) // skips, or fails, where there are no servers
	host := exec.Command(os.Args[0], "-test.run", "^$")
	host.Env = append(os.Environ(), hosting+"=1")
	host.Stderr = os.Stderr
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	line := func() string {
		if !lines.Scan() {
			t.Fatalf("the host printed too little: %v", host.Wait())
		}
		return lines.Text()
	}
	dir, url := line(), line()
	if err := connect(t, url).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server's folder to be removed", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	})
	address, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	if conn, err := dialer.DialContext(t.Context(), "tcp", address.Host); err == nil {
		t.Errorf("the folder is removed, and the server still listens: %v", conn.Close())
	}
}
