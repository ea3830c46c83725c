package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/check"
	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/examples/ftgo/load"
)

// build makes the command, and returns its path.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ftgo")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// freeAddress is one on which a server can listen, be killed, and listen again.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// server is `ftgo serve` in a process of its own.
type server struct {
	cmd *exec.Cmd
	log *bytes.Buffer
}

func serve(t *testing.T, binary string, args ...string) *server {
	t.Helper()
	s := &server{log: &bytes.Buffer{}}
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), binary, append([]string{"serve", "--log-level", "warn"}, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("server %d:\n%s", s.cmd.Process.Pid, s.log)
		}
	})
	return s
}

// kill ends the process as a power failure would, as far as it can tell.
func (s *server) kill(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // says that it was killed
}

// terminate drains it.
func (s *server) terminate(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// A server that is killed again and again under load, and started again on its data, loses
// nothing and does nothing twice.
//
// Faults: 16.
func TestKilledUnderLoad(t *testing.T) {
	const orders, kills, openAtKill = 1500, 5, 20
	binary, data, addr := build(t), t.TempDir(), freeAddress(t)
	running := serve(t, binary, "--data", data, "--addr", addr)
	killed := 0
	report := underLoad(t, addr, orders, func(c load.Counts) {
		if killed < kills && c.Open >= openAtKill && c.Accepted >= (killed+1)*orders/(kills+2) {
			killed++
			t.Logf("kill %d with %d sagas open", killed, c.Open)
			running.kill(t)
			running = serve(t, binary, "--data", data, "--addr", addr)
		}
	})
	if !report.OK() || killed != kills {
		t.Errorf("after %d kills: %+v", killed, report)
	}
	clean(t, data, 30*time.Second)
	running.terminate(t)
	clean(t, data, 0)
}

// The broker of processes on one data folder moves to another when its host dies, and again;
// nothing is lost or done twice meanwhile, whoever comes back.
//
// Faults: 16.
func TestTheBrokersHostIsKilled(t *testing.T) {
	const orders, openAtKill, without = 1000, 20, 20
	binary, data := build(t), t.TempDir()
	run := func(service string) *server {
		return serve(t, binary, "--data", data, "--addr", "127.0.0.1:0", "--service", service)
	}
	host := run("restaurant") // the first one on the folder
	appears(t, filepath.Join(data, "restaurant.addr"))
	others := []string{"order", "consumer", "kitchen", "accounting"}
	running := map[string]*server{}
	for _, name := range others {
		running[name] = run(name)
	}
	addr := freeAddress(t)
	running["gateway"] = serve(t, binary, "--data", data, "--addr", addr, "--service", "gateway")

	disturbed, away := 0, 0
	report := underLoad(t, addr, orders, func(c load.Counts) {
		switch {
		case disturbed == 0 && c.Open >= openAtKill && c.Accepted >= orders/4:
			disturbed, away = 1, c.Accepted
			t.Logf("the host is killed with %d sagas open, and stays away", c.Open)
			host.kill(t)
		case disturbed == 1 && c.Accepted >= away+without: // orders that need no restaurant end
			disturbed = 2
			t.Log("the restaurants are back, in a process that is not the host")
			running["restaurant"] = run("restaurant")
		case disturbed == 2 && c.Open >= openAtKill && c.Accepted >= orders/2:
			disturbed = 3
			t.Logf("its heir and all others are killed with %d sagas open", c.Open)
			for _, name := range others {
				running[name].kill(t)
			}
			for _, name := range others {
				running[name] = run(name)
			}
		}
	})
	if !report.OK() || disturbed != 3 {
		t.Errorf("after %d disturbances: %+v", disturbed, report)
	}
	clean(t, data, 30*time.Second)
	for _, s := range running {
		s.terminate(t)
	}
	clean(t, data, 0)
}

// appears waits for a file.
func appears(t *testing.T, path string) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("there is no %s", path)
		}
	}
}

// underLoad places orders in all styles and waits for their end; meanwhile it calls disturb again and again.
func underLoad(t *testing.T, addr string, orders int, disturb func(load.Counts)) load.Report {
	t.Helper()
	counts := make(chan load.Counts)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	client, err := load.New(load.Config{URL: "http://" + addr, WatchEvery: 5 * time.Millisecond, Watch: func(c load.Counts) {
		select {
		case counts <- c:
		case <-ctx.Done():
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Prepare(ctx, orders); err != nil {
		t.Fatal(err)
	}
	result := make(chan load.Report, 1)
	go func() {
		report, err := client.Place(ctx, load.Plan{
			Orders: orders, Decline: 0.1, Revise: 0.1, Cancel: 0.1, Concurrency: 64, Styles: orderapi.Styles,
		})
		if err != nil {
			t.Error(err)
		}
		result <- report
	}()
	for {
		select {
		case c := <-counts:
			disturb(c)
		case report := <-result:
			return report
		}
	}
}

// clean fails the test unless every invariant holds on the data folder, at the latest when
// patience has passed.
func clean(t *testing.T, data string, patience time.Duration) {
	t.Helper()
	cleanOn(t, databases.SQLite(data), patience)
}

func cleanOn(t *testing.T, from databases.Databases, patience time.Duration) {
	t.Helper()
	verdict, err := check.Settled(t.Context(), from, patience)
	if err != nil {
		t.Fatal(err)
	}
	const most = 20
	for _, violation := range verdict.Violations[:min(len(verdict.Violations), most)] {
		t.Error(violation)
	}
	if more := len(verdict.Violations) - most; more > 0 {
		t.Errorf("and %d more", more)
	}
}
