package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/syndtr/goleveldb/leveldb"
)

// Where transactions are. One entry of the database for each would cost more than
// the block itself: a search in LevelDB's memory for every hash. So the hashes of
// the newest blocks are kept in memory only, since their bodies, from which they can
// be had again, are on disk; and what is in memory goes to disk as one unit when it
// is large enough: one value for each group of hashes with the same first bits.
//
//	blocks   1 ......... 700 | 701 ....... 1500 | 1501 .......... head
//	         unit, on disk   | unit, on disk    | the open unit, in memory
//
// A lookup searches the open unit, then reads its group's values, which lie side by
// side: 32 entries of 8 bytes a unit, 400 KB of them after 100 million transactions.
// What it finds are candidates, of which the block then decides.
//
// Where a unit ends follows from the blocks alone. A reorg takes blocks off the open
// unit, and opens the newest unit on disk again when it comes to that one.

// A unit ends with the block that brings it to one of these. They bound what is read
// and hashed again on opening, and the memory: 8 bytes a transaction.
const (
	unitTxs    = 1 << 16 // 32 in a group
	unitBytes  = 16 << 20
	unitBlocks = 1 << unitBlockBits
)

// An entry of a group is 32 bits of the hash, those after the bits that name the
// group, then the block within the unit, then the position within the block: a body
// of at most 4 MiB holds fewer than 2^20 transactions.
const (
	groupBits     = 11
	unitBlockBits = 12
	positionBits  = 20
	entryBytes    = 8
)

// place is where a transaction is.
type place struct {
	number uint64
	index  int
}

// lead is what lookups know of a hash: its first 8 bytes.
func lead(hash common.Hash) uint64 { return binary.BigEndian.Uint64(hash[:8]) }

func groupOf(lead uint64) uint16 { return uint16(lead >> (64 - groupBits)) }

// markOf is the bits of a lead that an entry holds, where it holds them.
func markOf(lead uint64) uint64 {
	return lead << groupBits &^ math.MaxUint32
}

// knownOf is the bits of a lead that are known of a transaction on disk: those of its
// group and its entry.
func knownOf(lead uint64) uint64 { return lead &^ (1<<(32-groupBits) - 1) }

// unit is the open unit: the canonical blocks from first on. It is a value: push and
// pop give new ones, and a reader of an old one sees no change.
type unit struct {
	first  uint64
	leads  []uint64    // of all transactions, in order
	blocks []unitBlock // in order
	bytes  int         // of all bodies
}

// unitBlock is a block in the open unit.
type unitBlock struct {
	end   int // of its leads
	bytes int // of its body
}

// next is the number of the block that comes after those in u.
func (u unit) next() uint64 { return u.first + uint64(len(u.blocks)) }

// push adds the next block. It must follow the newest value of u, whose room it takes.
func (u unit) push(leads []uint64, bytes int) unit {
	u.leads = append(u.leads, leads...)
	u.blocks = append(u.blocks, unitBlock{len(u.leads), bytes})
	u.bytes += bytes
	return u
}

// pop takes the last block off.
func (u unit) pop() unit {
	last := len(u.blocks) - 1
	u.bytes -= u.blocks[last].bytes
	u.blocks = slices.Clip(u.blocks[:last])
	end := 0
	if last > 0 {
		end = u.blocks[last-1].end
	}
	u.leads = slices.Clip(u.leads[:end])
	return u
}

// full tells whether the unit ends here. txs is the number of transactions it is to hold.
func (u unit) full(txs int) bool {
	return len(u.leads) >= txs || u.bytes >= unitBytes || len(u.blocks) >= unitBlocks
}

// find lists the places of transactions that begin like hash, newest first.
func (u unit) find(hash common.Hash) (out []place) {
	want := lead(hash)
	for at := len(u.leads) - 1; at >= 0; at-- {
		if u.leads[at] != want {
			continue
		}
		block, start := 0, 0
		for u.blocks[block].end <= at {
			start = u.blocks[block].end
			block++
		}
		out = append(out, place{u.first + uint64(block), at - start})
	}
	return out
}

// groups are the entries of u by group.
func (u unit) groups() (out [1 << groupBits][]byte) {
	var sizes [1 << groupBits]int
	for _, l := range u.leads {
		sizes[groupOf(l)] += entryBytes
	}
	slab := make([]byte, 0, entryBytes*len(u.leads))
	for g, size := range sizes {
		out[g] = slab[:0:size]
		slab = slab[size:size]
	}
	at := 0
	for block, b := range u.blocks {
		for index, l := range u.leads[at:b.end] {
			g := groupOf(l)
			out[g] = binary.BigEndian.AppendUint64(out[g], markOf(l)|uint64(block)<<positionBits|uint64(index))
		}
		at = b.end
	}
	return out
}

// write puts u on disk.
func (u unit) write(batch *leveldb.Batch) {
	for g, entries := range u.groups() {
		if len(entries) > 0 {
			batch.Put(groupKey(uint16(g), u.first), entries)
		}
	}
	batch.Put(numberKey(tableUnit, u.first), binary.BigEndian.AppendUint64(nil, u.next()-1))
}

// dropUnit deletes a unit from the disk.
func dropUnit(batch *leveldb.Batch, first uint64) {
	for g := range uint16(1 << groupBits) {
		batch.Delete(groupKey(g, first))
	}
	batch.Delete(numberKey(tableUnit, first))
}

// span is the blocks of a unit on disk.
type span struct{ first, last uint64 }

// decodeSpan reads an entry of the table of units.
func decodeSpan(key, value []byte) (span, error) {
	if len(key) != 9 || len(value) != 8 {
		return span{}, fmt.Errorf("%w: unit %x %x", ErrCorrupt, key, value)
	}
	s := span{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(value)}
	if s.first > s.last || s.last-s.first >= unitBlocks {
		return span{}, fmt.Errorf("%w: a unit from block %d to %d", ErrCorrupt, s.first, s.last)
	}
	return s, nil
}

// decodeGroup calls f with each entry of a group's value: the bits of the hash that
// are known, the number and the position.
func decodeGroup(key, value []byte, f func(lead uint64, p place)) (first uint64, err error) {
	if len(key) != 11 || len(value) == 0 || len(value)%entryBytes != 0 {
		return 0, fmt.Errorf("%w: transaction entries %x of %d bytes", ErrCorrupt, key, len(value))
	}
	group := uint64(binary.BigEndian.Uint16(key[1:]))
	first = binary.BigEndian.Uint64(key[3:])
	for ; len(value) > 0; value = value[entryBytes:] {
		e := binary.BigEndian.Uint64(value)
		f(group<<(64-groupBits)|e&^math.MaxUint32>>groupBits, place{first + e>>positionBits&(unitBlocks-1), int(e & (1<<positionBits - 1))})
	}
	return first, nil
}

// units lists the units on disk, oldest first.
func (s *store) units() (out []span, err error) {
	err = s.iterate([]byte{tableUnit}, nil, func(key, value []byte) error {
		u, err := decodeSpan(key, value)
		out = append(out, u)
		return err
	})
	return out, err
}

// places lists where a transaction may be by the units on disk, newest first.
func (s *store) places(tx common.Hash) (out []place, err error) {
	mark := markOf(lead(tx))
	err = s.iterate(groupKey(groupOf(lead(tx)), 0)[:3], nil, func(key, value []byte) error {
		_, err := decodeGroup(key, value, func(l uint64, p place) {
			if markOf(l) == mark {
				out = append(out, p)
			}
		})
		return err
	})
	slices.Reverse(out)
	return out, err
}

// leadsOf are the leads of a block's transactions.
func leadsOf(txs []*Tx) []uint64 {
	out := make([]uint64, len(txs))
	for i, tx := range txs {
		out[i] = lead(tx.hash)
	}
	return out
}

// leadsIn are the leads of the transactions in a stored body.
func leadsIn(body []byte) (out []uint64, err error) {
	list, _, err := rlp.SplitList(body)
	for err == nil && len(list) > 0 {
		var raw []byte
		if raw, list, err = rlp.SplitString(list); err == nil {
			out = append(out, lead(crypto.Keccak256Hash(raw)))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: body: %w", ErrCorrupt, err)
	}
	return out, nil
}

// openUnit makes the open unit of the blocks from first to last again. Of a block
// whose body is pruned there is nothing to find.
func (s *store) openUnit(first, last uint64) (unit, error) {
	u := unit{first: first}
	for n := first; n <= last; n++ {
		id, err := s.canonical(n)
		if err != nil {
			return unit{}, err
		}
		leads, bytes, err := s.leads(n, id)
		if err != nil && !errors.Is(err, ErrPruned) {
			return unit{}, err
		}
		u = u.push(leads, bytes)
	}
	return u, nil
}

// leads are the leads of a stored block, and the bytes of its body.
func (s *store) leads(number uint64, id common.Hash) ([]uint64, int, error) {
	if s.shared != nil {
		if b := s.shared.find(id); b != nil {
			return leadsOf(b.txs), len(b.body), nil
		}
	}
	body, err := s.body(number, id)
	if err != nil {
		return nil, 0, err
	}
	leads, err := leadsIn(body)
	return leads, len(body), err
}

// rewind takes the block with a number, the last one that is looked up, off u.
func (s *store) rewind(batch *leveldb.Batch, u unit, number uint64) (unit, error) {
	if number >= u.first {
		return u.pop(), nil
	}
	units, err := s.units()
	if err != nil {
		return unit{}, err
	}
	for _, on := range slices.Backward(units) {
		if on.first > number {
			continue // opened again in this batch
		}
		if on.last < number {
			break
		}
		dropUnit(batch, on.first)
		return s.openUnit(on.first, number-1)
	}
	return unit{first: number}, nil // its body was never here
}

// extend adds a block to u, and writes u where it ends.
func (c *Chain) extend(batch *leveldb.Batch, u unit, b *Block) unit {
	u = u.push(leadsOf(b.txs), len(b.body))
	if !u.full(c.cfg.unitTxs) {
		return u
	}
	u.write(batch)
	return unit{first: u.next()}
}

// loadUnit reads the open unit below the head.
func (c *Chain) loadUnit(head uint64) error {
	units, err := c.store.units()
	if err != nil {
		return err
	}
	first := max(1, c.store.pruned.Load())
	if len(units) > 0 {
		first = max(first, units[len(units)-1].last+1)
	}
	u, err := c.store.openUnit(first, head)
	if err != nil {
		return err
	}
	c.unit.Store(&u)
	return nil
}

// Lookup finds the canonical block that holds a transaction, and its position.
func (c *Chain) Lookup(tx common.Hash) (b *Block, index int, ok bool) {
	b, index, err := c.first(tx, c.unit.Load().find(tx))
	if b == nil && err == nil {
		var on []place // a unit that has gone to disk meanwhile is there before it leaves the memory
		if on, err = c.store.places(tx); err == nil {
			b, index, err = c.first(tx, on)
		}
	}
	c.note(err)
	return b, index, b != nil
}

// first is the first place where a transaction is indeed. A reorg between the reads
// may leave a place in another block, and two hashes may begin the same.
func (c *Chain) first(tx common.Hash, places []place) (*Block, int, error) {
	for _, p := range places {
		id, err := c.store.canonical(p.number)
		if err != nil {
			return nil, 0, err
		}
		if id == (common.Hash{}) {
			continue
		}
		b, err := c.block(id)
		if err != nil && !errors.Is(err, ErrPruned) {
			return nil, 0, err
		}
		if b != nil && p.index < len(b.txs) && b.txs[p.index].hash == tx {
			return b, p.index, nil
		}
	}
	return nil, 0, nil
}
