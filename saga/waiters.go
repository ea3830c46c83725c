package saga

import (
	"slices"
	"sync"
)

// waiters are those who await the end of a saga in this process.
type waiters struct {
	mu sync.Mutex
	by map[waiterKey][]chan Record
}

type waiterKey struct{ name, key string }

// add returns a channel that gets the saga's record when it has ended, or is parked.
func (w *waiters) add(k waiterKey) (ended chan Record, remove func()) {
	ended = make(chan Record, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[waiterKey][]chan Record{}
	}
	w.by[k] = append(w.by[k], ended)
	return ended, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.by[k] = slices.DeleteFunc(w.by[k], func(c chan Record) bool { return c == ended })
		if len(w.by[k]) == 0 {
			delete(w.by, k)
		}
	}
}

// wake tells those who await the record's saga.
func (w *waiters) wake(r *Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.by[waiterKey{r.Name, r.Key}] {
		select {
		case c <- *r:
		default:
		}
	}
}
