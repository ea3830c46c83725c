package replica

import (
	"slices"
	"sync"

	"github.com/skald-go/skald/examples/ftgo/api/restaurantapi"
)

// Restaurant is one version of a restaurant. It is never changed: several readers share it.
type Restaurant struct {
	restaurantapi.Restaurant
	items map[string]restaurantapi.MenuItem
}

// New makes a restaurant of what the restaurant service tells of it.
func New(told restaurantapi.Restaurant) *Restaurant {
	r := &Restaurant{Restaurant: told, items: make(map[string]restaurantapi.MenuItem, len(told.Menu))}
	for _, item := range told.Menu {
		r.items[item.ID] = item
	}
	return r
}

// Item is the menu's item with an id; false when the menu has none.
func (r *Restaurant) Item(id string) (restaurantapi.MenuItem, bool) {
	item, ok := r.items[id]
	return item, ok
}

// DeliversTo reports whether the zone is one of the restaurant's.
func (r *Restaurant) DeliversTo(zone string) bool { return slices.Contains(r.Zones, zone) }

// cacheSize bounds the restaurants in memory.
const cacheSize = 256

// cache keeps parsed restaurants. A reader asks for the version that its own transaction
// sees, so that an entry can be too old or too new but never wrong.
type cache struct {
	mu      sync.Mutex
	entries map[string]*Restaurant
}

func (c *cache) get(id string, version int) *Restaurant {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.entries[id]; r != nil && r.Version == version {
		return r
	}
	return nil
}

func (c *cache) put(r *Restaurant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[string]*Restaurant, cacheSize)
	}
	if len(c.entries) >= cacheSize {
		for id := range c.entries {
			delete(c.entries, id)
			break
		}
	}
	c.entries[r.ID] = r
}
