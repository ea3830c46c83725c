package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/store/postgres"
)

// Postgres is a PostgreSQL server with a database for each service, called ftgo_order and so on.
type Postgres struct {
	config *pgxpool.Config
	relay  postgres.Relay
}

var _ Databases = (*Postgres)(nil)

const (
	// connections is how many each service uses at most, unless the DSN's pool_max_conns says
	// otherwise; the relay's for the log comes on top.
	connections = 10
	// connectPatience bounds one attempt to connect, unless the DSN's connect_timeout does.
	connectPatience = 5 * time.Second
	// maintenance is the database from which the others are made, unless the DSN names one.
	maintenance = "postgres"
)

// NewPostgres names a server by its DSN: a URL, or a string of keywords and values. What it
// leaves out comes from libpq's variables, PGHOST and so on. The relays read the outboxes as
// relay says.
func NewPostgres(dsn string, relay postgres.Relay) (*Postgres, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("the address of the PostgreSQL server: %w; it is to be like postgres://user:password@host:5432", err) // pgx leaves the password out
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		config.MaxConns = connections
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectPatience
	}
	if config.ConnConfig.Database == "" {
		config.ConnConfig.Database = maintenance
	}
	return &Postgres{config, relay}, nil
}

func name(service string) string { return "ftgo_" + service }

// String implements [Databases].
func (p *Postgres) String() string {
	return fmt.Sprintf("the PostgreSQL server at %s", p.address())
}

func (p *Postgres) address() string {
	c := p.config.ConnConfig
	if strings.HasPrefix(c.Host, "/") {
		return c.Host
	}
	return fmt.Sprintf("%s:%d", c.Host, c.Port)
}

// Open implements [Databases].
func (p *Postgres) Open(ctx context.Context, service string, logger *slog.Logger) (*Database, error) {
	if err := p.create(ctx, name(service), logger); err != nil {
		return nil, err
	}
	config := p.config.Copy()
	config.ConnConfig.Database = name(service)
	config.ConnConfig.RuntimeParams["application_name"] = "ftgo " + service
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, p.explain(name(service), err)
	}
	store, err := postgres.Open(ctx, pool, postgres.Config{Relay: p.relay, SQL: true, Logger: logger})
	if err != nil {
		pool.Close()
		return nil, p.explain(name(service), err)
	}
	return &Database{Store: store, DB: store.DB(), Dialect: host.PostgreSQL, close: func() error {
		err := store.DB().Close()
		pool.Close()
		return err
	}}, nil
}

// create makes a database that is absent.
func (p *Postgres) create(ctx context.Context, database string, logger *slog.Logger) error {
	conn, err := p.connect(ctx, logger)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is left to lose
	var exists bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&exists)
	if err != nil || exists {
		return p.explain(database, err)
	}
	// Text is compared by its bytes, whatever the server's own language.
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize()+" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
	if hasCode(err, "42P04", "23505") { // another process has made it meanwhile
		return nil
	}
	return p.explain(database, err)
}

const (
	// startPatience is how long a server may take that is starting, or is to be started.
	startPatience = 20 * time.Second
	betweenLooks  = 500 * time.Millisecond
)

// connect connects to the server, and waits for one that starts.
func (p *Postgres) connect(ctx context.Context, logger *slog.Logger) (*pgx.Conn, error) {
	patience, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	told := false
	for {
		conn, err := pgx.ConnectConfig(ctx, p.config.ConnConfig.Copy())
		if err == nil {
			return conn, nil
		}
		err = p.explain(p.config.ConnConfig.Database, err)
		if !unreachable(err) {
			return nil, err
		}
		if !told {
			told = true
			logger.WarnContext(ctx, "waiting for the PostgreSQL server", "within", startPatience, "error", err)
		}
		again := time.NewTimer(betweenLooks)
		select {
		case <-again.C:
		case <-patience.Done():
			again.Stop()
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// Read implements [Databases].
func (p *Postgres) Read(ctx context.Context, service string) (*sql.DB, error) {
	config := p.config.ConnConfig.Copy()
	config.Database = name(service)
	db := stdlib.OpenDB(*config)
	err := db.PingContext(ctx)
	if err == nil {
		return db, nil
	}
	_ = db.Close() // there is no connection
	if hasCode(err, "3D000") {
		return nil, ErrAbsent
	}
	return nil, p.explain(name(service), err)
}

func hasCode(err error, codes ...string) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	for _, code := range codes {
		if server.Code == code {
			return true
		}
	}
	return false
}

// unreachable says that the server may be there in a moment.
func unreachable(err error) bool {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return false
	}
	var server *pgconn.PgError
	return !errors.As(err, &server) || server.Code == "57P03" // it is starting, or shutting down
}

// explain says what to do about an error of the server's; nil for nil.
func (p *Postgres) explain(database string, err error) error {
	if err == nil {
		return nil
	}
	c := p.config.ConnConfig
	switch {
	case hasCode(err, "57P03"):
		return fmt.Errorf("the PostgreSQL server at %s takes no connections yet: %w", p.address(), err)
	case unreachable(err):
		return fmt.Errorf("the PostgreSQL server at %s cannot be reached: %w; start it, or name another one with --dsn", p.address(), err)
	case hasCode(err, "28P01", "28000"):
		return fmt.Errorf("the PostgreSQL server at %s refuses the login of %q: %w; name a role and its password with --dsn postgres://user:password@host:5432", p.address(), c.User, err)
	case hasCode(err, "3D000"):
		return fmt.Errorf("the PostgreSQL server at %s has no database %q: %w; name one that is there with --dsn, or none", p.address(), database, err)
	case hasCode(err, "42501"):
		return fmt.Errorf("the role %q may not make the database %s, or tables in it: %w; as a superuser, ALTER ROLE %s CREATEDB, or CREATE DATABASE %s OWNER %s",
			c.User, database, err, pgx.Identifier{c.User}.Sanitize(), database, pgx.Identifier{c.User}.Sanitize())
	case hasCode(err, "53300"):
		return fmt.Errorf("the PostgreSQL server at %s has no connection left: %w; raise its max_connections, or add ?pool_max_conns=5 to --dsn", p.address(), err)
	default:
		return fmt.Errorf("database %s: %w", database, err)
	}
}
