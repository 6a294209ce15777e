package rpc

import (
	"context"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/math"
	gethrpc "github.com/ethereum/go-ethereum/rpc"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// suggestedTip is the tip in wei per gas that the node proposes: blocks have room, so
// any tip does.
const suggestedTip = 1_000_000 // 0.001 gwei

// GasPrice returns the base fee and the proposed tip.
func (a *ethAPI) GasPrice() *hexutil.Big {
	price := a.s.chain.Genesis().BaseFee.ToBig()
	return (*hexutil.Big)(price.Add(price, big.NewInt(suggestedTip)))
}

// MaxPriorityFeePerGas returns the proposed tip.
func (a *ethAPI) MaxPriorityFeePerGas() hexutil.Uint64 { return suggestedTip }

// BaseFee returns the base fee of every block.
func (a *ethAPI) BaseFee() *hexutil.Big {
	return (*hexutil.Big)(a.s.chain.Genesis().BaseFee.ToBig())
}

// BlobBaseFee returns 1, the least there is: there are no blobs.
func (a *ethAPI) BlobBaseFee() hexutil.Uint64 { return 1 }

// FeeHistory is the answer of eth_feeHistory.
type FeeHistory struct {
	OldestBlock   hexutil.Uint64   `json:"oldestBlock"`
	BaseFeePerGas []*hexutil.Big   `json:"baseFeePerGas"` // one more than blocks: the next one's too
	GasUsedRatio  []float64        `json:"gasUsedRatio"`
	Reward        [][]*hexutil.Big `json:"reward,omitempty"` // tips at the asked percentiles of each block
}

// maxFeeBlocks and maxPercentiles are geth's limits of eth_feeHistory. For tips, whole blocks are read, which
// geth keeps the fees of and this node does not: maxTipBlocks is as many as it keeps decoded.
const (
	maxFeeBlocks   = 1024
	maxTipBlocks   = recentBlocks
	maxPercentiles = 100
)

// FeeHistory returns base fees, fullness and tips of count blocks up to newest, fewer when that is too many.
func (a *ethAPI) FeeHistory(ctx context.Context, count math.HexOrDecimal64, newest gethrpc.BlockNumber, asked *[]float64) (*FeeHistory, error) {
	var percentiles []float64
	if asked != nil {
		percentiles = *asked
	}
	if newest == gethrpc.PendingBlockNumber {
		newest = gethrpc.LatestBlockNumber
	}
	id, ok, err := a.s.canonical(newest)
	if err != nil {
		return nil, err
	}
	h := a.s.chain.HeaderByID(id)
	if !ok || h == nil {
		return nil, fmt.Errorf("request beyond head block: requested %d, head %d", newest, a.s.chain.Head().Number)
	}
	if err := checkPercentiles(percentiles); err != nil {
		return nil, err
	}
	if count == 0 {
		return &FeeHistory{BaseFeePerGas: []*hexutil.Big{}, GasUsedRatio: []float64{}}, nil
	}
	last := h.Number.Uint64()
	n := min(uint64(count), maxFeeBlocks, last+1)
	if len(percentiles) > 0 {
		n = min(n, maxTipBlocks)
	}
	ctx, cancel := context.WithTimeout(ctx, a.s.cfg.WriteTimeout-timeToWrite)
	defer cancel()
	g := a.s.chain.Genesis()
	fee := (*hexutil.Big)(g.BaseFee.ToBig())
	history := &FeeHistory{OldestBlock: hexutil.Uint64(last + 1 - n)}
	for number := last + 1 - n; number <= last; number++ {
		header := a.s.chain.SignedHeaderByNumber(number)
		if header == nil { // reorganised away meanwhile
			break
		}
		if ctx.Err() != nil {
			return nil, errTimeout
		}
		used, limit := header.Header().GasUsed, header.Header().GasLimit
		history.BaseFeePerGas = append(history.BaseFeePerGas, fee)
		history.GasUsedRatio = append(history.GasUsedRatio, float64(used)/float64(max(limit, 1)))
		if len(percentiles) > 0 {
			history.Reward = append(history.Reward, rewards(a.s.block(header.ID()), g, percentiles))
		}
	}
	history.BaseFeePerGas = append(history.BaseFeePerGas, fee)
	return history, nil
}

func checkPercentiles(percentiles []float64) error {
	if len(percentiles) > maxPercentiles {
		return fmt.Errorf("over the query limit %d percentiles", maxPercentiles)
	}
	for i, p := range percentiles {
		if p < 0 || p > 100 {
			return fmt.Errorf("invalid reward percentile: %f", p)
		}
		if i > 0 && p <= percentiles[i-1] {
			return fmt.Errorf("invalid reward percentile: #%d:%f >= #%d:%f", i-1, percentiles[i-1], i, p)
		}
	}
	return nil
}

// rewards returns the tip per gas below which each percentile of a block's gas was
// bought; zeros for an empty block.
func rewards(b *chain.Block, g *chain.Genesis, percentiles []float64) []*hexutil.Big {
	out := make([]*hexutil.Big, len(percentiles))
	for i := range out {
		out[i] = new(hexutil.Big)
	}
	if b == nil || len(b.Txs()) == 0 {
		return out
	}
	type sold struct {
		tip uint256.Int
		gas uint64
	}
	txs, total := make([]sold, 0, len(b.Txs())), uint64(0)
	for _, t := range b.Txs() {
		txs = append(txs, sold{t.EffectiveTip(g.BaseFee), t.GasUsed()})
		total += t.GasUsed()
	}
	slices.SortFunc(txs, func(a, b sold) int { return a.tip.Cmp(&b.tip) })
	i, sum := 0, txs[0].gas
	for k, p := range percentiles {
		for sum < uint64(float64(total)*p/100) && i < len(txs)-1 {
			i++
			sum += txs[i].gas
		}
		out[k] = (*hexutil.Big)(txs[i].tip.ToBig())
	}
	return out
}
