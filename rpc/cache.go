package rpc

import (
	"container/list"
	"net/netip"
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

	mu      sync.Mutex
	holders map[netip.Addr]int // flights whose answer is written from its bytes, by client
	leased  int                // for them all together, and of the share of each client
}

// hold counts a flight whose answer is written from raw, the entry's bytes. The first one leases them, since the
// cache may forget them before the last has been written; the first of each client leases its share.
func (e *cacheEntry) hold(f *flight, raw []byte) bool {
	client, _ := clientOf(f.from)
	e.mu.Lock()
	defer e.mu.Unlock()
	own, all := 0, 0
	if e.holders[client] == 0 {
		own = len(raw)
	}
	if len(e.holders) == 0 {
		all = len(raw)
	}
	if !f.s.memory.take(client, own, all) {
		return false
	}
	if e.holders == nil {
		e.holders = make(map[netip.Addr]int)
	}
	e.leased = len(raw)
	e.holders[client]++
	f.held = e
	return true
}

// letGo undoes a hold; the last one of a client, and the last of all, give back what was leased.
func (e *cacheEntry) letGo(f *flight) {
	client, _ := clientOf(f.from)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.holders[client]--; e.holders[client] > 0 {
		return
	}
	delete(e.holders, client)
	all := 0
	if len(e.holders) == 0 {
		all = e.leased
	}
	f.s.memory.give(client, e.leased, all)
}

func newBlockCache(max int) *blockCache {
	return &blockCache{max: max, byKey: make(map[blockForm]*list.Element)}
}

// get returns the entry of key and its bytes, which nobody may change, and calls encode
// when it does not have them. encode runs without the lock; errors and nil are not kept.
func (c *blockCache) get(key blockForm, encode func() ([]byte, error)) (e *cacheEntry, raw []byte, err error) {
	e = c.entry(key, encode)
	raw, err = e.make()
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byKey[key]
	if el == nil || el.Value != e {
		return e, raw, err // pushed out meanwhile
	}
	if err != nil || raw == nil {
		c.remove(el)
		return e, nil, err
	}
	c.size += len(raw) - e.size
	e.size = len(raw)
	for c.size > c.max {
		c.remove(c.order.Back())
	}
	return e, raw, nil
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
