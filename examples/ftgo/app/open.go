package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// checkFolder makes the data folder and makes sure that files can be made in it.
func checkFolder(folder string) error {
	const remedy = "give this user read and write access to it, or name another folder with --data"
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return fmt.Errorf("data folder %s: %w; %s", folder, unwrapPath(err), remedy)
	}
	if _, err := os.ReadDir(folder); err != nil {
		return fmt.Errorf("data folder %s: %w; %s", folder, unwrapPath(err), remedy)
	}
	probe, err := os.CreateTemp(folder, ".writable-*")
	if err != nil {
		return fmt.Errorf("data folder %s: %w; %s", folder, unwrapPath(err), remedy)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// unwrapPath leaves the path out, which the message names already.
func unwrapPath(err error) error {
	if at := new(os.PathError); errors.As(err, &at) {
		return at.Err
	}
	return err
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("address %s is in use by another process; stop it, or choose another address with --addr (port 0 takes a free one)", addr)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("address %s: this user may not listen on it; choose another with --addr, with a port above 1023", addr)
	case err != nil:
		return nil, fmt.Errorf("address %s: %w; choose another with --addr HOST:PORT", addr, err)
	}
	return listener, nil
}

// reachable is the address under which a process on the same machine reaches the listener.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	host := "127.0.0.1"
	if tcp.IP.To4() == nil {
		host = "::1"
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}
