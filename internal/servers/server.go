package servers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

const (
	// startPatience bounds a start, recovery after a crash included.
	startPatience = 2 * time.Minute
	// stopPatience is above the 60 s after which PostgreSQL gives up on a silent standby.
	stopPatience  = 90 * time.Second
	closePatience = 10 * time.Second
)

// Options of a server. The zero value works.
type Options struct {
	// Dir is the folder in which the server gets a folder of its own, with its data, socket
	// and log; Close removes that. Defaults to the system's folder for temporary files.
	Dir string
	// Settings are lines "name=value" of postgresql.conf, which override those of this package.
	Settings []string
}

// Server is a PostgreSQL server that this process started: on loopback and on a unix socket,
// with its own cluster. It ends when this process does. Its methods are safe for concurrent
// use; URL and SocketURL stay the same over a restart.
type Server struct {
	folder  *folder
	cluster *cluster

	mu      sync.Mutex
	process *process // nil while the server is down
}

// Start makes a new cluster from the installed programs, starts a server on it and waits
// until it answers. The context bounds the start only. The caller calls Close at the end.
func Start(ctx context.Context, options Options) (*Server, error) {
	installed, err := findPostgreSQL()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	owner, err := findOwner()
	if err != nil {
		return nil, err
	}
	folder, err := newFolder(ctx, options.Dir, owner)
	if err != nil {
		return nil, err
	}
	server := &Server{folder: folder, cluster: &cluster{programs: installed, folder: folder, owner: owner}}
	if err := server.firstStart(ctx, options.Settings); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return server, nil
}

// firstStart initialises the cluster and finds a port that stays free until the server has it.
func (s *Server) firstStart(ctx context.Context, settings []string) error {
	if err := s.cluster.init(ctx, settings); err != nil {
		return err
	}
	const attempts = 5
	for attempt := 1; ; attempt++ {
		if err := s.cluster.choosePort(ctx); err != nil {
			return err
		}
		err := s.Start(ctx)
		if err == nil || attempt == attempts || !s.cluster.portTaken() {
			return err
		}
	}
}

// Start starts the server again, on the same data and port, and waits until it answers. It
// is an error while the server runs.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return errors.New("servers: start PostgreSQL: it runs already")
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	started, err := s.cluster.launch(ctx)
	if err != nil {
		return err
	}
	s.process = started
	err = s.folder.guard(started.pid())
	if err == nil {
		err = s.cluster.awaitReady(ctx, started)
	}
	if err != nil {
		return errors.Join(err, s.end(syscall.SIGQUIT, closePatience))
	}
	return nil
}

// Stop shuts the server down in good order, without waiting for its clients; what was
// committed is on disk. It does nothing when the server is down.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(syscall.SIGINT, stopPatience)
}

// Kill crashes the server: all its processes end at once, without a word to clients or
// disk. It does nothing when the server is down.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	if err := s.process.crash(); err != nil {
		return fmt.Errorf("servers: kill PostgreSQL: %w", err)
	}
	s.process = nil
	return s.folder.guard(0)
}

// Close ends the server and removes its folder.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.end(syscall.SIGQUIT, closePatience), s.folder.remove())
}

// end signals the server and waits until it is gone. One that does not heed is killed.
func (s *Server) end(signal syscall.Signal, patience time.Duration) error {
	if s.process == nil {
		return nil
	}
	err := s.process.signal(signal)
	if err == nil && !s.process.gone(patience) {
		err = fmt.Errorf("servers: PostgreSQL did not end within %v after signal %q and was killed; its log ends with:\n%s",
			patience, signal, s.cluster.logTail())
		err = errors.Join(err, s.process.crash())
	}
	s.process = nil
	return errors.Join(err, s.folder.guard(0))
}

// URL leads to the database "postgres" over loopback, as a superuser.
func (s *Server) URL() string { return s.cluster.url() }

// SocketURL is URL over the unix socket.
func (s *Server) SocketURL() string { return s.cluster.socketURL() }

// Dir is the server's folder. The data are in its "data", the log is its "log".
func (s *Server) Dir() string { return s.folder.path }

// Programs is the folder of the programs that the server was started from.
func (s *Server) Programs() string { return s.cluster.programs }
