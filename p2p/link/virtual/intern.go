package virtual

import (
	"bytes"
	"hash/maphash"
	"sync"
)

// internMin is the shortest write worth looking for an equal one.
const internMin = 4 << 10

// internSlots is how many of the last large writes are kept: a handful of blocks
// or chunks are on their way at a time.
const internSlots = 32

// interner gives equal writes one copy: every node of the network passes the
// same block on to several peers, and without this each would be held anew.
type interner struct {
	seed maphash.Seed

	mu    sync.Mutex
	bytes map[uint64][]byte
	ring  [internSlots]uint64
	next  int
	hits  uint64
}

func newInterner() *interner {
	return &interner{seed: maphash.MakeSeed(), bytes: make(map[uint64][]byte, internSlots)}
}

// keep returns bytes equal to b that nobody changes. A nil interner copies.
func (t *interner) keep(b []byte) []byte {
	if t == nil || len(b) < internMin {
		return bytes.Clone(b)
	}
	key := maphash.Bytes(t.seed, b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.bytes[key]; ok && bytes.Equal(known, b) {
		t.hits++
		return known
	}
	c := bytes.Clone(b)
	delete(t.bytes, t.ring[t.next])
	t.bytes[key], t.ring[t.next] = c, key
	t.next = (t.next + 1) % internSlots
	return c
}
