package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/internal/servers"
)

// TestMain makes this test program the command itself, when it is started as such.
func TestMain(m *testing.M) {
	if os.Getenv("SKALD_RUN_TEST") != "" {
		main()
	}
	os.Exit(m.Run())
}

// start runs a shell script beside the servers, up to the line "ready" that it prints, and
// returns the lines before.
func start(t *testing.T, script string, env ...string) (*exec.Cmd, []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "sh", "-c", script)
	cmd.Env = append(append(os.Environ(), "SKALD_RUN_TEST=1"), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for scanner := bufio.NewScanner(out); scanner.Scan() && scanner.Text() != "ready"; {
		lines = append(lines, scanner.Text())
	}
	return cmd, lines
}

func exitCodeOf(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the command ended with %v", err)
	}
	return exit.ExitCode()
}

func TestACommandFindsTheServersAndItsSignalsAndItsExitCodeIsOurs(t *testing.T) {
	servers.PostgreSQL(t) // skips, or fails, where there are no servers
	cmd, lines := start(t, `trap 'exit 9' TERM; echo "$SKALD_POSTGRES"; echo ready; while :; do sleep 0.1; done`, servers.Variable+"=")
	if !strings.Contains(lines[0], "PostgreSQL") || !strings.Contains(lines[0], "started for this run") {
		t.Errorf("it does not say what runs: %q", lines)
	}
	url := lines[len(lines)-1]
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	var data string
	if err := conn.QueryRow(t.Context(), `SHOW data_directory`).Scan(&data); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCodeOf(t, cmd.Wait()); code != 9 {
		t.Errorf("exit code %d, want the command's 9", code)
	}
	if _, err := os.Stat(filepath.Dir(data)); !os.IsNotExist(err) {
		t.Errorf("the server's folder is still there: %v", err)
	}
}

func TestAServerThatTheEnvironmentNamesIsUsedAndItsPasswordNotPrinted(t *testing.T) {
	address := strings.Replace(servers.PostgreSQL(t), "postgres@", "postgres:secret@", 1)
	cmd, lines := start(t, `exit 7`, servers.Variable+"="+address)
	if code := exitCodeOf(t, cmd.Wait()); code != 7 {
		t.Errorf("exit code %d, want the command's 7", code)
	}
	if printed := strings.Join(lines, "\n"); !strings.Contains(printed, "named by SKALD_POSTGRES") || strings.Contains(printed, "secret") {
		t.Errorf("it printed:\n%s", printed)
	}
}
