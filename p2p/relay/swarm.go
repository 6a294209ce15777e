package relay

import (
	"math/bits"
	"slices"
)

// swarm is the chunks of one block as one node sees them: which it holds, which
// its peers hold, and which of them goes next to whom. It is a pure state
// machine: the caller guards it, owns the time and moves the bytes.
//
// A chunk that a peer lacks goes to it in this order: first the chunks that fewest
// peers are known to hold, and among those the ones this node has sent least often;
// what is left is decided by a permutation that differs from node to node
// (the seed), so that two neighbours seldom push the same chunk to a third.
// A node sends no chunk more than [swarm.sends] times, unless a peer asks.
type swarm struct {
	data   int // chunks that suffice
	total  int // chunks there are
	budget int // sends of one chunk, see sends
	seed   uint64

	have  bitmap
	count int
	hops  []uint8  // by chunk held: over how many nodes it came; 0 is our own, or of our pool
	sent  []uint8  // by chunk: sends by this node
	known []uint16 // by chunk: peers that hold it or have it under way from us
	views map[int]*view
}

// view is what is known of one peer.
type view struct {
	has    bitmap // it holds these, or they are under way to it from us
	told   bitmap // of these: it said so itself
	count  int
	done   bool   // it needs no more
	over   bool   // it said so, and that never changes
	wants  bool   // it asked for chunks to be pushed
	hungry bool   // it is short of chunks: the budget does not bind
	given  int    // chunks sent to it
	once   bitmap // of these: sent at least once
}

// maxGiven is how many times all chunks a peer gets, however often it says that it
// lacks them: losses make honest ones say so.
const maxGiven = 2

// newSwarm returns the empty swarm of a block of total chunks of which any data
// suffice.
func newSwarm(data, total, budget int, seed uint64) *swarm {
	return &swarm{
		data: data, total: total, budget: budget, seed: seed,
		have: newBitmap(total), hops: make([]uint8, total), sent: make([]uint8, total), known: make([]uint16, total), views: make(map[int]*view),
	}
}

// add takes in a chunk that came over hops nodes; false: it is held already.
func (s *swarm) add(chunk int, hops uint8) bool {
	if !s.have.set(chunk) {
		return false
	}
	s.hops[chunk] = hops
	s.count++
	return true
}

// sends is how often a chunk that came over so many hops is sent. Next to its origin hardly
// any peer has it, and each send begins a branch of its own.
func (s *swarm) sends(hops uint8) int {
	if hops == 1 {
		return 2 * s.budget
	}
	return s.budget
}

// farthest is the largest hop count among the chunks held.
func (s *swarm) farthest() uint8 { return slices.Max(s.hops) }

// complete says whether the chunks held suffice.
func (s *swarm) complete() bool { return s.count >= s.data }

// view returns what is known of a peer, never nil.
func (s *swarm) view(peer int) *view {
	v := s.views[peer]
	if v == nil {
		v = &view{has: newBitmap(s.total), told: newBitmap(s.total), once: newBitmap(s.total)}
		s.views[peer] = v
	}
	return v
}

// heard notes that a peer holds a chunk.
func (s *swarm) heard(peer, chunk int) {
	v := s.view(peer)
	v.told.set(chunk)
	if v.has.set(chunk) {
		v.count++
		s.known[chunk]++
	}
	v.done = v.done || v.count >= s.total
}

// forget takes back what is known of a peer's chunks: it tells all it holds.
func (s *swarm) forget(peer int) {
	for i := range s.total {
		s.lost(peer, i)
	}
}

// lost notes that a chunk under way to a peer will not arrive.
func (s *swarm) lost(peer, chunk int) {
	v := s.view(peer)
	v.told.clear(chunk)
	if v.has.clear(chunk) {
		v.count--
		s.known[chunk]--
		v.done = v.over
	}
}

// retract takes back that a chunk was sent to a peer: it was lost on the way. true: the
// peer has not got it from elsewhere.
func (s *swarm) retract(peer, chunk int) bool {
	s.sent[chunk] -= min(1, s.sent[chunk])
	v := s.views[peer]
	if v == nil || v.told.get(chunk) {
		return false
	}
	s.lost(peer, chunk)
	return true
}

// leave forgets a peer, but for what it was given and that it needs no more.
func (s *swarm) leave(peer int) {
	v := s.views[peer]
	if v == nil {
		return
	}
	s.forget(peer)
	if v.given == 0 && !v.over {
		delete(s.views, peer)
		return
	}
	v.done, v.wants, v.hungry = v.over, false, false
}

// next is choose and give.
func (s *swarm) next(peer int) (chunk int, ok bool) {
	if chunk, ok = s.choose(peer); ok {
		s.give(peer, chunk)
	}
	return chunk, ok
}

// give counts a chunk as sent to a peer. again: not for the first time.
func (s *swarm) give(peer, chunk int) (again bool) {
	v := s.view(peer)
	v.given++
	again = !v.once.set(chunk)
	if v.has.set(chunk) {
		v.count++
		s.known[chunk]++
	}
	s.sent[chunk] += min(1, 255-s.sent[chunk])
	return again
}

// choose returns the chunk that goes next to a peer; ok is false when there is
// none for it now.
func (s *swarm) choose(peer int) (chunk int, ok bool) {
	v := s.view(peer)
	if v.done || v.given >= maxGiven*s.total {
		return 0, false
	}
	best := uint64(1<<64 - 1)
	for w := range s.have {
		for m := s.have[w] &^ v.has[w]; m != 0; m &= m - 1 {
			i := w*64 + bits.TrailingZeros64(m)
			if int(s.sent[i]) >= s.sends(s.hops[i]) && !v.hungry {
				continue
			}
			rank := uint64(min(s.known[i], 255))<<56 | uint64(s.sent[i])<<48 | mixed(s.seed, uint64(i))>>16
			if rank < best {
				best, chunk, ok = rank, i, true
			}
		}
	}
	return chunk, ok
}

// mixed is SplitMix64's finaliser: a permutation of each seed's own.
func mixed(seed, i uint64) uint64 {
	z := seed + (i+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// bitmap is a set of chunk numbers.
type bitmap []uint64

func newBitmap(n int) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) get(i int) bool { return b[i/64]>>(i%64)&1 != 0 }

// set adds i; false: it is in already.
func (b bitmap) set(i int) bool {
	if b.get(i) {
		return false
	}
	b[i/64] |= 1 << (i % 64)
	return true
}

// countWithout is how many of b are not in o.
func (b bitmap) countWithout(o bitmap) (n int) {
	for i := range b {
		n += bits.OnesCount64(b[i] &^ o[i])
	}
	return n
}

// none says whether it is empty.
func (b bitmap) none() bool { return !slices.ContainsFunc(b, func(w uint64) bool { return w != 0 }) }

// clear takes i out; false: it is not in.
func (b bitmap) clear(i int) bool {
	if !b.get(i) {
		return false
	}
	b[i/64] &^= 1 << (i % 64)
	return true
}
