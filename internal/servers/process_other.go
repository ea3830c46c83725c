//go:build !linux

package servers

// crash ends the process at once and waits until it is gone. Its children are left to notice
// by themselves, which PostgreSQL's do.
func (p *process) crash() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	<-p.exited
	return nil
}
