package rpc

import (
	"encoding/json"
	"errors"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/pheme-net/pheme/chain"
)

// ethAPI is the eth_ namespace. Its methods are found by reflection: each exported
// method is one call, named with a small first letter.
type ethAPI struct{ s *Server }

// null is the answer for what does not exist.
var null = json.RawMessage(nil)

// block resolves a number or tag to a canonical block; nil when there is none. The
// pending block is not among them.
func (s *Server) block(number gethrpc.BlockNumber) (*chain.Block, error) {
	switch number {
	case gethrpc.LatestBlockNumber:
		return s.chain.BlockByID(s.chain.HeadID()), nil
	case gethrpc.EarliestBlockNumber:
		return s.chain.BlockByNumber(0), nil
	case gethrpc.SafeBlockNumber, gethrpc.FinalizedBlockNumber:
		return nil, errors.New(number.String() + " block not found: this chain has no finality, ask for \"latest\"")
	case gethrpc.PendingBlockNumber:
		return nil, errors.New("the pending block has no receipts")
	}
	return s.chain.BlockByNumber(uint64(number)), nil
}

// blockOf resolves a number, tag or hash.
func (s *Server) blockOf(ref gethrpc.BlockNumberOrHash) (*chain.Block, error) {
	if hash, ok := ref.Hash(); ok {
		return s.chain.BlockByID(hash), nil
	}
	number, _ := ref.Number()
	return s.block(number)
}

// encoded returns the JSON of a block in one form, null for no block.
func (s *Server) encoded(b *chain.Block, f form) (json.RawMessage, error) {
	if b == nil {
		return null, nil
	}
	return s.cache.get(blockForm{b.ID(), f}, func() ([]byte, error) {
		g := s.chain.Genesis()
		if f == formHashes {
			return appendBlock(make([]byte, 0, roomHeader+len(b.Txs())*roomTxHash), b, g, false), nil
		}
		chain.RecoverSenders(b.Txs(), g) // a block just read from disk has none yet
		if f == formFull {
			return appendBlock(make([]byte, 0, roomHeader+len(b.Txs())*roomTx+2*b.Size()), b, g, true), nil
		}
		receipts, err := s.chain.Receipts(b.ID())
		if err != nil {
			return nil, err
		}
		return appendReceipts(make([]byte, 0, 2+len(receipts)*roomReceipt), b, receipts, g), nil
	})
}

func formOf(full bool) form {
	if full {
		return formFull
	}
	return formHashes
}

// BlockNumber returns the number of the head.
func (a *ethAPI) BlockNumber() hexutil.Uint64 {
	defer a.s.watchPanic()
	return hexutil.Uint64(a.s.chain.Head().Number.Uint64())
}

// GetBlockByNumber returns a canonical block, or the pending one.
func (a *ethAPI) GetBlockByNumber(number gethrpc.BlockNumber, full bool) (json.RawMessage, error) {
	defer a.s.watchPanic()
	if number == gethrpc.PendingBlockNumber {
		return a.s.pendingBlock(full), nil
	}
	b, err := a.s.block(number)
	if err != nil {
		return nil, err
	}
	return a.s.encoded(b, formOf(full))
}

// GetBlockByHash returns any block this node has, canonical or not.
func (a *ethAPI) GetBlockByHash(hash common.Hash, full bool) (json.RawMessage, error) {
	defer a.s.watchPanic()
	return a.s.encoded(a.s.chain.BlockByID(hash), formOf(full))
}

// GetBlockReceipts returns the receipts of a block in the order of its transactions.
func (a *ethAPI) GetBlockReceipts(ref gethrpc.BlockNumberOrHash) (json.RawMessage, error) {
	defer a.s.watchPanic()
	b, err := a.s.blockOf(ref)
	if err != nil {
		return nil, err
	}
	return a.s.encoded(b, formReceipts)
}

// GetBlockTransactionCountByNumber returns how many transactions a block holds.
func (a *ethAPI) GetBlockTransactionCountByNumber(number gethrpc.BlockNumber) (*hexutil.Uint, error) {
	defer a.s.watchPanic()
	if number == gethrpc.PendingBlockNumber {
		n := hexutil.Uint(a.s.deps.Pool.Stats().Executable)
		return &n, nil
	}
	b, err := a.s.block(number)
	return txCount(b), err
}

// GetBlockTransactionCountByHash returns how many transactions a block holds.
func (a *ethAPI) GetBlockTransactionCountByHash(hash common.Hash) *hexutil.Uint {
	defer a.s.watchPanic()
	return txCount(a.s.chain.BlockByID(hash))
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
	defer a.s.watchPanic()
	b, err := a.s.block(number)
	return uncleCount(b), err
}

// GetUncleCountByBlockHash returns 0: there are no uncles.
func (a *ethAPI) GetUncleCountByBlockHash(hash common.Hash) *hexutil.Uint {
	defer a.s.watchPanic()
	return uncleCount(a.s.chain.BlockByID(hash))
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

// maxPendingTxs bounds the pending block that is shown.
const maxPendingTxs = 5000

// pendingBlock writes what the next block could be: the head's successor with the
// executable transactions of the pool, by sender.
func (s *Server) pendingBlock(full bool) json.RawMessage {
	g, parent := s.chain.Genesis(), s.chain.Head()
	h := *parent
	h.ParentHash = s.chain.HeadID()
	h.Number = bigNext(parent.Number)
	slot := chain.SlotOf(parent) + 1
	h.Time = uint64(g.SlotStart(slot).Unix())
	h.GasUsed = 0
	var txs []*chain.Tx
	for _, list := range s.deps.Pool.Content().Executable {
		for _, t := range list {
			if len(txs) < maxPendingTxs && h.GasUsed+t.GasUsed() <= g.GasLimit {
				txs = append(txs, t)
				h.GasUsed += t.GasUsed()
			}
		}
	}
	return appendPendingBlock(nil, &h, txs, g, full)
}
