package servers

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a server's main process.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // how it exited; to be read when exited is closed
}

// launch starts a command. It must not write to this process's own output: go test waits
// until everybody who could write there is gone.
func launch(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go p.wait()
	return p, nil
}

func (p *process) wait() {
	defer close(p.exited)
	p.err = p.cmd.Wait()
	if p.err == nil {
		p.err = errors.New("exit status 0")
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// signal does nothing to a process that is gone.
func (p *process) signal(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// gone waits for the process's end, and reports whether it came in time.
func (p *process) gone(patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.exited:
		return true
	case <-timer.C:
		return false
	}
}
