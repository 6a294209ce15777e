package workload

import (
	"slices"
	"testing"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/experiment"
)

// placed is a small experiment whose transactions are placed.
func placed(pools string) experiment.Spec {
	return spec(func(s *experiment.Spec) {
		s.Engine, s.Load.Pools, s.Load.Blocks, s.Net.Nodes = "virtual", pools, 2, 4
		s.Chain.BlockSize, s.Load.TxSize = 32<<10, 300
	})
}

// TestPlacedBlocks: every slot has the transactions of a full block, each sender's without a gap and in one slot alone, and no
// transaction is submitted.
func TestPlacedBlocks(t *testing.T) {
	s := placed(experiment.PoolsCold)
	p := plan(t, s, 3)
	if want := s.Load.Warmup + s.Load.Blocks; len(p.Blocks) != want {
		t.Fatalf("%d slots, want %d", len(p.Blocks), want)
	}
	home, next := map[string]int{}, map[string]uint64{}
	for slot, raws := range p.Blocks {
		if len(raws) != s.TxsPerBlock() {
			t.Fatalf("slot %d has %d transactions, want %d", slot, len(raws), s.TxsPerBlock())
		}
		for _, raw := range raws {
			tx, err := chain.DecodeTx(raw)
			if err != nil {
				t.Fatal(err)
			}
			from, err := tx.Sender(1337)
			if err != nil {
				t.Fatal(err)
			}
			if first, ok := home[from.Hex()]; ok && first != slot || tx.Nonce() != next[from.Hex()] {
				t.Fatalf("slot %d has nonce %d of %s, who is at home in slot %d, want nonce %d", slot, tx.Nonce(), from, first, next[from.Hex()])
			}
			home[from.Hex()], next[from.Hex()] = slot, tx.Nonce()+1
		}
	}
	for i, b := range p.Batches {
		if len(b) > 0 {
			t.Errorf("node %d is given transactions", i)
		}
	}
}

// TestHolds: half of the transactions are held, by a coin of each node, slot and transaction that falls the same way again.
func TestHolds(t *testing.T) {
	s := placed(experiment.PoolsHalf)
	draw := func(seed int64, slot, node int) (out []bool) {
		hold := Holds(s, seed, slot, node)
		for tx := range 1000 {
			out = append(out, hold(tx))
		}
		return out
	}
	base := draw(1, 0, 0)
	if !slices.Equal(base, draw(1, 0, 0)) {
		t.Error("the coin fell otherwise the second time")
	}
	agree := func(other []bool) (n int) {
		for i := range base {
			if base[i] == other[i] {
				n++
			}
		}
		return n
	}
	for name, other := range map[string][]bool{
		"all": slices.Repeat([]bool{true}, 1000), "seed": draw(2, 0, 0), "slot": draw(1, 1, 0), "node": draw(1, 0, 1), "node and slot": draw(1, 1, 1),
	} {
		if n := agree(other); n < 430 || n > 570 { // 4.4 standard deviations
			t.Errorf("%d of 1000 agree with %s, want about half", n, name)
		}
	}
	if s.Load.Pools = experiment.PoolsCold; slices.Contains(draw(1, 0, 0), true) {
		t.Error("a cold pool holds a transaction")
	}
}
