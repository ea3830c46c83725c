package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// errNoPostgreSQL says all that can be done about it.
var errNoPostgreSQL = errors.New(`servers: no PostgreSQL: ` + Variable + ` is not set, and neither ` + debianPrograms + ` nor PATH has its programs initdb and postgres.
Do one of these:
  install it                       apt-get install postgresql
  name a server that runs          ` + Variable + `=postgres://user:password@host:5432/postgres
                                   (a superuser, and wal_level=logical)
  leave out what needs a server    ` + mode + `=` + embedded)

const debianPrograms = "/usr/lib/postgresql/*/bin"

// findPostgreSQL returns the folder of the newest installed programs.
func findPostgreSQL() (string, error) {
	found, err := filepath.Glob(debianPrograms)
	if err != nil {
		return "", err
	}
	major := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // what is no number is older than all
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return major(b) - major(a) })
	if inPath, err := exec.LookPath("initdb"); err == nil {
		found = append(found, filepath.Dir(inPath))
	}
	for _, dir := range found {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", errNoPostgreSQL
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// cluster is the data of a server, and how one is started on them.
type cluster struct {
	programs string
	folder   *folder
	owner    *owner
	port     int
}

func (c *cluster) data() string { return filepath.Join(c.folder.path, "data") }
func (c *cluster) log() string  { return filepath.Join(c.folder.path, "log") }

// init makes the cluster. Its locale is C and its encoding UTF-8, whatever the environment's.
func (c *cluster) init(ctx context.Context, settings []string) error {
	cmd := c.command(ctx, "initdb", "-D", c.data(), "-U", "postgres",
		"--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("servers: initdb in %s: %w:\n%s", c.data(), err, out)
	}
	// What makes a commit durable is said although it is the default: tests depend on it.
	settings = append([]string{
		"listen_addresses=127.0.0.1",
		"unix_socket_directories=" + c.folder.path,
		"fsync=on",
		"synchronous_commit=on",
		"wal_level=logical",
		"max_connections=200",
		"max_replication_slots=50",
		"max_wal_senders=50",
	}, settings...)
	return c.configure(settings)
}

// configure appends settings to the cluster's postgresql.conf; the last of a name counts.
func (c *cluster) configure(settings []string) error {
	var lines strings.Builder
	for _, setting := range settings {
		name, value, ok := strings.Cut(setting, "=")
		if !ok {
			return fmt.Errorf("servers: configure PostgreSQL: setting %q is not of the form name=value", setting)
		}
		quoted := strings.ReplaceAll(strings.TrimSpace(value), "'", "''")
		fmt.Fprintf(&lines, "%s = '%s'\n", strings.TrimSpace(name), quoted)
	}
	file, err := os.OpenFile(filepath.Join(c.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(lines.String())
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return fmt.Errorf("servers: configure PostgreSQL: %w", err)
	}
	return nil
}

// choosePort takes a free one below the range from which the system serves those who
// connect: there it stays free while the server is down.
func (c *cluster) choosePort(ctx context.Context) error {
	const low, high, attempts = 15000, 32000, 100
	var listen net.ListenConfig
	for range attempts {
		port := low + rand.IntN(high-low)
		listener, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			c.port = port
			return listener.Close()
		}
	}
	return fmt.Errorf("servers: found no free port for PostgreSQL on 127.0.0.1 between %d and %d", low, high)
}

// portTaken says whether the last start failed because somebody else had the port.
func (c *cluster) portTaken() bool {
	return strings.Contains(c.logTail(), "could not create any TCP/IP sockets")
}

// launch starts the server without waiting for it. The server outlives the context.
func (c *cluster) launch(ctx context.Context) (*process, error) {
	log, err := os.OpenFile(c.log(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("servers: start PostgreSQL: %w", err)
	}
	cmd := c.command(context.WithoutCancel(ctx), "postgres", "-D", c.data(), "-p", strconv.Itoa(c.port))
	cmd.Stdout, cmd.Stderr = log, log
	started, err := launch(cmd)
	if err := errors.Join(err, log.Close()); err != nil { // the server has its own
		return nil, fmt.Errorf("servers: start PostgreSQL: %w", err)
	}
	return started, nil
}

// awaitReady asks over the socket, which is in our own folder: nobody else answers there.
func (c *cluster) awaitReady(ctx context.Context, started *process) error {
	const longest = 250 * time.Millisecond
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, longest) {
		conn, err := pgx.Connect(ctx, c.socketURL())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-started.exited:
			return fmt.Errorf("servers: PostgreSQL ended at its start (%w); its log ends with:\n%s", started.err, c.logTail())
		case <-ctx.Done():
			return fmt.Errorf("servers: PostgreSQL does not answer: %w: %w; its log ends with:\n%s", context.Cause(ctx), err, c.logTail())
		case <-time.After(pause):
		}
	}
}

// command runs one of the programs as the cluster's owner.
func (c *cluster) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.programs, program), args...) //nolint:gosec // an installed program of PostgreSQL
	cmd.Dir = c.folder.path
	c.owner.own(cmd)
	return cmd
}

// logTail is the end of the log since the last start.
func (c *cluster) logTail() string {
	const lines = 20
	content, err := os.ReadFile(c.log())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (c *cluster) url() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", c.port)
}

func (c *cluster) socketURL() string {
	return fmt.Sprintf("postgres:///postgres?host=%s&port=%d&user=postgres", url.QueryEscape(c.folder.path), c.port)
}
