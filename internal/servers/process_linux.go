package servers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// crash ends the process and its children at once, and waits until they are gone. PostgreSQL's
// children are groups of their own, so they are looked up one by one, while their parent
// is stopped and starts no further ones.
func (p *process) crash() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := await("the server to be stopped", func() bool {
		state, _ := status(p.pid())
		return state == 'T' || state == 'Z' || state == 0
	}); err != nil {
		return err
	}
	children, err := childrenOf(p.pid())
	if err != nil {
		return err
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	for _, child := range children {
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill process %d: %w", child, err)
		}
	}
	<-p.exited
	return await("the server's children to be gone", func() bool {
		for _, child := range children {
			if state, _ := status(child); state != 0 && state != 'Z' {
				return false
			}
		}
		return true
	})
}

// await polls for what no signal tells.
func await(what string, done func() bool) error {
	const pause, attempts = 2 * time.Millisecond, 5000
	for range attempts {
		if done() {
			return nil
		}
		<-time.After(pause)
	}
	return fmt.Errorf("waited %v in vain for %s", pause*attempts, what)
}

func childrenOf(parent int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, stat := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			return nil, err
		}
		if _, of := status(pid); of == parent {
			children = append(children, pid)
		}
	}
	return children, nil
}

// status is a process's state as in ps(1), and its parent; zeros when it is gone.
func status(pid int) (state byte, parent int) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// pid (name) state parent …: a name may hold blanks and parentheses.
	fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
	if len(fields) < 2 || len(fields[0]) != 1 {
		return 0, 0
	}
	parent, err = strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0, 0
	}
	return fields[0][0], parent
}
