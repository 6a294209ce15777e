package rpc

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	gethrpc "github.com/ethereum/go-ethereum/rpc"
)

// What SendBatch sends in one request stays below the server's defaults, MaxBatch
// calls and MaxBody bytes, so that it never has to ask for them.
const (
	SendBatchTxs   = 100
	SendBatchBytes = 900 << 10 // 1 MiB less what surrounds the hex
	SendCallBytes  = 100       // around the hex of one transaction
)

// ErrNotIncluded says that a wait ended before the transaction was in a block.
var ErrNotIncluded = errors.New("rpc: transaction is in no block yet")

// SendRaw submits one signed transaction and returns its hash.
func (c *Client) SendRaw(ctx context.Context, raw []byte) (common.Hash, error) {
	var h common.Hash
	err := c.Call(ctx, &h, "eth_sendRawTransaction", hexutil.Bytes(raw))
	return h, err
}

// SendResult is the outcome of one transaction of a batch.
type SendResult struct {
	Hash common.Hash
	Err  error
}

// SendBatch submits signed transactions in their order, in as few requests as the
// server's limits allow, and returns one result for each. The error is that of the
// connection; the results before it still hold.
func (c *Client) SendBatch(ctx context.Context, raws [][]byte) ([]SendResult, error) {
	results := make([]SendResult, len(raws))
	for from := 0; from < len(raws); {
		to, size := from, 0
		for to < len(raws) && to-from < SendBatchTxs && (to == from || size+2*len(raws[to]) <= SendBatchBytes) {
			size += 2*len(raws[to]) + SendCallBytes
			to++
		}
		batch := make([]gethrpc.BatchElem, to-from)
		for i := range batch {
			batch[i] = gethrpc.BatchElem{
				Method: "eth_sendRawTransaction",
				Args:   []any{hexutil.Bytes(raws[from+i])},
				Result: &results[from+i].Hash,
			}
		}
		if err := c.raw.BatchCallContext(ctx, batch); err != nil {
			return results[:from], fmt.Errorf("send transactions %d to %d: %w", from, to-1, err)
		}
		for i := range batch {
			results[from+i].Err = batch[i].Error
		}
		from = to
	}
	return results, nil
}

// Receipt returns the receipt of a transaction, or nil when it is in no block.
func (c *Client) Receipt(ctx context.Context, hash common.Hash) (*types.Receipt, error) {
	var r *types.Receipt
	err := c.Call(ctx, &r, "eth_getTransactionReceipt", hash)
	return r, err
}

// WaitReceipt returns the receipt of a transaction as soon as it is in a block. The
// node waits, in calls of at most 20 s, until ctx ends; the error then wraps
// ErrNotIncluded.
func (c *Client) WaitReceipt(ctx context.Context, hash common.Hash) (*types.Receipt, error) {
	for {
		wait := 20 * time.Second
		if deadline, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Until(deadline))
		}
		if wait <= 0 || ctx.Err() != nil {
			return nil, fmt.Errorf("wait for %s: %w", hash, ErrNotIncluded)
		}
		var r *types.Receipt
		err := c.Call(ctx, &r, "pheme_waitReceipt", hash, max(1, wait.Milliseconds()))
		if r != nil || err != nil && ctx.Err() == nil {
			return r, err
		}
	}
}

// SendTransfer signs a transfer of value wei from key's account to to, with data,
// at the account's next nonce and twice the node's gas price as the cap, submits it
// and returns its hash.
func (c *Client) SendTransfer(ctx context.Context, key *ecdsa.PrivateKey, to common.Address, value *big.Int, data []byte) (common.Hash, error) {
	from := crypto.PubkeyToAddress(key.PublicKey)
	var (
		id, price, tip hexutil.Big
		nonce, gas     hexutil.Uint64
	)
	call := map[string]any{"from": from, "to": to, "value": (*hexutil.Big)(value), "input": hexutil.Bytes(data)}
	batch := []gethrpc.BatchElem{
		{Method: "eth_chainId", Result: &id},
		{Method: "eth_gasPrice", Result: &price},
		{Method: "eth_maxPriorityFeePerGas", Result: &tip},
		{Method: "eth_getTransactionCount", Args: []any{from, "pending"}, Result: &nonce},
		{Method: "eth_estimateGas", Args: []any{call}, Result: &gas},
	}
	if err := c.raw.BatchCallContext(ctx, batch); err != nil {
		return common.Hash{}, fmt.Errorf("prepare transfer: %w", err)
	}
	for _, b := range batch {
		if b.Error != nil {
			return common.Hash{}, fmt.Errorf("prepare transfer: %s: %w", b.Method, b.Error)
		}
	}
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(id.ToInt()), &types.DynamicFeeTx{
		ChainID:   id.ToInt(),
		Nonce:     uint64(nonce),
		GasTipCap: tip.ToInt(),
		GasFeeCap: new(big.Int).Lsh(price.ToInt(), 1),
		Gas:       uint64(gas),
		To:        &to,
		Value:     value,
		Data:      data,
	})
	if err != nil {
		return common.Hash{}, fmt.Errorf("sign transfer: %w", err)
	}
	raw, err := tx.MarshalBinary()
	if err != nil {
		return common.Hash{}, fmt.Errorf("encode transfer: %w", err)
	}
	return c.SendRaw(ctx, raw)
}
