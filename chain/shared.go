package chain

import (
	"bytes"
	"slices"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rlp"
)

// Shared lets the chains of one process keep one copy of each block between
// them: one in memory with its decoded transactions and recovered senders, and
// none in their databases. A block on one state is executed once, and all have
// the states that come of it in common; a chain that comes to it after keptOutcomes
// others executes it again, with the same outcome. A thousand nodes in virtual time
// need it, a node on its own does not. Blocks stay until Drop or the end of the
// Shared. Any goroutine may use it.
type Shared struct {
	mu       sync.Mutex
	blocks   map[common.Hash]*Block
	executed map[execution]outcome
	runs     []execution // the keys of executed, oldest first
	genesis  *Genesis    // whose state is first
	first    State
}

// keptOutcomes is how many outcomes a Shared keeps. Each holds the nodes of a state that
// its block made and the accounts it changed: megabytes of a full block. The chains of
// one process are a few blocks apart.
const keptOutcomes = 64

// execution names the run of a block's transactions on a state.
type execution struct{ root, block common.Hash }

// outcome is what execute returned.
type outcome struct {
	next    State
	changes []touched
	err     error
	number  uint64
}

// NewShared makes an empty Shared.
func NewShared() *Shared {
	return &Shared{blocks: map[common.Hash]*Block{}, executed: map[execution]outcome{}}
}

// Drop forgets the blocks with lower numbers, except block 0.
func (s *Shared) Drop(below uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, b := range s.blocks {
		if n := b.Number(); n > 0 && n < below {
			delete(s.blocks, id)
		}
	}
	s.runs = slices.DeleteFunc(s.runs, func(run execution) bool {
		old := s.executed[run].number < below
		if old {
			delete(s.executed, run)
		}
		return old
	})
}

// execute is the function execute, once for a state and a block whose body
// belongs to its header. The caller must not change the changes.
func (s *Shared) execute(g *Genesis, base State, b *Block) (next State, changes []touched, err error) {
	run := execution{base.Root(), b.id}
	s.mu.Lock()
	o, known := s.executed[run]
	s.mu.Unlock()
	if !known {
		o.next, o.changes, o.err = execute(g, base, b)
		o.number = b.Number()
		s.keep(run, o)
	}
	return o.next, o.changes, o.err
}

// keep remembers an outcome and forgets the oldest ones above the bound.
func (s *Shared) keep(run execution, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.executed[run]; !known { // another chain may have been as quick
		s.runs = append(s.runs, run)
	}
	s.executed[run] = o
	for len(s.runs) > keptOutcomes {
		delete(s.executed, s.runs[0])
		s.runs = slices.Delete(s.runs, 0, 1)
	}
}

// state is the state after block 0, one tree for all chains of the genesis.
func (s *Shared) state(g *Genesis) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.genesis != g {
		s.genesis, s.first = g, g.state()
	}
	return s.first
}

// find is the shared block with this id, nil without one.
func (s *Shared) find(id common.Hash) *Block {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blocks[id]
}

// take is the one copy of a block whose body belongs to its header. Another
// signature of the same header is another block here: it is not shared.
func (s *Shared) take(b *Block) *Block {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.blocks[b.id]
	if first == nil {
		s.blocks[b.id] = b
		return b
	}
	if first.sig != b.sig {
		return b
	}
	return first
}

// same is the shared block that raw encodes byte for byte, nil without one.
func (s *Shared) same(raw []byte) *Block {
	content, _, err := rlp.SplitList(raw)
	if err != nil {
		return nil
	}
	header, _, err := splitHeader(content)
	if err != nil {
		return nil
	}
	if b := s.find(headerID(header)); b != nil && bytes.Equal(b.raw, raw) {
		return b
	}
	return nil
}

// DecodeBlock is the function DecodeBlock, but returns the one shared copy of a
// block where the chain has a Shared that knows it.
func (c *Chain) DecodeBlock(raw []byte, known func(common.Hash) *Tx) (*Block, error) {
	if c.cfg.Shared != nil {
		if b := c.cfg.Shared.same(raw); b != nil {
			return b, nil
		}
	}
	return DecodeBlock(raw, known)
}

// execute runs a block whose body belongs to its header on the state of its parent.
func (c *Chain) execute(base State, b *Block) (next State, changes []touched, err error) {
	if c.cfg.Shared != nil {
		return c.cfg.Shared.execute(c.g, base, b)
	}
	return execute(c.g, base, b)
}

// firstState is the state after block 0.
func (c *Chain) firstState() State {
	if c.cfg.Shared != nil {
		return c.cfg.Shared.state(c.g)
	}
	return c.g.state()
}

// Shared is the copy of b that the chains of this process have in common; b
// itself where they share nothing, or where its body is not its header's.
func (c *Chain) Shared(b *Block) *Block {
	if c.cfg.Shared == nil || b.checkBody() != nil {
		return b
	}
	return c.cfg.Shared.take(b)
}
