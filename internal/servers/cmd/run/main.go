// Command run runs a command beside the servers that tests share: it says which they are,
// starts those that the environment does not name, and ends them after the command.
//
//	run go test work
//
// It exits as the command does, and passes on the signals that it gets.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/internal/servers"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: run command [argument …]")
		os.Exit(2)
	}
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run returns the command's exit code.
func run(command []string) (code int, err error) {
	// From here on a signal ends the command, and the servers after it.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)

	ctx := context.Background()
	address, origin := os.Getenv(servers.Variable), "named by "+servers.Variable
	if address == "" {
		server, err := servers.Start(ctx, servers.Options{})
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		address, origin = server.URL(), "started for this run from "+server.Programs()
	}
	description, err := describe(ctx, address)
	if err != nil {
		return 0, err
	}
	fmt.Printf("  %s, %s\n\n", description, origin)
	return follow(command, append(os.Environ(), servers.Variable+"="+address), signals)
}

// describe says which server answers at the address.
func describe(ctx context.Context, address string) (string, error) {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	parsed, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("%s is not a URL like postgres://user:password@host:5432/postgres", servers.Variable)
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return "", fmt.Errorf("%s names a server that does not answer: %w", servers.Variable, err)
	}
	defer conn.Close(ctx)
	version := conn.PgConn().ParameterStatus("server_version")
	return fmt.Sprintf("PostgreSQL %s at %s", version, parsed.Redacted()), nil
}

// follow runs the command and passes signals on to it.
func follow(command, env []string, signals <-chan os.Signal) (code int, err error) {
	cmd := exec.CommandContext(context.Background(), command[0], command[1:]...) //nolint:gosec // what this command is there for
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case got := <-signals:
			if err := cmd.Process.Signal(got); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 0, err
			}
		case err := <-ended:
			return exitCode(err)
		}
	}
}

// exitCode is the command's; that of one which a signal ended is as in a shell.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}
