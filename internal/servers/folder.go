package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// folder is a server's folder with a janitor: a shell that ends the server and removes the
// folder as soon as this process is gone, however it went.
type folder struct {
	path    string
	janitor *exec.Cmd
	// orders has a line for each server process, empty when there is none; its end is the
	// end of this process.
	orders io.WriteCloser
}

// janitor is deaf to the signals that a terminal sends to all of us: it has to be the last.
const janitor = `
trap '' HUP INT TERM
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
	kill -QUIT "$pid"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		kill -0 "$pid" || break
		sleep 0.5
	done
	kill -KILL "$pid"
fi 2>/dev/null
exec rm -rf "$1"
`

// newFolder makes the folder for the owner below dir, or, when dir is empty, where temporary
// files go. The context is for its values only: the janitor outlives it.
func newFolder(ctx context.Context, dir string, owner *owner) (*folder, error) {
	parent, err := findParent(dir, owner)
	if err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(parent, "skald-")
	if err != nil {
		return nil, fmt.Errorf("servers: make the server's folder: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", janitor, "janitor", path) //nolint:gosec // our own script, and a folder that we made
	cmd.Dir = "/"
	orders, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		err = owner.give(path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("servers: prepare the folder %s: %w", path, err), os.RemoveAll(path))
	}
	return &folder{path: path, janitor: cmd, orders: orders}, nil
}

// guard tells the janitor the process that it has to end; 0 is none.
func (f *folder) guard(pid int) error {
	line := "\n"
	if pid != 0 {
		line = fmt.Sprintln(pid)
	}
	if _, err := io.WriteString(f.orders, line); err != nil {
		return fmt.Errorf("servers: the shell that guards %s does not listen: %w", f.path, err)
	}
	return nil
}

// remove has the janitor remove the folder.
func (f *folder) remove() error {
	if f.janitor.ProcessState != nil {
		return nil
	}
	if err := errors.Join(f.orders.Close(), f.janitor.Wait()); err != nil {
		return fmt.Errorf("servers: remove %s: %w", f.path, err)
	}
	return nil
}

// findParent returns a folder that the owner can reach, and whose name leaves room for that
// of a unix socket below it, which has to be shorter than 104 bytes on some systems.
func findParent(dir string, owner *owner) (string, error) {
	const longest = 104 - len("/skald-1234567890/.s.PGSQL.12345.lock")
	candidates := []string{dir}
	if dir == "" {
		candidates = []string{os.TempDir(), "/tmp"}
	}
	var faults []error
	for _, candidate := range candidates {
		candidate, err := filepath.Abs(candidate)
		switch {
		case err != nil:
			faults = append(faults, err)
		case len(candidate) > longest:
			faults = append(faults, fmt.Errorf("%s is too long a name for a unix socket below it (%d bytes; at most %d)", candidate, len(candidate), longest))
		case owner != nil && closed(candidate) != "":
			faults = append(faults, fmt.Errorf("the server runs as user %s, who may not enter %s", owner.name, closed(candidate)))
		default:
			return candidate, nil
		}
	}
	return "", fmt.Errorf("servers: no folder for the server: %w", errors.Join(faults...))
}

// closed is the folder on the way to dir that others than its owner may not enter, if any.
func closed(dir string) string {
	for at := "/"; ; {
		info, err := os.Stat(at)
		if err != nil || info.Mode()&0o001 == 0 {
			return at
		}
		rest := strings.Trim(strings.TrimPrefix(dir, at), "/")
		if rest == "" {
			return ""
		}
		next, _, _ := strings.Cut(rest, "/")
		at = filepath.Join(at, next)
	}
}
