package rpc

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/pheme-net/pheme/chain"
)

// prepared holds the outcomes of a batch of sends that was submitted in one piece, by
// the bytes of the transaction. The dispatcher then runs the calls one after another,
// and each takes its own: a transaction that is in the batch twice has two outcomes,
// taken in order.
type prepared struct {
	outcomes map[string][]outcome
}

type outcome struct {
	hash common.Hash
	err  error
}

type preparedKey struct{}

func preparedFrom(ctx context.Context) *prepared {
	p, _ := ctx.Value(preparedKey{}).(*prepared)
	return p
}

func (p *prepared) take(raw []byte) (outcome, bool) {
	if p == nil {
		return outcome{}, false
	}
	left := p.outcomes[string(raw)]
	if len(left) == 0 {
		return outcome{}, false
	}
	p.outcomes[string(raw)] = left[1:]
	return left[0], true
}

var sendMethod = []byte(`eth_sendRawTransaction"`)

// prepare submits the transactions of a batch that consists of eth_sendRawTransaction
// calls only, in one piece: their senders are recovered on all cores, and the pool and
// its journal are entered once. JSON-RPC lets a server run the calls of a batch
// together. Any other body, and a batch the dispatcher will refuse, is left as it is.
func (s *Server) prepare(ctx context.Context, body []byte) context.Context {
	if n := bytes.Count(body, sendMethod); n < 2 || n > s.cfg.MaxBatch {
		return ctx
	}
	var calls []envelope
	if json.Unmarshal(body, &calls) != nil || len(calls) > s.cfg.MaxBatch {
		return ctx
	}
	raws := make([][]byte, 0, len(calls))
	for _, call := range calls {
		raw, ok := sentBy(call)
		if !ok {
			return ctx
		}
		raws = append(raws, raw)
	}
	return context.WithValue(ctx, preparedKey{}, s.submitAll(ctx, raws))
}

// sentBy returns the bytes of the transaction that a call sends, or false when the
// call is anything else than a well-formed eth_sendRawTransaction.
func sentBy(call envelope) ([]byte, bool) {
	var params []hexutil.Bytes
	if call.callID() == nil || call.text("method") != "eth_sendRawTransaction" ||
		json.Unmarshal(call["params"], &params) != nil || len(params) != 1 {
		return nil, false
	}
	return params[0], true
}

func (s *Server) submitAll(ctx context.Context, raws [][]byte) *prepared {
	all := make([]outcome, len(raws))
	txs, at := make([]*chain.Tx, 0, len(raws)), make([]int, 0, len(raws))
	for i, raw := range raws {
		t, err := chain.DecodeTx(raw)
		if err != nil {
			all[i].err = plain(err)
			continue
		}
		txs, at = append(txs, t), append(at, i)
	}
	chain.RecoverSenders(txs, s.chain.Genesis())
	for k, err := range s.deps.Submit.SubmitTxs(ctx, txs) {
		o := &all[at[k]]
		if err != nil {
			o.err = plain(err)
		} else {
			o.hash = txs[k].Hash()
		}
	}
	p := &prepared{outcomes: make(map[string][]outcome, len(raws))}
	for i, raw := range raws {
		p.outcomes[string(raw)] = append(p.outcomes[string(raw)], all[i])
	}
	return p
}
