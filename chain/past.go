package chain

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"

	"github.com/ethereum/go-ethereum/common"
)

// PastBlocks is how far below the head AccountAt goes, where the undo window is not
// shorter: as far as geth keeps states.
const PastBlocks = 128

// past remembers which accounts are in the change records that AccountAt has read. It
// stays empty in a chain that is never asked.
type past struct {
	seed func() maphash.Seed // made when first needed: a run that never asks rolls no other dice

	mu     sync.Mutex // guards blocks; never held across I/O
	blocks map[common.Hash]pastBlock
}

// pastBlock is the accounts that a block changed, as ascending hashes of their addresses.
type pastBlock struct {
	number uint64
	sums   []uint32
}

func newPast() *past { return &past{seed: sync.OnceValue(maphash.MakeSeed)} }

// sum is seeded, so that nobody can make addresses that share one.
func (p *past) sum(addr common.Address) uint32 { return uint32(maphash.Bytes(p.seed(), addr[:])) }

// find tells whether the record of a block has been read, and whether addr may be in it.
func (p *past) find(id common.Hash, addr common.Address) (read, maybe bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, read := p.blocks[id]
	if read {
		_, maybe = slices.BinarySearch(b.sums, p.sum(addr))
	}
	return read, maybe
}

// put remembers a block, and forgets those that are too far below the head.
func (p *past) put(id common.Hash, b pastBlock, head uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blocks == nil {
		p.blocks = map[common.Hash]pastBlock{}
	}
	p.blocks[id] = b
	maps.DeleteFunc(p.blocks, func(_ common.Hash, b pastBlock) bool { return b.number+PastBlocks <= head })
}

// AccountAt is the account of addr after the block with a number on the head's branch,
// and the id of that block: the account as the first block above that changed it found
// it. The number is at most PastBlocks below the head and in the undo window, which
// begins anew with a state that was taken over.
//
// Of each block above, the change record is read once, in a few milliseconds if it has
// 9,000 transfers, and leaves 4 bytes in memory for each account it changed. After that
// a call reads the one record that holds the answer, or none.
//
// Errors: ErrNotFound above the head; ErrPruned below what is kept, and while a reorg
// that takes a block above back is being written; those of the disk.
func (c *Chain) AccountAt(number uint64, addr common.Address) (Account, common.Hash, error) {
	for {
		v := c.view.Load()
		a, id, err := c.accountAt(v, number, addr)
		if err == nil || c.view.Load() == v { // else the branch may be gone
			return a, id, err
		}
	}
}

func (c *Chain) accountAt(v *view, number uint64, addr common.Address) (Account, common.Hash, error) {
	head := v.head.Number()
	if number > head {
		return Account{}, common.Hash{}, fmt.Errorf("%w: block %d, the head is %d", ErrNotFound, number, head)
	}
	low := head - min(head, PastBlocks, c.cfg.UndoBlocks)
	var way []*SignedHeader
	c.mu.Lock()
	low = max(low, c.index.low)
	if number >= low {
		way = c.index.down(v.head.id, number)
	}
	c.mu.Unlock()
	if way == nil {
		return Account{}, common.Hash{}, fmt.Errorf("%w: the state of block %d is not available: the newest %d are, of blocks %d to %d",
			ErrPruned, number, head+1-min(low, head), low, head)
	}
	at := way[len(way)-1]
	for i := len(way) - 2; i >= 0; i-- {
		if way[i].header.Root == way[i+1].header.Root {
			continue // it changed nothing
		}
		a, ok, err := c.before(way[i], addr, head)
		if err != nil || ok {
			return a, at.id, err
		}
	}
	return v.state.Account(addr), at.id, nil
}

// before is the account of addr before a block, if that changed it.
func (c *Chain) before(sh *SignedHeader, addr common.Address, head uint64) (a Account, ok bool, err error) {
	read, maybe := c.past.find(sh.id, addr)
	if read && !maybe {
		return Account{}, false, nil
	}
	raw, err := c.store.get(blockKey(tableUndo, sh.Number(), sh.id))
	if err == nil && raw == nil {
		err = fmt.Errorf("%w: block %d %s is being taken back: ask again", ErrPruned, sh.Number(), sh.id)
	}
	if err != nil {
		return Account{}, false, err
	}
	var sums []uint32
	err = eachChange(raw, func(t *touched) error {
		if t.addr == addr {
			a, ok = t.old, true
		}
		if !read {
			sums = append(sums, c.past.sum(t.addr))
		}
		return nil
	})
	if err == nil && !read {
		slices.Sort(sums)
		c.past.put(sh.id, pastBlock{sh.Number(), slices.Clone(sums)}, head)
	}
	return a, ok, err
}
