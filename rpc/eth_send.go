package rpc

import (
	"context"
	"encoding/json"
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

// submit decodes a transaction and hands it to the node, unless prepare has done so
// with the whole batch.
func (s *Server) submit(ctx context.Context, raw []byte) (common.Hash, error) {
	if o, ok := preparedFrom(ctx).take(raw); ok {
		return o.hash, o.err
	}
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
	defer a.s.watchPanic()
	return a.s.submit(ctx, raw)
}

// SendRawTransactionSync is SendRawTransaction that waits until the transaction is in a
// block and returns its receipt (EIP-7966). The time to wait is in milliseconds.
func (a *ethAPI) SendRawTransactionSync(ctx context.Context, raw hexutil.Bytes, timeoutMS *math.HexOrDecimal64) (json.RawMessage, error) {
	defer a.s.watchPanic()
	hash, err := a.s.submit(ctx, raw)
	if err != nil {
		return nil, err
	}
	wait := a.s.waitTime(timeoutMS)
	receipt, err := a.s.waitReceipt(ctx, hash, wait)
	if receipt == nil && err == nil {
		err = &syncTimeoutError{
			text: fmt.Sprintf("The transaction was added to the transaction pool but wasn't processed in %v", wait),
			hash: hash,
		}
	}
	return receipt, err
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
