package rpc

import (
	"encoding/json"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/pheme-net/pheme/chain"
)

// txAt writes a transaction of a block.
func (s *Server) txAt(b *chain.Block, index int) json.RawMessage {
	if b == nil || index >= len(b.Txs()) {
		return null
	}
	at := place{id: b.ID(), number: b.Number(), timestamp: b.Header().Time, index: index}
	return appendTx(nil, b.Txs()[index], s.chain.Genesis(), at)
}

// receipt writes the receipt of a transaction of a canonical block, null when it is in
// none.
func (s *Server) receipt(hash common.Hash) json.RawMessage {
	b, index := s.lookup(hash)
	if b == nil {
		return null
	}
	return appendReceipt(make([]byte, 0, roomReceipt), s.receipts(b)[index], b, index, s.chain.Genesis())
}

// GetTransactionByHash returns a transaction of a canonical block or of the pool.
func (a *ethAPI) GetTransactionByHash(hash common.Hash) json.RawMessage {
	if b, index := a.s.lookup(hash); b != nil {
		return a.s.txAt(b, index)
	}
	if t := a.s.deps.Pool.Get(hash); t != nil {
		return appendPooledTx(nil, t, a.s.chain.Genesis())
	}
	return null
}

// GetTransactionByBlockHashAndIndex returns one transaction of a block.
func (a *ethAPI) GetTransactionByBlockHashAndIndex(hash common.Hash, index hexutil.Uint) json.RawMessage {
	return a.s.txAt(a.s.block(hash), int(min(index, 1<<31)))
}

// GetTransactionByBlockNumberAndIndex returns one transaction of a block.
func (a *ethAPI) GetTransactionByBlockNumberAndIndex(number gethrpc.BlockNumber, index hexutil.Uint) (json.RawMessage, error) {
	b, err := a.s.numbered(number)
	if err != nil {
		return nil, err
	}
	return a.s.txAt(b, int(min(index, 1<<31))), nil
}

// GetRawTransactionByHash returns a transaction's bytes, from a block or the pool.
func (a *ethAPI) GetRawTransactionByHash(hash common.Hash) hexutil.Bytes {
	return a.s.rawTx(hash)
}

func (s *Server) rawTx(hash common.Hash) hexutil.Bytes {
	if b, index := s.lookup(hash); b != nil {
		return b.Txs()[index].Raw()
	}
	if t := s.deps.Pool.Get(hash); t != nil {
		return t.Raw()
	}
	return nil
}

// GetTransactionReceipt returns the receipt of a transaction, or null while it is in
// no block.
func (a *ethAPI) GetTransactionReceipt(hash common.Hash) json.RawMessage {
	return a.s.receipt(hash)
}
