package recorder

import "github.com/pheme-net/pheme/p2p/trace"

// Pending says whether a counted message may still arrive after now: its horizon has not passed and a
// node of E(m) has not imported the block, or has the transaction neither in its pool nor in a block,
// after which no pool takes it.
func Pending(in Input, now int64) bool {
	type birth struct {
		at     int64
		origin int
	}
	births := map[[32]byte]birth{}
	for i, n := range in.Nodes {
		for _, e := range n.Events {
			if e.Kind != trace.BlockSealed && e.Kind != trace.TxSubmitted {
				continue
			}
			if b, ok := births[e.Hash]; !ok || e.At < b.at {
				births[e.Hash] = birth{e.At, i}
			}
		}
	}
	for hash, b := range births {
		if !in.Window.Has(b.at) || b.at+int64(in.Horizon) <= now {
			delete(births, hash)
		}
	}
	j, has := &join{in: in}, map[[32]byte]bool{}
	for i, n := range in.Nodes {
		clear(has)
		for _, e := range n.Events {
			switch e.Kind {
			case trace.BlockImported, trace.TxAdmitted, trace.TxPlaced:
				has[e.Hash] = true
			}
		}
		for hash, b := range births {
			if i != b.origin && !has[hash] && j.expected(i, b.at) {
				return true
			}
		}
	}
	return false
}
