package rpc

import (
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/pheme-net/pheme/chain"
)

// Limits of what recent keeps: decoded transactions take about 1 KiB each beside their
// bytes, and their receipts as much.
const (
	recentBlocks = 128
	recentTxs    = 20_000
	recentBytes  = 16 << 20
)

// recent keeps the newest canonical blocks decoded, with the senders that import
// recovered, and where their transactions stand: clients that wait for a receipt ask
// for nothing else, and the chain would decode the whole block for each.
//
// It follows the updates of the chain. When one was missed it forgets everything.
type recent struct {
	mu    sync.RWMutex
	head  common.Hash // after the last update
	order []*recentBlock
	byID  map[common.Hash]*recentBlock
	byTx  map[common.Hash]recentPlace
	txs   int
	bytes int
}

type recentBlock struct {
	*chain.Block
	receipts func() types.Receipts // derived once
}

func (b *recentBlock) orNil() *chain.Block {
	if b == nil {
		return nil
	}
	return b.Block
}

type recentPlace struct {
	block *recentBlock
	index int
}

func newRecent(head common.Hash) *recent {
	return &recent{head: head, byID: make(map[common.Hash]*recentBlock), byTx: make(map[common.Hash]recentPlace)}
}

// apply follows one update of the chain.
func (r *recent) apply(u chain.Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Or the chain took over a state without the blocks that lead to it.
	jump := u.Head.Number.Int64()-int64(len(u.Applied)) != u.Old.Number.Int64()-int64(len(u.Reverted))
	if jump || u.Old.Hash() != r.head {
		for len(r.order) > 0 {
			r.drop(len(r.order) - 1)
		}
	}
	r.head = u.Head.Hash()
	for i := len(u.Reverted) - 1; i >= 0; i-- { // newest first
		if last := len(r.order) - 1; last >= 0 && r.order[last].ID() == u.Reverted[i].ID() {
			r.drop(last)
		}
	}
	for _, b := range u.Applied {
		r.add(b)
	}
	for len(r.order) > 1 && (len(r.order) > recentBlocks || r.txs > recentTxs || r.bytes > recentBytes) {
		r.drop(0)
	}
}

func (r *recent) add(b *chain.Block) {
	rb := &recentBlock{Block: b, receipts: sync.OnceValue(b.Receipts)}
	r.order = append(r.order, rb)
	r.byID[b.ID()] = rb
	for i, t := range b.Txs() {
		r.byTx[t.Hash()] = recentPlace{rb, i}
	}
	r.txs += len(b.Txs())
	r.bytes += b.Size()
}

// drop forgets the block at this place in the order: the oldest or the newest.
func (r *recent) drop(at int) {
	b := r.order[at]
	if at == 0 {
		r.order = r.order[1:]
	} else {
		r.order = r.order[:at]
	}
	delete(r.byID, b.ID())
	for _, t := range b.Txs() {
		delete(r.byTx, t.Hash())
	}
	r.txs -= len(b.Txs())
	r.bytes -= b.Size()
}

// block returns a block that is kept, or nil.
func (r *recent) block(id common.Hash) *recentBlock {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byID[id]
}

// tx returns the kept block that holds a transaction, or nil, and its index in it.
func (r *recent) tx(hash common.Hash) (*recentBlock, int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p := r.byTx[hash]
	return p.block, p.index
}

// load takes a place among the few that may read and decode a block at once, which
// costs several times its size, and returns what gives it back.
func (s *Server) load() (done func()) {
	s.loads <- struct{}{}
	return func() { <-s.loads }
}

// block returns any block that this node has, canonical or not, or nil.
func (s *Server) block(id common.Hash) *chain.Block {
	if b := s.recent.block(id).orNil(); b != nil {
		return b
	}
	defer s.load()()
	return s.chain.BlockByID(id)
}

// lookup returns the canonical block that holds a transaction, or nil, and its index
// in it.
func (s *Server) lookup(hash common.Hash) (*chain.Block, int) {
	if b, index := s.recent.tx(hash); b != nil {
		return b.Block, index
	}
	defer s.load()()
	b, index, _ := s.chain.Lookup(hash)
	return b, index
}

// receipts returns the receipts of a block.
func (s *Server) receipts(b *chain.Block) types.Receipts {
	if kept := s.recent.block(b.ID()); kept != nil {
		return kept.receipts()
	}
	return b.Receipts()
}
