package servers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"
)

// StartCopy starts a server on a copy of another's cluster, for one test, and removes both at its
// end. Of a server that runs it is a base backup, without replication slots; of one that is down, all
// that is in its folder. As a standby it follows the other until [Server.Promote].
func StartCopy(t testing.TB, of *Server, standby bool) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	server, err := of.copy(ctx, standby)
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

func (s *Server) copy(ctx context.Context, standby bool) (*Server, error) {
	folder, err := newFolder(ctx, "", s.cluster.owner)
	if err != nil {
		return nil, err
	}
	made := &Server{folder: folder, cluster: &cluster{programs: s.cluster.programs, folder: folder, owner: s.cluster.owner}}
	cmd := exec.CommandContext(ctx, "cp", "-a", s.cluster.data(), made.cluster.data()) //nolint:gosec // folders that we made
	if s.runs() {
		args := []string{"-D", made.cluster.data(), "-d", s.SocketURL(), "--checkpoint=fast", "--no-sync"}
		if standby {
			args = append(args, "--write-recovery-conf")
		}
		cmd = made.cluster.command(ctx, "pg_basebackup", args...)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("servers: copy the cluster %s: %w:\n%s", s.cluster.data(), err, out)
	}
	if err == nil {
		err = made.cluster.configure([]string{"unix_socket_directories=" + folder.path})
	}
	if err == nil {
		err = made.cluster.choosePort(ctx)
	}
	if err == nil {
		err = made.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, made.Close())
	}
	return made, nil
}

func (s *Server) runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil
}

// Promote makes a primary of a standby, and waits until it is one.
func (s *Server) Promote(ctx context.Context) error {
	out, err := s.cluster.command(ctx, "pg_ctl", "promote", "-w", "-D", s.cluster.data()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("servers: promote the standby in %s: %w:\n%s", s.cluster.data(), err, out)
	}
	return nil
}
