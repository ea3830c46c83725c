package app

import (
	"net"
	"net/http"
	"sync"
)

// unused are the connections on which no request has come yet: clients open them in
// advance. [http.Server.Shutdown] waits 5 seconds for each, so draining closes them.
type unused struct {
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	closing bool
}

// track is a hook for [http.Server.ConnState].
func (u *unused) track(conn net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if state != http.StateNew {
		delete(u.conns, conn)
		return
	}
	if u.closing {
		_ = conn.Close() // the server finds out
		return
	}
	if u.conns == nil {
		u.conns = map[net.Conn]struct{}{}
	}
	u.conns[conn] = struct{}{}
}

// close closes them, and those that still come.
func (u *unused) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closing = true
	for conn := range u.conns {
		_ = conn.Close() // the server finds out
	}
}
