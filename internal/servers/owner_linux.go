package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// owner is the user as whom a server runs that refuses to run as root; nil is the user
// of this process.
type owner struct {
	name     string
	uid, gid uint32
}

// findOwner takes PostgreSQL's own user, which Debian's package makes, or else nobody.
func findOwner() (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is the user of this process
	}
	found, err := user.Lookup("postgres")
	if err != nil {
		found, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("servers: PostgreSQL does not run as root, and there is no user postgres or nobody: %w", err)
	}
	uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("servers: user %s: %w", found.Username, err)
	}
	return &owner{name: found.Username, uid: uint32(uid), gid: uint32(gid)}, nil
}

// own has a command run as the owner.
func (o *owner) own(cmd *exec.Cmd) {
	if o != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: o.uid, Gid: o.gid}}
	}
}

// give hands a folder of ours to the owner.
func (o *owner) give(dir string) error {
	if o == nil {
		return nil
	}
	return os.Chown(dir, int(o.uid), int(o.gid))
}
