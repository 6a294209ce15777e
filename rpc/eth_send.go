package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/math"

	"github.com/pheme-net/pheme/chain"
)

// plain makes the text of a refusal the one that libraries know: geth's, without the
// name of our package.
func plain(err error) error {
	if text, ok := strings.CutPrefix(err.Error(), chain.ErrInvalidTx.Error()+": "); ok {
		return &codeError{codeServer, text}
	}
	return err
}

// submit decodes a transaction and hands it to the node.
func (s *Server) submit(ctx context.Context, raw []byte) (common.Hash, error) {
	t, err := chain.DecodeTx(raw)
	if err != nil {
		return common.Hash{}, plain(err)
	}
	if err := s.deps.Submit.SubmitTxs(ctx, []*chain.Tx{t})[0]; err != nil {
		return common.Hash{}, plain(err)
	}
	return t.Hash(), nil
}

// SendRawTransaction takes a signed transaction and returns its hash once it is in the
// pool and recorded.
func (a *ethAPI) SendRawTransaction(ctx context.Context, raw hexutil.Bytes) (common.Hash, error) {
	return a.s.submit(ctx, raw)
}

const sendMethod = "eth_sendRawTransaction"

// outcome is what became of one call of a batch.
type outcome struct {
	result []byte
	err    error
}

// sendTogether submits the transactions of a batch that consists of eth_sendRawTransaction
// calls only, in one piece: their senders are recovered on all cores, and the pool and
// its journal are entered once. JSON-RPC lets a server run the calls of a batch
// together. Of any other batch it returns nil.
func (d *dispatcher) sendTogether(ctx context.Context, calls []request) (all []outcome) {
	raws := make([][]byte, len(calls))
	for i := range calls {
		if calls[i].method != sendMethod || !calls[i].isCall() {
			return nil
		}
		args, err := d.methods[sendMethod].arguments(calls[i].params)
		if err != nil {
			return nil
		}
		raws[i] = args[0].Bytes()
	}
	defer func() {
		if p := recover(); p != nil {
			d.crashed(p)
			for i := range all {
				all[i] = outcome{err: errCrashed}
			}
		}
	}()
	all = make([]outcome, len(raws))
	txs, at := make([]*chain.Tx, 0, len(raws)), make([]int, 0, len(raws))
	for i, raw := range raws {
		t, err := chain.DecodeTx(raw)
		if err != nil {
			all[i].err = plain(err)
			continue
		}
		txs, at = append(txs, t), append(at, i)
	}
	chain.RecoverSenders(txs, d.s.chain.Genesis())
	for k, err := range d.s.deps.Submit.SubmitTxs(ctx, txs) {
		if o := &all[at[k]]; err != nil {
			o.err = plain(err)
		} else {
			o.result = appendHash(nil, txs[k].Hash())
		}
	}
	return all
}

// SendRawTransactionSync is SendRawTransaction that waits until the transaction is in a
// block and returns its receipt (EIP-7966). The time to wait is in milliseconds.
func (a *ethAPI) SendRawTransactionSync(ctx context.Context, raw hexutil.Bytes, timeoutMS *math.HexOrDecimal64) (json.RawMessage, error) {
	hash, err := a.s.submit(ctx, raw)
	if err != nil {
		return nil, err
	}
	wait := a.s.waitTime(timeoutMS)
	receipt, err := a.s.waitReceipt(ctx, hash, wait)
	if receipt != nil {
		return receipt, nil
	}
	why := fmt.Sprintf("wasn't processed in %v", wait)
	if errors.Is(err, errStopping) {
		why = "the node is stopping: ask another node for its receipt"
	} else if err != nil {
		why = "the call was cut off: ask for its receipt"
	}
	return nil, &syncTimeoutError{text: "The transaction was added to the transaction pool but " + why, hash: hash}
}

func (s *Server) waitTime(ms *math.HexOrDecimal64) time.Duration {
	if ms == nil || *ms == 0 {
		return min(s.cfg.SyncTimeout, s.cfg.MaxSyncTimeout)
	}
	if uint64(*ms) > uint64(s.cfg.MaxSyncTimeout/time.Millisecond) {
		return s.cfg.MaxSyncTimeout
	}
	return time.Duration(*ms) * time.Millisecond
}

// waitReceipt returns the receipt of a transaction as soon as a canonical block holds
// it, or nil when that takes longer than wait.
func (s *Server) waitReceipt(ctx context.Context, hash common.Hash, wait time.Duration) (json.RawMessage, error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		changed := s.broker.next()
		if receipt := s.receipt(hash); receipt != nil {
			return receipt, nil
		}
		select {
		case <-changed:
		case <-over.C:
			return nil, nil
		case <-s.stop.Done():
			return nil, errStopping
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
