// Package cluster gives benchmarks a PostgreSQL cluster of their own, with synced commits and
// logical replication, otherwise as installed.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald/internal/servers"
)

// Cluster is a running server. It is safe for concurrent use.
type Cluster struct {
	server *servers.Server
	admin  *pgxpool.Pool
	// PID is the process whose children serve the connections.
	PID int
	// Version of the server.
	Version string
	// Counts are of the databases by name, when they are to be counted; set before Create.
	Counts map[string]*Count
}

// Start starts a server with an empty cluster in a temporary folder.
func Start(ctx context.Context) (_ *Cluster, err error) {
	server, err := servers.Start(ctx, servers.Options{})
	if err != nil {
		return nil, err
	}
	c := &Cluster{server: server}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.admin, err = pgxpool.New(ctx, server.URL()); err != nil {
		return c, err
	}
	if err := c.admin.QueryRow(ctx, `SELECT split_part(current_setting('server_version'), ' ', 1)`).Scan(&c.Version); err != nil {
		return c, err
	}
	file, err := os.ReadFile(filepath.Join(server.Dir(), "data", "postmaster.pid"))
	if err != nil {
		return c, err
	}
	first, _, _ := strings.Cut(string(file), "\n")
	c.PID, err = strconv.Atoi(first)
	return c, err
}

// Close ends the server and removes the cluster.
func (c *Cluster) Close() error {
	if c.admin != nil {
		c.admin.Close()
	}
	return c.server.Close()
}

// Create makes a database and opens a pool of so many connections on it.
func (c *Cluster) Create(ctx context.Context, name string, connections int) (*pgxpool.Pool, error) {
	if _, err := c.admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return nil, err
	}
	address, err := c.URL(name)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(connections)
	if count := c.Counts[name]; count != nil {
		config.ConnConfig.Tracer = count
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// URL leads to a database.
func (c *Cluster) URL(name string) (string, error) {
	address, err := url.Parse(c.server.URL())
	if err != nil {
		return "", fmt.Errorf("address of database %s: %w", name, err)
	}
	address.Path = "/" + name
	return address.String(), nil
}

// Drop drops a database that nobody uses any more, with its replication slots.
func (c *Cluster) Drop(ctx context.Context, name string) error {
	_, err := c.admin.Exec(ctx, `SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE database = $1 AND active`, name)
	if err == nil {
		_, err = c.admin.Exec(ctx, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1`, name)
	}
	if err == nil {
		_, err = c.admin.Exec(ctx, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
	}
	return err
}

// Usage counts up.
type Usage struct {
	Log     float64 // bytes written to the write-ahead log
	Commits float64 // of all databases, up to a second behind
}

// Usage reads what the server has done so far.
func (c *Cluster) Usage(ctx context.Context) (u Usage, err error) {
	err = c.admin.QueryRow(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8,
(SELECT sum(xact_commit) FROM pg_stat_database)::float8`).Scan(&u.Log, &u.Commits)
	return u, err
}

// Checkpoint writes everything out, so that what follows does not have to.
func (c *Cluster) Checkpoint(ctx context.Context) error {
	_, err := c.admin.Exec(ctx, "CHECKPOINT")
	return err
}
