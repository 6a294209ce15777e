package workload

import (
	"math/rand/v2"

	"github.com/pheme-net/pheme/devnet/accounts"
	"github.com/pheme-net/pheme/devnet/experiment"
)

// place plans what is put into pools instead of submitted: for each slot from the first warm-up on, the transactions of one full
// block. Their senders appear in no other slot, so that a slot without a block leaves no gap in anybody's nonces.
func (p *Plan) place(spec experiment.Spec, seed int64, chainID uint64) (err error) {
	block, blocks := spec.TxsPerBlock(), spec.Load.Warmup+spec.Slots()
	senders := (block + maxQueued - 1) / maxQueued // of a slot
	if p.Senders, err = accounts.Derive(accounts.Mnemonic, senders*blocks); err != nil {
		return err
	}
	entries := make([]entry, 0, blocks*block)
	for slot := range blocks {
		for i := range block {
			entries = append(entries, entry{sender: slot*senders + i%senders, nonce: uint64(i / senders), tip: gwei + int64(block-i)})
		}
	}
	raws, err := sign(entries, p.Senders, p.TxSize, chainID, seed)
	if err != nil {
		return err
	}
	p.Txs = len(raws)
	for slot := range blocks {
		p.Blocks = append(p.Blocks, raws[slot*block:(slot+1)*block])
	}
	return nil
}

// Holds says which of the transactions of slot i, counted as Plan.Blocks is, a node holds beforehand: with pools = "half" each with
// probability 1/2, independent of all others; with "cold" none. The proposer, who needs them, is the caller's to know.
func Holds(spec experiment.Spec, seed int64, i, node int) func(tx int) bool {
	if spec.Load.Pools != experiment.PoolsHalf {
		return func(int) bool { return false }
	}
	rng := rand.New(rand.NewPCG(uint64(seed), 0x706f6f6c73<<24^uint64(i)<<32^uint64(node)))
	draws := make([]uint64, 0, 8)
	return func(tx int) bool {
		for len(draws) <= tx/64 {
			draws = append(draws, rng.Uint64())
		}
		return draws[tx/64]>>(tx%64)&1 == 1
	}
}
