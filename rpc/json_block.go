package rpc

import (
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/pheme-net/pheme/chain"
)

// appendHeader writes a header as newHeads sends it.
func appendHeader(b []byte, h *types.Header, id common.Hash) []byte {
	b = append(b, `{"hash":`...)
	b = appendHash(b, id)
	b = append(b, `,"nonce":`...)
	b = appendBytes(b, h.Nonce[:])
	b = append(b, `,"miner":`...)
	b = appendAddress(b, h.Coinbase)
	b = appendHeaderFields(b, h)
	return append(b, '}')
}

// appendHeaderFields writes the fields that a pending block has too.
func appendHeaderFields(b []byte, h *types.Header) []byte {
	b = append(b, `,"number":`...)
	b = appendBig(b, h.Number)
	b = append(b, `,"parentHash":`...)
	b = appendHash(b, h.ParentHash)
	b = append(b, `,"timestamp":`...)
	b = appendQuantity(b, h.Time)
	b = append(b, `,"stateRoot":`...)
	b = appendHash(b, h.Root)
	b = append(b, `,"transactionsRoot":`...)
	b = appendHash(b, h.TxHash)
	b = append(b, `,"receiptsRoot":`...)
	b = appendHash(b, h.ReceiptHash)
	b = append(b, `,"sha3Uncles":`...)
	b = appendHash(b, h.UncleHash)
	b = append(b, `,"logsBloom":`...)
	b = appendBytes(b, h.Bloom[:])
	b = append(b, `,"difficulty":`...)
	b = appendBig(b, h.Difficulty)
	b = append(b, `,"gasLimit":`...)
	b = appendQuantity(b, h.GasLimit)
	b = append(b, `,"gasUsed":`...)
	b = appendQuantity(b, h.GasUsed)
	b = append(b, `,"extraData":`...)
	b = appendBytes(b, h.Extra)
	b = append(b, `,"mixHash":`...)
	b = appendHash(b, h.MixDigest)
	if h.BaseFee != nil {
		b = append(b, `,"baseFeePerGas":`...)
		b = appendBig(b, h.BaseFee)
	}
	return b
}

// Bytes of JSON to make room for: of a transaction beside twice its encoding, of its
// hash, of a header and of a receipt.
const (
	roomTx      = 500
	roomTxHash  = 70
	roomHeader  = 1536
	roomReceipt = 1024
)

// appendBlock writes a block, with whole transactions or their hashes only.
func appendBlock(b []byte, block *chain.Block, g *chain.Genesis, full bool) []byte {
	h := block.Header()
	b = appendHeader(b, h, block.ID())
	b = b[:len(b)-1] // its closing brace
	b = append(b, `,"size":`...)
	b = appendQuantity(b, uint64(block.Size()))
	b = append(b, `,"uncles":[],"transactions":[`...)
	at := place{id: block.ID(), number: block.Number(), timestamp: h.Time}
	for i, t := range block.Txs() {
		if i > 0 {
			b = append(b, ',')
		}
		if full {
			at.index = i
			b = appendTx(b, t, g, at)
		} else {
			b = appendHash(b, t.Hash())
		}
	}
	return append(b, `]}`...)
}

// appendPendingBlock writes the block that would follow the head if it took these
// transactions: what only its proposer can know is null.
func appendPendingBlock(b []byte, h *types.Header, txs []*chain.Tx, g *chain.Genesis, full bool) []byte {
	b = append(b, `{"hash":null,"nonce":null,"miner":null`...)
	b = appendHeaderFields(b, h)
	size := 0
	for _, t := range txs {
		size += t.Size()
	}
	b = append(b, `,"size":`...)
	b = appendQuantity(b, uint64(size))
	b = append(b, `,"uncles":[],"transactions":[`...)
	for i, t := range txs {
		if i > 0 {
			b = append(b, ',')
		}
		if full {
			b = appendPooledTx(b, t, g)
		} else {
			b = appendHash(b, t.Hash())
		}
	}
	return append(b, `]}`...)
}

// appendReceipts writes the receipts of a block.
func appendReceipts(b []byte, block *chain.Block, receipts types.Receipts, g *chain.Genesis) []byte {
	b = append(b, '[')
	for i, r := range receipts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendReceipt(b, r, block, i, g)
	}
	return append(b, ']')
}

// appendReceipt writes the receipt of a block's transaction with this index.
func appendReceipt(b []byte, r *types.Receipt, block *chain.Block, index int, g *chain.Genesis) []byte {
	t := block.Txs()[index]
	from, err := t.Sender(g.ChainID)
	if err != nil {
		panic("rpc: a transaction of a block has no sender: " + err.Error())
	}
	b = append(b, `{"transactionHash":`...)
	b = appendHash(b, t.Hash())
	b = append(b, `,"transactionIndex":`...)
	b = appendQuantity(b, uint64(index))
	b = append(b, `,"blockHash":`...)
	b = appendHash(b, block.ID())
	b = append(b, `,"blockNumber":`...)
	b = appendQuantity(b, block.Number())
	b = append(b, `,"from":`...)
	b = appendAddress(b, from)
	b = append(b, `,"to":`...)
	b = appendAddress(b, t.To())
	b = append(b, `,"type":`...)
	b = appendQuantity(b, uint64(r.Type))
	b = append(b, `,"status":`...)
	b = appendQuantity(b, r.Status)
	b = append(b, `,"gasUsed":`...)
	b = appendQuantity(b, r.GasUsed)
	b = append(b, `,"cumulativeGasUsed":`...)
	b = appendQuantity(b, r.CumulativeGasUsed)
	b = append(b, `,"effectiveGasPrice":`...)
	b = appendBig(b, r.EffectiveGasPrice)
	b = append(b, `,"logsBloom":`...)
	b = appendBytes(b, r.Bloom[:])
	return append(b, `,"contractAddress":null,"logs":[]}`...)
}
