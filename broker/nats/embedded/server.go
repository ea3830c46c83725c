package embedded

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats"
)

// ErrHosted says that another server, of this process or another, uses the folder.
var ErrHosted = errors.New("embedded: the folder is in use by another server")

const (
	// maxPayload leaves room for the largest message that package skald lets pass, with its
	// headers encoded.
	maxPayload = skald.MaxPayload + 256<<10
	// maxMemory is for the state of readers; channels are in files.
	maxMemory = 64 << 20
	// maxStore only bounds the sum of what channels may grow to, none of which is taken
	// beforehand.
	maxStore     = 1 << 40
	startTimeout = 30 * time.Second
)

// Config of a server.
type Config struct {
	// StoreDir is the folder that keeps everything; made when it is not there. It belongs to
	// this package alone, and must survive a restart of the machine. Required.
	StoreDir string
	// Host is the address to listen on, which must be a loopback one. Defaults to 127.0.0.1.
	Host string
	// Port to listen on. Defaults to any that is free.
	Port int
	// NoListen serves this process only.
	NoListen bool
	// Token that clients must present. Defaults to a random one.
	Token string
	// SyncInterval is how often streams are synced to disk; relays trust what is older than
	// this. Defaults to 1 second.
	SyncInterval time.Duration
	// Logger gets what the server logs, notices at level debug. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Host = cmp.Or(c.Host, "127.0.0.1")
	c.SyncInterval = cmp.Or(c.SyncInterval, time.Second)
	c.Token = cmp.Or(c.Token, rand.Text())
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	var faults []error
	if c.StoreDir == "" {
		faults = append(faults, errors.New("embedded: Config.StoreDir is empty: name a folder that survives a restart"))
	}
	if ip := net.ParseIP(c.Host); ip == nil || !ip.IsLoopback() {
		faults = append(faults, fmt.Errorf("embedded: Config.Host is %q: only a loopback address, such as 127.0.0.1 (for other machines run nats-server)", c.Host))
	}
	if c.Port < 0 || c.Port > 65535 {
		faults = append(faults, fmt.Errorf("embedded: Config.Port is %d: from 0 to 65535", c.Port))
	}
	if c.SyncInterval < time.Millisecond {
		faults = append(faults, fmt.Errorf("embedded: Config.SyncInterval is %s: at least a millisecond", c.SyncInterval))
	}
	return errors.Join(faults...)
}

// Server is a NATS server in this process. It is safe for concurrent use.
type Server struct {
	cfg    Config
	unlock func() error

	mu     sync.Mutex
	server *server.Server // another one after it was mended

	end            sync.Once
	ending, mended chan struct{} // closed by Shutdown, and when nothing is mended any more
}

// Start runs a server until Shutdown. [ErrHosted] is in the error's chain when the folder
// is in use.
func Start(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := prepare(cfg.StoreDir); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(cfg.StoreDir, "broker.lock"))
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, unlock: unlock, ending: make(chan struct{}), mended: make(chan struct{})}
	if s.server, err = run(cfg); err != nil {
		return nil, errors.Join(err, unlock())
	}
	if tcp, ok := s.server.Addr().(*net.TCPAddr); ok {
		s.cfg.Port = tcp.Port // which it keeps
	}
	go s.mend()
	return s, nil
}

func run(cfg Config) (*server.Server, error) {
	port := cfg.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "skald-embedded", Host: cfg.Host, Port: port, DontListen: cfg.NoListen, Authorization: cfg.Token,
		NoSigs: true, NoLog: true, DisableJetStreamBanner: true, MaxPayload: maxPayload,
		JetStream: true, StoreDir: cfg.StoreDir, JetStreamMaxMemory: maxMemory, JetStreamMaxStore: maxStore, SyncInterval: cfg.SyncInterval,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded: configure the server: %w", err)
	}
	log := &logger{to: cfg.Logger}
	s.SetLoggerV2(log, false, false, false)
	go s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("embedded: the server on folder %s did not start: %s", cfg.StoreDir, cmp.Or(log.worst(), "it was not ready in time"))
	}
	return s, nil
}

// prepare makes the folder and finds out whether it can be written to.
func prepare(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = probe(dir)
	}
	if err != nil {
		return fmt.Errorf("embedded: the broker's folder %s cannot be written to: %w (give this user the right to, or name another folder)", dir, err)
	}
	return nil
}

func probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// URL is the address with the token, for clients in other processes: a secret. Empty when
// the server does not listen.
func (s *Server) URL() string {
	if address := s.address(); address != "" {
		return "nats://" + s.cfg.Token + "@" + address
	}
	return ""
}

func (s *Server) address() string {
	if tcp, ok := s.current().Addr().(*net.TCPAddr); ok {
		return net.JoinHostPort(tcp.IP.String(), strconv.Itoa(tcp.Port))
	}
	return ""
}

// Dial connects from within this process; it is a Dial for nats.Config.
func (s *Server) Dial(_ context.Context, options ...client.Option) (*client.Conn, error) {
	conn, err := client.Connect(client.DefaultURL, append(options, client.InProcessServer(s.current()), client.Token(s.cfg.Token))...)
	if err != nil {
		return nil, fmt.Errorf("embedded: connect to the server in this process: %w", err)
	}
	return conn, nil
}

// Config is what nats.Connect needs to use this server.
func (s *Server) Config() nats.Config {
	return nats.Config{Dial: s.Dial, SyncInterval: s.cfg.SyncInterval, Logger: s.cfg.Logger}
}

// Running reports whether the server serves.
func (s *Server) Running() bool { return s.current().Running() }

func (s *Server) current() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// Shutdown ends the server, writes what is not yet on disk, and lets go of the folder.
func (s *Server) Shutdown() error {
	s.end.Do(func() { close(s.ending) })
	<-s.mended
	s.server.Shutdown()
	s.server.WaitForShutdown()
	return s.unlock()
}
