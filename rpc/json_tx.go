package rpc

import (
	"maps"
	"math/big"
	"slices"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// place is where a transaction stands in a block.
type place struct {
	id        common.Hash
	number    uint64
	timestamp uint64
	index     int
}

// appendTx writes a transaction in a block, as eth_getTransactionByHash has it.
func appendTx(b []byte, t *chain.Tx, g *chain.Genesis, at place) []byte {
	b = append(b, `{"blockHash":`...)
	b = appendHash(b, at.id)
	b = append(b, `,"blockNumber":`...)
	b = appendQuantity(b, at.number)
	b = append(b, `,"blockTimestamp":`...)
	b = appendQuantity(b, at.timestamp)
	b = append(b, `,"transactionIndex":`...)
	b = appendQuantity(b, uint64(at.index))
	tip := t.EffectiveTip(g.BaseFee)
	price := tip.Add(&tip, g.BaseFee)
	if t.FeeCap().Lt(price) {
		price = t.FeeCap()
	}
	return appendTxFields(b, t, g, price)
}

// appendPooledTx writes a transaction that is in no block: its place is null and its
// gas price the most it may pay.
func appendPooledTx(b []byte, t *chain.Tx, g *chain.Genesis) []byte {
	b = append(b, `{"blockHash":null,"blockNumber":null,"blockTimestamp":null,"transactionIndex":null`...)
	return appendTxFields(b, t, g, t.FeeCap())
}

// appendTxFields writes what does not depend on the place, and closes the object. A
// transaction that got this far has a sender.
func appendTxFields(b []byte, t *chain.Tx, g *chain.Genesis, price *uint256.Int) []byte {
	from, err := t.Sender(g.ChainID)
	if err != nil {
		panic("rpc: a transaction of the pool or a block has no sender: " + err.Error())
	}
	inner := t.Inner()
	b = append(b, `,"hash":`...)
	b = appendHash(b, t.Hash())
	b = append(b, `,"from":`...)
	b = appendAddress(b, from)
	b = append(b, `,"to":`...)
	b = appendAddress(b, t.To())
	b = append(b, `,"nonce":`...)
	b = appendQuantity(b, inner.Nonce())
	b = append(b, `,"value":`...)
	b = appendUint256(b, t.Value())
	b = append(b, `,"gas":`...)
	b = appendQuantity(b, inner.Gas())
	b = append(b, `,"gasPrice":`...)
	b = appendUint256(b, price)
	b = append(b, `,"input":`...)
	b = appendBytes(b, inner.Data())
	b = append(b, `,"chainId":`...)
	b = appendQuantity(b, g.ChainID)
	b = append(b, `,"type":`...)
	b = appendQuantity(b, uint64(inner.Type()))
	if inner.Type() == types.DynamicFeeTxType {
		b = append(b, `,"maxFeePerGas":`...)
		b = appendUint256(b, t.FeeCap())
		b = append(b, `,"maxPriorityFeePerGas":`...)
		b = appendUint256(b, t.TipCap())
	}
	v, r, s := inner.RawSignatureValues()
	if inner.Type() != types.LegacyTxType {
		b = append(b, `,"accessList":`...)
		b = appendAccessList(b, inner.AccessList())
		b = append(b, `,"yParity":`...)
		b = appendBig(b, v)
	}
	b = appendSignature(b, v, r, s)
	return append(b, '}')
}

func appendSignature(b []byte, v, r, s *big.Int) []byte {
	b = append(b, `,"v":`...)
	b = appendBig(b, v)
	b = append(b, `,"r":`...)
	b = appendBig(b, r)
	b = append(b, `,"s":`...)
	return appendBig(b, s)
}

func appendAccessList(b []byte, list types.AccessList) []byte {
	b = append(b, '[')
	for i, entry := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"address":`...)
		b = appendAddress(b, entry.Address)
		b = append(b, `,"storageKeys":[`...)
		for j, key := range entry.StorageKeys {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendHash(b, key)
		}
		b = append(b, `]}`...)
	}
	return append(b, ']')
}

// appendSenders writes pooled transactions by sender, in the order of addresses.
func appendSenders(b []byte, txs map[common.Address][]*chain.Tx, g *chain.Genesis) []byte {
	b = append(b, '{')
	for i, addr := range slices.SortedFunc(maps.Keys(txs), common.Address.Cmp) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, addr.Hex()...)
		b = append(b, `":`...)
		b = appendNonces(b, txs[addr], g)
	}
	return append(b, '}')
}

// appendNonces writes one sender's pooled transactions by nonce.
func appendNonces(b []byte, txs []*chain.Tx, g *chain.Genesis) []byte {
	b = append(b, '{')
	for i, t := range txs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = strconv.AppendUint(b, t.Nonce(), 10)
		b = append(b, `":`...)
		b = appendPooledTx(b, t, g)
	}
	return append(b, '}')
}
