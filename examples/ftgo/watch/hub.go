// Package watch tells waiting requests of one process what has changed in its database.
package watch

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Hub passes changes on to whoever watches their key. The zero Hub is ready to use; it is safe
// for concurrent use.
type Hub[V any] struct {
	mu       sync.Mutex
	watchers map[string][]*Watcher[V]
}

// backlog is how many changes a slow watcher may be behind; then it misses the oldest.
const backlog = 8

// Watcher receives the changes of one key, until it is closed.
type Watcher[V any] struct {
	// C has the changes in their order.
	C <-chan V

	hub     *Hub[V]
	key     string
	changes chan V
}

// Watch begins to watch a key. What changed before is not told: read it after Watch.
func (h *Hub[V]) Watch(key string) *Watcher[V] {
	changes := make(chan V, backlog)
	w := &Watcher[V]{C: changes, hub: h, key: key, changes: changes}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers == nil {
		h.watchers = map[string][]*Watcher[V]{}
	}
	h.watchers[key] = append(h.watchers[key], w)
	return w
}

// Close ends the watch.
func (w *Watcher[V]) Close() {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	remaining := slices.DeleteFunc(h.watchers[w.key], func(other *Watcher[V]) bool { return other == w })
	if len(remaining) == 0 {
		delete(h.watchers, w.key)
		return
	}
	h.watchers[w.key] = remaining
}

// Tell passes a change on. It never blocks.
func (h *Hub[V]) Tell(key string, change V) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.watchers[key] {
		for !offer(w.changes, change) {
			select {
			case <-w.changes:
			default: // the watcher has just taken it
			}
		}
	}
}

func offer[V any](changes chan<- V, change V) bool {
	select {
	case changes <- change:
		return true
	default:
		return false
	}
}

// fallback is how often Await looks without being told: another process on the same
// database may have made the change.
const fallback = 250 * time.Millisecond

// Await returns what find finds, at once or as soon as a change of the key is told, and false
// when patience runs out before.
func Await[V, F any](ctx context.Context, h *Hub[V], key string, patience time.Duration, find func(context.Context) (F, bool, error)) (F, bool, error) {
	found, ok, err := find(ctx)
	if ok || err != nil || patience <= 0 {
		return found, ok, err
	}
	w := h.Watch(key)
	defer w.Close()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(fallback)
	defer again.Stop()
	for {
		if found, ok, err = find(ctx); ok || err != nil {
			return found, ok, err
		}
		select {
		case <-w.C:
		case <-again.C:
		case <-deadline.C:
			return found, false, nil
		case <-ctx.Done():
			return found, false, ctx.Err()
		}
	}
}
