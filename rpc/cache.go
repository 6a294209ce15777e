package rpc

import (
	"container/list"
	"sync"

	"github.com/ethereum/go-ethereum/common"
)

type form int

const (
	formHashes   form = iota // block with hashes of transactions
	formFull                 // block with whole transactions
	formReceipts             // its receipts
)

type blockForm struct {
	id   common.Hash
	form form
}

// blockCache keeps the JSON of recently asked blocks, at most max bytes, the least
// recently asked leaving first. A block's id fixes its JSON, so nothing ever goes
// stale. Callers that ask for the same thing at once wait for one encoding.
type blockCache struct {
	max int

	mu    sync.Mutex
	byKey map[blockForm]*list.Element // of *cacheEntry
	order list.List                   // most recently asked first
	size  int
}

type cacheEntry struct {
	key  blockForm
	make func() ([]byte, error)
	size int // as counted in blockCache.size
}

func newBlockCache(max int) *blockCache {
	return &blockCache{max: max, byKey: make(map[blockForm]*list.Element)}
}

// get returns the bytes for key, which nobody may change, and calls encode when it
// does not have them. encode runs without the lock; errors and nil are not kept.
func (c *blockCache) get(key blockForm, encode func() ([]byte, error)) ([]byte, error) {
	e := c.entry(key, encode)
	raw, err := e.make()
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byKey[key]
	if el == nil || el.Value != e {
		return raw, err // pushed out meanwhile
	}
	if err != nil || raw == nil {
		c.remove(el)
		return nil, err
	}
	c.size += len(raw) - e.size
	e.size = len(raw)
	for c.size > c.max {
		c.remove(c.order.Back())
	}
	return raw, nil
}

func (c *blockCache) entry(key blockForm, encode func() ([]byte, error)) *cacheEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byKey[key]; el != nil {
		c.order.MoveToFront(el)
		return el.Value.(*cacheEntry)
	}
	e := &cacheEntry{key: key, make: sync.OnceValues(encode)}
	c.byKey[key] = c.order.PushFront(e)
	return e
}

func (c *blockCache) remove(el *list.Element) {
	e := c.order.Remove(el).(*cacheEntry)
	delete(c.byKey, e.key)
	c.size -= e.size
}
