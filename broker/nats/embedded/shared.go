package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/skald-go/skald/broker/nats"
)

const (
	// patience bounds how long a dial waits for a host that is just starting or ending.
	patience = 20 * time.Second
	pause    = 25 * time.Millisecond
)

// SharedBroker is a server that all processes on this machine share which name the same
// folder: one of them hosts it, the others connect to it. When the host ends or dies, the
// next one that connects takes over. It is safe for concurrent use.
type SharedBroker struct {
	cfg Config
	// hosting is held while server is looked at or changed; a channel, so that a caller whose
	// context ends does not wait.
	hosting chan struct{}
	server  *Server // when this process is the host
	closed  bool
}

// Shared joins the server of the folder, and starts it when nobody has. The port, host and
// token are those of whoever hosts; all processes must agree on the sync interval.
func Shared(ctx context.Context, dir string, cfg Config) (*SharedBroker, error) {
	cfg.StoreDir, cfg.Token, cfg.NoListen = dir, "", false
	checked := cfg.withDefaults()
	if err := checked.validate(); err != nil {
		return nil, err
	}
	s := &SharedBroker{cfg: cfg, hosting: make(chan struct{}, 1)}
	conn, err := s.Dial(ctx)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	conn.Close()
	return s, nil
}

// Config is what nats.Connect needs to use the server.
func (s *SharedBroker) Config() nats.Config {
	checked := s.cfg.withDefaults()
	return nats.Config{Dial: s.Dial, SyncInterval: checked.SyncInterval, Logger: checked.Logger}
}

// Dial connects to the server, wherever it is hosted, and hosts it if nobody does; it is a
// Dial for nats.Config.
func (s *SharedBroker) Dial(ctx context.Context, options ...client.Option) (*client.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		own, err := s.host(ctx)
		if own != nil {
			return own.Dial(ctx, options...)
		}
		if !errors.Is(err, ErrHosted) {
			return nil, err
		}
		conn, err := s.visit(options)
		if err == nil || errors.Is(err, errDisagree) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("embedded: join the broker of folder %s: another process has its lock, but does not answer: %w", s.cfg.StoreDir, err)
		case <-time.After(pause):
		}
	}
}

// Hosting reports whether this process hosts the server.
func (s *SharedBroker) Hosting() bool {
	s.hosting <- struct{}{}
	defer func() { <-s.hosting }()
	return s.server != nil && s.server.Running()
}

// host returns this process's server, and starts it if nobody hosts one; ErrHosted if
// another does.
func (s *SharedBroker) host(ctx context.Context) (*Server, error) {
	select {
	case s.hosting <- struct{}{}:
		defer func() { <-s.hosting }()
	case <-ctx.Done():
		return nil, fmt.Errorf("embedded: join the broker of folder %s: %w", s.cfg.StoreDir, context.Cause(ctx))
	}
	if s.closed {
		return nil, nats.ErrClosed
	}
	if s.server != nil && s.server.Running() {
		return s.server, nil
	}
	if s.server != nil {
		err := s.server.Shutdown()
		s.server = nil
		if err != nil {
			return nil, err
		}
	}
	started, err := Start(s.cfg)
	if err != nil {
		return nil, err
	}
	if err := s.announce(started); err != nil {
		return nil, errors.Join(err, started.Shutdown())
	}
	s.server = started
	return started, nil
}

// Close leaves the server. A host ends it, and another process takes over.
func (s *SharedBroker) Close() error {
	s.hosting <- struct{}{}
	defer func() { <-s.hosting }()
	s.closed = true
	if s.server == nil {
		return nil
	}
	ended := s.server
	s.server = nil
	if err := os.Remove(s.announcement()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, ended.Shutdown())
	}
	return ended.Shutdown()
}

// address is what the host tells the other processes, in a file that only its user reads.
type address struct {
	URL          string        `json:"url"` // with the token
	SyncInterval time.Duration `json:"sync_interval"`
}

func (s *SharedBroker) announcement() string { return filepath.Join(s.cfg.StoreDir, "broker.addr") }

// announce writes the address, whole or not at all.
func (s *SharedBroker) announce(server *Server) error {
	content, err := json.Marshal(address{URL: server.URL(), SyncInterval: server.cfg.SyncInterval})
	if err != nil {
		return fmt.Errorf("embedded: announce the server: %w", err)
	}
	next := s.announcement() + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return fmt.Errorf("embedded: announce the server: %w", err)
	}
	if err := os.Rename(next, s.announcement()); err != nil {
		return fmt.Errorf("embedded: announce the server: %w", err)
	}
	return nil
}

var errDisagree = errors.New("embedded: the host of the shared server syncs less often than this process is configured for")

// visit connects to the server of another process.
func (s *SharedBroker) visit(options []client.Option) (*client.Conn, error) {
	content, err := os.ReadFile(s.announcement())
	if err != nil {
		return nil, fmt.Errorf("embedded: find the host: %w", err)
	}
	var a address
	if err := json.Unmarshal(content, &a); err != nil {
		return nil, fmt.Errorf("embedded: find the host: %s: %w", s.announcement(), err)
	}
	if own := s.cfg.withDefaults().SyncInterval; a.SyncInterval > own {
		return nil, fmt.Errorf("%w: every %s instead of %s", errDisagree, a.SyncInterval, own)
	}
	conn, err := client.Connect(a.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("embedded: connect to the host: %w", err)
	}
	return conn, nil
}
