package postgres

import (
	"sync"
	"time"
)

// How often a cursor looks for new rows that nobody announced.
const (
	idlePause   = time.Second           // when nothing is expected, for other processes' rows
	firstPause  = 2 * time.Millisecond  // when somebody is about to commit
	lastPause   = 50 * time.Millisecond // when that takes long
	expectation = 2 * time.Second       // after which nothing is expected any more
)

// news tells waiting cursors of rows in the outbox: exactly, when the store itself has
// committed them, and roughly, when an application is about to.
type news struct {
	mu       sync.Mutex
	changed  chan struct{} // closed when there is news; nil when nobody waits for it
	expected time.Time     // when rows were expected last
}

// watch returns a channel that is closed when there is news, and the pause after which to
// look in any case. It is called before looking, so that no news falls in between.
func (n *news) watch(now time.Time) (<-chan struct{}, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	return n.changed, n.pause(now)
}

// pause grows with the time for which rows have been expected.
func (n *news) pause(now time.Time) time.Duration {
	since := now.Sub(n.expected)
	if since >= expectation {
		return idlePause
	}
	return min(max(since/4, firstPause), lastPause)
}

// announce wakes everybody: there are new rows.
func (n *news) announce() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wake()
}

// expect makes cursors look in short intervals from now on. Those that do so already are
// left alone: under load this is called for every transaction.
func (n *news) expect(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	long := n.pause(now) > firstPause
	n.expected = now
	if long {
		n.wake()
	}
}

func (n *news) wake() {
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}
