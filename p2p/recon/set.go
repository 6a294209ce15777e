package recon

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/dchest/siphash"
)

// Key is the key of one session, drawn at random by the side that begins it.
type Key [16]byte

// ID names an item in one session.
type ID uint64

// Symbol is one coded symbol: a sum over the items that are in it.
type Symbol struct {
	Sum   uint64 // xor of their IDs
	Check uint32 // xor of their checks
	Count int64  // how many, less those of the other side after a subtraction
}

// hasher gives IDs, and their checks and places, under a key.
type hasher struct{ k0, k1 uint64 }

func newHasher(k Key) hasher {
	return hasher{binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])}
}

func (h hasher) id(item *[32]byte) ID { return ID(siphash.Hash(h.k0, h.k1, item[:])) }

// spread is the hash of an ID, from which its check and its places follow. It is
// not linear in the ID: with a linear one the check of a sum of three items is
// the sum of their checks, and every odd sum would look like one item.
func (h hasher) spread(id ID) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(id))
	return siphash.Hash(h.k0, h.k1, b[:])
}

// coded is an item and the next symbol it is in.
type coded struct {
	id    ID
	check uint32
	next  uint32
	state uint64
}

func (h hasher) code(id ID) coded {
	s := h.spread(id)
	return coded{id: id, check: uint32(s), state: s}
}

// never is behind every symbol.
const never = math.MaxUint32

// step moves c to the next symbol it is in. Item after item, symbol i has an
// item with probability 1/(1+i/2) (section 4.2 of the paper): from symbol i the
// next one is (i+1.5)((1-r)^(-1/2)-1) further, r uniform in [0,1).
func (c *coded) step() {
	c.state *= 0xda942042e4dd58b5 // a multiplicative generator: only the upper bits are used
	r := float64(int64(c.state>>11) + 1)
	// The conversions keep compilers from fusing multiplication and addition,
	// which would give other places on other machines.
	gap := float64((float64(c.next) + 1.5) * float64(math.Sqrt(float64(1<<53)/r)-1))
	further := int64(gap) // below 2^59
	if float64(further) < gap {
		further++
	}
	// At least 1, or a generator at its end would stand still.
	c.next = uint32(min(int64(c.next)+max(1, further), never))
}

func (s *Symbol) add(c *coded, count int64) {
	s.Sum ^= uint64(c.id)
	s.Check ^= c.check
	s.Count += count
}

// Set is one side's items in a session with the coded symbols so far.
type Set struct {
	hash    hasher
	items   []coded
	symbols []Symbol
	index   map[ID]int // of items; nil until it is needed
}

// NewSet makes an empty set with room for n items.
func NewSet(k Key, n int) *Set { return &Set{hash: newHasher(k), items: make([]coded, 0, n)} }

// Add puts an item in and returns its ID. All items come before the first symbol
// is asked for, each once.
func (s *Set) Add(item *[32]byte) ID {
	id := s.hash.id(item)
	s.items = append(s.items, s.hash.code(id))
	return id
}

// ID is what an item is called in this session, whether it is in the set or not.
func (s *Set) ID(item *[32]byte) ID { return s.hash.id(item) }

// Len is the number of items.
func (s *Set) Len() int { return len(s.items) }

// Symbols returns the first n coded symbols. More symbols cost only what is
// added. The caller must not change them.
func (s *Set) Symbols(n int) []Symbol {
	have := len(s.symbols)
	if n <= have {
		return s.symbols[:n]
	}
	s.symbols = append(s.symbols, make([]Symbol, n-have)...)
	for block := range slices.Chunk(s.items, blockItems) {
		encode(s.symbols, block)
	}
	return s.symbols
}

// blockItems is how many items encode works on in turn: as many as stay in the
// processor's nearest cache.
const blockItems = 512

// encode adds items to those of symbols that they are in and were not added to.
// A step has to wait for the division and the root of the one before, but not for
// those of other items: each item takes one step in turn, so that a processor
// overlaps them, which is some three times as fast.
func encode(symbols []Symbol, items []coded) {
	var open [blockItems]uint16 // items that have a place among the symbols
	left := 0
	keep := func(i uint16, next uint32) {
		open[left] = i
		if next < uint32(len(symbols)) { // no branch: which item ends when cannot be foretold
			left++
		}
	}
	for i := range items {
		keep(uint16(i), items[i].next)
	}
	for left > 0 {
		turn := open[:left]
		left = 0
		for _, i := range turn {
			c := &items[i]
			symbols[c.next].add(c, 1)
			c.step()
			keep(i, c.next)
		}
	}
}

// Find is the position of an item in the order of Add.
func (s *Set) Find(id ID) (int, bool) {
	if s.index == nil {
		s.index = make(map[ID]int, len(s.items))
		for i := range s.items {
			s.index[s.items[i].id] = i
		}
	}
	i, ok := s.index[id]
	return i, ok
}

// profileBits is how many counters a Profile has: one for each bit of an ID.
const profileBits = 64

// Profile counts the IDs of a set that have each bit set. Two profiles estimate
// the size of the difference (the sketch of Alon, Matias and Szegedy).
type Profile struct {
	Items int
	Bits  [profileBits]int
}

// Profile is the profile of the set.
func (s *Set) Profile() Profile {
	p := Profile{Items: len(s.items)}
	// Eight counters of one byte at a time, emptied before one can overflow.
	for block := s.items; len(block) > 0; {
		n := min(len(block), 255)
		var lanes [8]uint64
		for i := range block[:n] {
			for b := range lanes {
				lanes[b] += uint64(block[i].id) >> b & 0x0101010101010101
			}
		}
		for b, lane := range lanes {
			for i := 0; lane > 0; i, lane = i+8, lane>>8 {
				p.Bits[b+i] += int(lane & 0xff)
			}
		}
		block = block[n:]
	}
	return p
}

// Estimate is about how many items are in only one of two sets.
func Estimate(a, b Profile) int {
	less := a.Items - b.Items
	sum := 0.0
	for i := range a.Bits {
		z := float64(2*(a.Bits[i]-b.Bits[i]) - less) // +1 or -1 for each item of the difference
		sum += z * z
	}
	return max(int(sum/profileBits), less, -less)
}
