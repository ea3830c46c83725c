//go:build !linux

package servers

import "os/exec"

// owner is nobody else than the user of this process here.
type owner struct{ name string }

func findOwner() (*owner, error) { return nil, nil } //nolint:nilnil // nil is the user of this process

func (o *owner) own(*exec.Cmd) {}

func (o *owner) give(string) error { return nil }
