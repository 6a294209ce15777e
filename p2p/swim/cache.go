package swim

import "sync"

// Cache lets the members of one process share the records they have decoded and
// checked: a thousand members in virtual time check a thousand signatures, not a
// million. Any goroutine may use it; a nil Cache holds nothing.
type Cache struct {
	mu     sync.Mutex
	byRaw  map[string]*Record
	latest map[ID]string // the only one kept of each member
}

// NewCache makes an empty Cache.
func NewCache() *Cache { return &Cache{byRaw: map[string]*Record{}, latest: map[ID]string{}} }

func (c *Cache) get(raw []byte) *Record {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byRaw[string(raw)]
}

// put keeps a checked record in place of an older one of its member.
func (c *Cache) put(r *Record) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.latest[r.ID]; ok {
		if c.byRaw[old].compare(r) > 0 {
			return
		}
		delete(c.byRaw, old)
	}
	c.byRaw[string(r.raw)], c.latest[r.ID] = r, string(r.raw)
}
