package embedded

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// mendEvery is how often the server is looked at.
	mendEvery = time.Second
	// room is what must fit into the folder before a server that failed to write is started again.
	room = 1 << 20
)

// mend starts the server again whenever it cannot write any more, until Shutdown. After one
// failed write, as on a full disk, the server refuses all further ones to that stream for the
// rest of its life, and its clients get no answer. It comes back at the same address.
func (s *Server) mend() {
	defer close(s.mended)
	look := time.NewTicker(mendEvery)
	defer look.Stop()
	for {
		select {
		case <-s.ending:
			return
		case <-look.C:
		}
		fault := s.fault()
		if fault == "" {
			continue
		}
		if err := s.hasRoom(); err != nil {
			s.cfg.Logger.Error("embedded: the broker cannot write; it is started again when its folder has room", "fault", fault, "folder", s.cfg.StoreDir, "error", err)
			continue
		}
		s.cfg.Logger.Warn("embedded: the broker could not write; starting it again", "fault", fault)
		if err := s.restart(); err != nil {
			s.cfg.Logger.Error("embedded: the broker was not started again; trying once more in a moment", "error", err)
		}
	}
}

// fault says why the server cannot go on; empty when it can.
func (s *Server) fault() string {
	running := s.current()
	if !running.Running() || !running.JetStreamEnabled() {
		return "it does not run"
	}
	for _, e := range running.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if strings.Contains(e.Error, "write error") {
			return e.Error
		}
	}
	return ""
}

func (s *Server) hasRoom() error {
	f, err := os.CreateTemp(s.cfg.StoreDir, "probe-*")
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Repeat([]byte{1}, room))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// restart holds up whoever wants to connect meanwhile.
func (s *Server) restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server.Shutdown()
	s.server.WaitForShutdown()
	again, err := run(s.cfg)
	if err == nil {
		s.server = again
	}
	return err
}
