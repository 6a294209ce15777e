package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/pheme-net/pheme/chain"
)

// ethAPI is the eth_ namespace. Its methods are found by reflection: each exported
// method is one call, named with a small first letter.
type ethAPI struct{ s *Server }

// null is the answer for what does not exist.
var null = json.RawMessage(nil)

// canonical resolves a number or tag to the id of a canonical block; ok is false when
// there is none. The pending block is not among them.
func (s *Server) canonical(number gethrpc.BlockNumber) (id common.Hash, ok bool, err error) {
	switch number {
	case gethrpc.LatestBlockNumber:
		return s.chain.HeadID(), true, nil
	case gethrpc.SafeBlockNumber, gethrpc.FinalizedBlockNumber:
		return id, false, errors.New(number.String() + " block not found: this chain has no finality, ask for \"latest\"")
	case gethrpc.PendingBlockNumber:
		return id, false, errors.New("the pending block has no receipts and no place for its transactions yet")
	}
	h := s.chain.SignedHeaderByNumber(uint64(max(number, 0))) // "earliest" is below zero
	if h == nil {
		return id, false, nil
	}
	return h.ID(), true, nil
}

// named resolves a number, tag or hash to an id.
func (s *Server) named(ref gethrpc.BlockNumberOrHash) (id common.Hash, ok bool, err error) {
	if hash, ok := ref.Hash(); ok {
		return hash, true, nil
	}
	number, _ := ref.Number()
	return s.canonical(number)
}

// numbered returns the canonical block at a number or tag, or nil.
func (s *Server) numbered(number gethrpc.BlockNumber) (*chain.Block, error) {
	id, ok, err := s.canonical(number)
	if !ok {
		return nil, err
	}
	return s.block(id), nil
}

// encoded returns the JSON of a block in one form, null for no such block.
func (s *Server) encoded(ctx context.Context, id common.Hash, f form) (json.RawMessage, error) {
	e, raw, err := s.cache.get(blockForm{id, f}, func() ([]byte, error) {
		b := s.recent.block(id).orNil()
		if b == nil {
			defer s.load()()
			b = s.chain.BlockByID(id)
		}
		if b == nil {
			return nil, s.pruned(id)
		}
		return s.encode(b, f), nil
	})
	if err != nil {
		return nil, err
	}
	return kept(ctx, e, raw)
}

// encode writes a block in one form.
func (s *Server) encode(b *chain.Block, f form) []byte {
	g := s.chain.Genesis()
	if f == formHashes {
		return appendBlock(make([]byte, 0, roomHeader+len(b.Txs())*roomTxHash), b, g, false)
	}
	chain.RecoverSenders(b.Txs(), g) // a block just read from disk has none yet
	if f == formFull {
		return appendBlock(make([]byte, 0, roomHeader+len(b.Txs())*roomTx+2*b.Size()), b, g, true)
	}
	return appendReceipts(make([]byte, 0, 2+len(b.Txs())*roomReceipt), b, s.receipts(b), g)
}

// pruned returns the error for a block whose body was there once, with geth's code
// (EIP-4444), and nil for one that never was.
func (s *Server) pruned(id common.Hash) error {
	h := s.chain.HeaderByID(id)
	if h == nil {
		return nil
	}
	return &codeError{codePruned, fmt.Sprintf("pruned history unavailable: the body of block %d is no longer kept, ask a node that keeps all", h.Number)}
}

func formOf(full bool) form {
	if full {
		return formFull
	}
	return formHashes
}

// BlockNumber returns the number of the head.
func (a *ethAPI) BlockNumber() hexutil.Uint64 {
	return hexutil.Uint64(a.s.chain.Head().Number.Uint64())
}

// GetBlockByNumber returns a canonical block, or the pending one.
func (a *ethAPI) GetBlockByNumber(ctx context.Context, number gethrpc.BlockNumber, full bool) (json.RawMessage, error) {
	if number == gethrpc.PendingBlockNumber {
		return a.s.pendingBlock(ctx, full)
	}
	id, ok, err := a.s.canonical(number)
	if !ok {
		return null, err
	}
	return a.s.encoded(ctx, id, formOf(full))
}

// GetBlockByHash returns any block this node has, canonical or not.
func (a *ethAPI) GetBlockByHash(ctx context.Context, hash common.Hash, full bool) (json.RawMessage, error) {
	return a.s.encoded(ctx, hash, formOf(full))
}

// GetBlockReceipts returns the receipts of a block in the order of its transactions.
func (a *ethAPI) GetBlockReceipts(ctx context.Context, ref gethrpc.BlockNumberOrHash) (json.RawMessage, error) {
	id, ok, err := a.s.named(ref)
	if !ok {
		return null, err
	}
	return a.s.encoded(ctx, id, formReceipts)
}

// GetBlockTransactionCountByNumber returns how many transactions a block holds.
func (a *ethAPI) GetBlockTransactionCountByNumber(number gethrpc.BlockNumber) (*hexutil.Uint, error) {
	if number == gethrpc.PendingBlockNumber {
		n := hexutil.Uint(a.s.deps.Pool.Stats().Executable)
		return &n, nil
	}
	b, err := a.s.numbered(number)
	return txCount(b), err
}

// GetBlockTransactionCountByHash returns how many transactions a block holds.
func (a *ethAPI) GetBlockTransactionCountByHash(hash common.Hash) *hexutil.Uint {
	return txCount(a.s.block(hash))
}

func txCount(b *chain.Block) *hexutil.Uint {
	if b == nil {
		return nil
	}
	n := hexutil.Uint(len(b.Txs()))
	return &n
}

// GetUncleCountByBlockNumber returns 0: there are no uncles.
func (a *ethAPI) GetUncleCountByBlockNumber(number gethrpc.BlockNumber) (*hexutil.Uint, error) {
	b, err := a.s.numbered(number)
	return uncleCount(b), err
}

// GetUncleCountByBlockHash returns 0: there are no uncles.
func (a *ethAPI) GetUncleCountByBlockHash(hash common.Hash) *hexutil.Uint {
	return uncleCount(a.s.block(hash))
}

func uncleCount(b *chain.Block) *hexutil.Uint {
	if b == nil {
		return nil
	}
	return new(hexutil.Uint)
}

// GetUncleByBlockNumberAndIndex returns null: there are no uncles.
func (a *ethAPI) GetUncleByBlockNumberAndIndex(gethrpc.BlockNumber, hexutil.Uint) json.RawMessage {
	return null
}

// GetUncleByBlockHashAndIndex returns null: there are no uncles.
func (a *ethAPI) GetUncleByBlockHashAndIndex(common.Hash, hexutil.Uint) json.RawMessage {
	return null
}

// pendingBlock writes what the next block could be: the head's successor with the
// transactions that the pool would put into it. The roots of a block with transactions are
// zero: nobody computes them before it is sealed. Libraries hold the root of transactions
// against there being any.
func (s *Server) pendingBlock(ctx context.Context, full bool) (json.RawMessage, error) {
	g, parent := s.chain.Genesis(), s.chain.Head()
	h := *parent
	h.ParentHash = s.chain.HeadID()
	h.Number = bigNext(parent.Number)
	h.Time = uint64(g.SlotStart(chain.SlotOf(parent) + 1).Unix())
	h.GasUsed = 0
	txs, size := s.deps.Pool.Build(int(g.MaxBlockBytes), g.GasLimit), 0
	for _, t := range txs {
		h.GasUsed += t.GasUsed()
		size += t.Size()
	}
	if err := reserve(ctx, 2*(2*size+len(txs)*roomTx)); err != nil {
		return nil, err
	}
	if h.TxHash, h.ReceiptHash = types.EmptyTxsHash, types.EmptyReceiptsHash; len(txs) > 0 {
		h.TxHash, h.ReceiptHash, h.Root = common.Hash{}, common.Hash{}, common.Hash{}
	}
	return appendPendingBlock(nil, &h, txs, g, full), nil
}
