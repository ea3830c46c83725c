package saga

import (
	"sync"

	"github.com/skald-go/skald"
)

// cache keeps live instances, of sagas or of choreographies, from one batch to the next, so that a reply or
// an event needs no look into the database. What it holds may be outdated, because another process went on
// with the instance: the store refuses an update then ([ErrStale]), and the batch is run again on what
// it loads. Its zero value keeps nothing.
type cache[I any] struct {
	limit int // instances
	mu    sync.Mutex
	by    map[skald.ID]*I
}

// take gives an instance away: whoever changes it has it alone, and what is not committed is not
// kept. It is nil when there is none.
func (c *cache[I]) take(id skald.ID) *I {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.by[id]
	delete(c.by, id)
	return in
}

// holds reports whether an instance is kept: it lives, as far as this process knows, and no batch is
// at work on it.
func (c *cache[I]) holds(id skald.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[id] != nil
}

// put keeps an instance that was committed. A full cache loses another one, whichever.
func (c *cache[I]) put(id skald.ID, in *I) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit == 0 {
		return
	}
	if c.by == nil {
		c.by = make(map[skald.ID]*I, c.limit)
	}
	if len(c.by) >= c.limit {
		for other := range c.by {
			delete(c.by, other)
			break
		}
	}
	c.by[id] = in
}
