package chain

import (
	"bytes"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rlp"
)

// Shared lets the chains of one process keep one copy of each block between
// them: one in memory with its decoded transactions and recovered senders, and
// none in their databases. A thousand nodes in virtual time need it, a node on
// its own does not. Blocks stay until Drop or the end of the Shared. Any
// goroutine may use it.
type Shared struct {
	mu     sync.Mutex
	blocks map[common.Hash]*Block
}

// NewShared makes an empty Shared.
func NewShared() *Shared { return &Shared{blocks: map[common.Hash]*Block{}} }

// Drop forgets the blocks with lower numbers, except block 0.
func (s *Shared) Drop(below uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, b := range s.blocks {
		if n := b.Number(); n > 0 && n < below {
			delete(s.blocks, id)
		}
	}
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
