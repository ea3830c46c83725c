package saga

import (
	"sync"

	"github.com/skald-go/skald"
)

// cache keeps live instances from one batch to the next, so that a reply needs no look into the
// database. What it holds may be outdated, because another process went on with the saga: the store
// refuses an update then ([ErrStale]), and the batch is run again on what it loads. Its zero
// value keeps nothing.
type cache struct {
	limit int // instances
	mu    sync.Mutex
	by    map[skald.ID]*instance
}

// take gives an instance away: whoever changes it has it alone, and what is not committed is not
// kept. It is nil when there is none.
func (c *cache) take(id skald.ID) *instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.by[id]
	delete(c.by, id)
	return in
}

// put keeps an instance that was committed. A full cache loses another one, whichever.
func (c *cache) put(in *instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit == 0 {
		return
	}
	if c.by == nil {
		c.by = make(map[skald.ID]*instance, c.limit)
	}
	if len(c.by) >= c.limit {
		for id := range c.by {
			delete(c.by, id)
			break
		}
	}
	c.by[in.record.ID] = in
}
