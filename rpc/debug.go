package rpc

import (
	"context"
	"errors"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rlp"
	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/pheme-net/pheme/chain"
)

// debugAPI is the part of the debug_ namespace that hands out encoded chain data.
type debugAPI struct{ s *Server }

func (s *Server) rawOf(ctx context.Context, ref gethrpc.BlockNumberOrHash, encode func(b *chain.Block) ([]byte, error)) (hexutil.Bytes, error) {
	id, ok, err := s.named(ref)
	if err != nil {
		return nil, err
	}
	b := s.block(id)
	if !ok || b == nil {
		return nil, errors.New("block not found")
	}
	if err := reserve(ctx, 8*b.Size()); err != nil { // encoded, in hex, and copied into the answer
		return nil, err
	}
	return encode(b)
}

// GetRawHeader returns the RLP of a header, whose hash is the block's id.
func (a *debugAPI) GetRawHeader(ctx context.Context, ref gethrpc.BlockNumberOrHash) (hexutil.Bytes, error) {
	return a.s.rawOf(ctx, ref, func(b *chain.Block) ([]byte, error) { return rlp.EncodeToBytes(b.Header()) })
}

// GetRawBlock returns the RLP of a block in Ethereum's form, without the proposer's
// signature.
func (a *debugAPI) GetRawBlock(ctx context.Context, ref gethrpc.BlockNumberOrHash) (hexutil.Bytes, error) {
	return a.s.rawOf(ctx, ref, func(b *chain.Block) ([]byte, error) {
		txs := make(types.Transactions, len(b.Txs()))
		for i, t := range b.Txs() {
			txs[i] = t.Inner()
		}
		return rlp.EncodeToBytes(types.NewBlockWithHeader(b.Header()).WithBody(types.Body{Transactions: txs}))
	})
}

// GetRawReceipts returns the canonical encodings of a block's receipts.
func (a *debugAPI) GetRawReceipts(ctx context.Context, ref gethrpc.BlockNumberOrHash) ([]hexutil.Bytes, error) {
	id, ok, err := a.s.named(ref)
	if err != nil {
		return nil, err
	}
	b := a.s.block(id)
	if !ok || b == nil {
		return nil, errors.New("block not found")
	}
	if err := reserve(ctx, 2*len(b.Txs())*roomReceipt); err != nil {
		return nil, err
	}
	out := make([]hexutil.Bytes, len(b.Txs()))
	for i, r := range a.s.receipts(b) {
		if out[i], err = r.MarshalBinary(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// GetRawTransaction returns a transaction's bytes, from a block or the pool.
func (a *debugAPI) GetRawTransaction(hash common.Hash) hexutil.Bytes {
	return a.s.rawTx(hash)
}
