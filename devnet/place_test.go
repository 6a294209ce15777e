package devnet

import (
	"math"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestPools: with cold pools only the proposer has a block's transactions, with half pools about half of the others has each, and
// in neither case does a transaction travel but in its block.
func TestPools(t *testing.T) {
	for pools, share := range map[string]float64{experiment.PoolsCold: 0, experiment.PoolsHalf: .5} {
		s := virtualSpec(6, 4, "lan")
		s.Load.Pools, s.Chain.BlockSize, s.Load.TxSize = pools, 64<<10, 512
		s.Repair.Interval = experiment.Duration(2e8) // several rounds a slot: they must find nothing
		s.Resolve()
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		r, err := newVirtualRun(virtualTask{Spec: s, Seed: 1, Dir: t.TempDir()}, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		sight, err := r.run()
		if err != nil {
			t.Fatal(err)
		}
		txs := s.TxsPerBlock() * (s.Load.Warmup + s.Load.Blocks)
		held := float64(r.outcome.Sent-txs) / float64(txs*(s.Net.Nodes-1))
		if math.Abs(held-share) > .05 || r.outcome.Refused > 0 {
			t.Errorf("%s pools: the others held %.3f of the transactions, want %.1f; %d were refused: %v", pools, held, share, r.outcome.Refused, r.outcome.Why)
		}
		placed, imported := 0, 0
		for _, n := range sight.Input.Nodes {
			for _, e := range n.Events {
				switch {
				case e.Kind == trace.TxPlaced:
					placed++
				case e.Kind == trace.BlockImported:
					imported++
				case e.Kind == trace.TxAdmitted, e.Kind == trace.MsgRead && e.Class == trace.ClassTx, e.Kind == trace.RepairEnd && e.Aux != 0:
					t.Fatalf("%s pools: a transaction came to %s by %s", pools, n.Name, e.Kind)
				}
			}
		}
		if placed != txs*s.Net.Nodes || imported < s.Net.Nodes*(s.Load.Warmup+s.Load.Blocks) {
			t.Errorf("%s pools: %d transactions in %d imported blocks, want %d", pools, placed, imported, txs*s.Net.Nodes)
		}
	}
}
