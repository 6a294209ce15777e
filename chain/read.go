package chain

import (
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
)

// signedHeader finds an imported block's header, in memory or on disk; nil
// without it.
func (c *Chain) signedHeader(id common.Hash) (*SignedHeader, error) {
	c.mu.Lock()
	e := c.index.byID[id]
	if e != nil && e.status != stored {
		c.mu.Unlock()
		return nil, nil
	}
	c.mu.Unlock()
	if e != nil {
		return e.SignedHeader, nil
	}
	n, ok, err := c.store.number(id)
	if err != nil || !ok {
		return nil, err
	}
	return c.store.header(n, id)
}

// Has tells whether the block is imported, canonical or not.
func (c *Chain) Has(id common.Hash) bool {
	sh, err := c.signedHeader(id)
	c.note(err)
	return sh != nil
}

// SignedHeaderByID is the signed header of an imported block, canonical or not;
// nil without it.
func (c *Chain) SignedHeaderByID(id common.Hash) *SignedHeader {
	sh, err := c.signedHeader(id)
	c.note(err)
	return sh
}

// SignedHeaderByNumber is the signed header of a canonical block; nil without it.
func (c *Chain) SignedHeaderByNumber(n uint64) *SignedHeader {
	id, err := c.store.canonical(n)
	c.note(err)
	if id == (common.Hash{}) {
		return nil
	}
	return c.SignedHeaderByID(id)
}

// HeaderByID is the header of an imported block, canonical or not; nil without
// it. The caller must not change it.
func (c *Chain) HeaderByID(id common.Hash) *types.Header {
	if sh := c.SignedHeaderByID(id); sh != nil {
		return sh.header
	}
	return nil
}

// HeaderByNumber is the header of a canonical block; nil without it. The caller
// must not change it.
func (c *Chain) HeaderByNumber(n uint64) *types.Header {
	if sh := c.SignedHeaderByNumber(n); sh != nil {
		return sh.header
	}
	return nil
}

// BlockByID is an imported block, canonical or not; nil without it or without
// its body.
func (c *Chain) BlockByID(id common.Hash) *Block {
	b, err := c.block(id)
	c.note(err)
	return b
}

func (c *Chain) block(id common.Hash) (*Block, error) {
	sh, err := c.signedHeader(id)
	if err != nil || sh == nil {
		return nil, err
	}
	return c.store.block(sh)
}

// BlockByNumber is a canonical block; nil without it or without its body.
func (c *Chain) BlockByNumber(n uint64) *Block {
	sh := c.SignedHeaderByNumber(n)
	if sh == nil {
		return nil
	}
	b, err := c.store.block(sh)
	c.note(err)
	return b
}

// RawBlock is the envelope of an imported block, without decoding it; nil
// without it or without its body.
func (c *Chain) RawBlock(id common.Hash) []byte {
	sh, err := c.signedHeader(id)
	c.note(err)
	if sh == nil {
		return nil
	}
	raw, _, err := c.store.envelope(sh)
	c.note(err)
	return raw
}

// Receipts derives the receipts of an imported block. Errors: ErrNotFound,
// ErrPruned, ErrCorrupt.
func (c *Chain) Receipts(id common.Hash) (types.Receipts, error) {
	b, err := c.block(id)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, fmt.Errorf("%w: block %s", ErrNotFound, id)
	}
	return b.Receipts(), nil
}

// Receipts derives the receipts of a valid block.
func (b *Block) Receipts() types.Receipts { return deriveReceipts(b) }

// Evidence is two blocks that one proposer signed for one slot.
type Evidence struct {
	Slot     uint64
	Proposer common.Address
	First    *SignedHeader
	Second   *SignedHeader
}

// Evidence lists the slots of the undo window that a proposer signed twice.
func (c *Chain) Evidence() []Evidence {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.evidence()
}

// Invalid is a block that its proposer signed and that breaks the full rules.
type Invalid struct {
	Header *SignedHeader
	Reason string
}

// Invalid lists the invalid list, oldest first.
func (c *Chain) Invalid() []Invalid {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Invalid
	for _, id := range c.index.invalid {
		if e := c.index.byID[id]; e != nil && e.status == invalid {
			out = append(out, Invalid{e.SignedHeader, e.reason})
		}
	}
	return out
}
