package load

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"runtime"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/devnet/stats"
)

// call is one request: its transactions, signed, and when it leaves, counted from the start.
type call struct {
	at   time.Duration
	raws [][]byte
}

// prepare asks the nodes for chain id, price and nonces, lays out the schedule and signs it.
func (r *run) prepare(ctx context.Context) error {
	target := r.cfg.Targets[0]
	id, err := target.ChainID(ctx)
	if err != nil {
		return fmt.Errorf("ask %s for its chain id: %w", target.Target(), err)
	}
	var price hexutil.Big
	if err := target.Call(ctx, &price, "eth_gasPrice"); err != nil {
		return fmt.Errorf("ask %s for its gas price: %w", target.Target(), err)
	}
	r.total = int(r.cfg.Rate * r.cfg.Duration.Seconds())
	r.plan = layOut(r.total, len(r.cfg.Keys), r.cfg.Batch, r.cfg.Rate)
	signer := types.LatestSignerForChainID(id)
	data := make([]byte, r.cfg.Data)
	for i := range data {
		data[i] = byte(1 + i%255)
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for a, calls := range r.plan {
		g.Go(func() error {
			from := crypto.PubkeyToAddress(r.cfg.Keys[a].PublicKey)
			to := crypto.PubkeyToAddress(r.cfg.Keys[(a+1)%len(r.cfg.Keys)].PublicKey)
			nonce, err := r.cfg.Targets[a%len(r.cfg.Targets)].Nonce(ctx, from)
			if err != nil {
				return fmt.Errorf("ask for the nonce of %s: %w", from, err)
			}
			for _, c := range calls {
				for i := range c.raws {
					tx, err := types.SignNewTx(r.cfg.Keys[a], signer, &types.DynamicFeeTx{
						ChainID: id, Nonce: nonce, Gas: 21_000 + 40*uint64(len(data)), // EIP-7623's floor for data
						GasTipCap: big.NewInt(1_000_000_000), GasFeeCap: new(big.Int).Add(new(big.Int).Lsh(price.ToInt(), 1), big.NewInt(2_000_000_000)),
						To: &to, Value: big.NewInt(1), Data: data,
					})
					if err != nil {
						return fmt.Errorf("sign: %w", err)
					}
					if c.raws[i], err = tx.MarshalBinary(); err != nil {
						return fmt.Errorf("encode: %w", err)
					}
					nonce++
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// layOut spreads total transactions over accounts: call after call is given to the next account, and
// leaves when the last of its transactions would have left at the rate, so that a batch holds
// nothing from the future.
func layOut(total, accounts, batch int, rate float64) [][]call {
	plan := make([][]call, accounts)
	for i, a := 0, 0; i < total; a = (a + 1) % accounts {
		n := min(batch, total-i)
		i += n
		at := time.Duration(float64(i-1) / rate * float64(time.Second))
		plan[a] = append(plan[a], call{at, make([][]byte, n)})
	}
	return plan
}

// result computes the figures.
func (r *run) result() *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &Result{
		Sent: r.count, Accepted: len(r.accepted), Refused: r.refused, Wanted: r.cfg.Rate, Late: ms(r.late),
		Batch: r.cfg.Batch, Targets: len(r.cfg.Targets), Watch: ms(watchEvery),
	}
	if took := r.last.Sub(r.start).Seconds(); took > 0 {
		out.Rate = float64(len(r.accepted)) / took
	}
	var submit, include []float64
	for _, s := range r.accepted {
		submit = append(submit, s.submitted)
		if at, in := r.blocks[s.hash]; in {
			out.Included++
			include = append(include, ms(at.Sub(s.due)))
		} else {
			include = append(include, math.Inf(1))
		}
	}
	if !r.cfg.Include {
		include = nil
	}
	out.Submit, out.Include = latency(submit), latency(include)
	return out
}

func latency(samples []float64) Latency {
	slices.Sort(samples)
	at := func(q float64) stats.Number { return stats.Number(stats.Percentile(samples, q)) }
	return Latency{at(.5), at(.95), at(.99), at(1)}
}
