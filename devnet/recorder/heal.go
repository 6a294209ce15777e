package recorder

import (
	"cmp"
	"slices"

	"github.com/pheme-net/pheme/p2p/trace"
)

// Healing is what nodes lacked of each other's transactions as a partition ended, and
// what it took to bring it.
type Healing struct {
	// Lacking is the true difference: the bytes of each transaction that the pool of
	// any node had taken by then, once for each node that was up and had it neither
	// from its pool nor in a block.
	Lacking int64
	// Repair is the bytes of repair that all nodes received in the horizon after it,
	// sessions with nothing to bring among them.
	Repair int64
	// Equal is the moment when the last of them had come; Whole is false when one
	// never did.
	Equal int64
	Whole bool
}

// Heal looks at the end of a partition.
func Heal(in Input, at int64) Healing {
	had := make([]map[[32]byte]bool, len(in.Nodes)) // by node, what it had
	size := map[[32]byte]int64{}                    // of all that any had
	h := Healing{Equal: at, Whole: true}
	var later []trace.Event
	for i, n := range in.Nodes {
		had[i] = map[[32]byte]bool{}
		for _, e := range n.Events {
			switch {
			case e.At > at && e.At <= at+int64(in.Horizon) && e.Kind == trace.MsgRead && e.Class == trace.ClassRepair:
				h.Repair += int64(e.Size)
			case e.At <= at && (e.Kind == trace.TxAdmitted || e.Kind == trace.TxPlaced):
				had[i][e.Hash] = true
				if e.Kind == trace.TxAdmitted {
					size[e.Hash] = int64(e.Size)
				}
			}
		}
	}
	for i, n := range in.Nodes {
		if n.Up != nil && !slices.ContainsFunc(n.Up, func(s Span) bool { return s.Has(at) }) {
			continue
		}
		lacks := map[[32]byte]bool{}
		for hash, bytes := range size {
			if !had[i][hash] {
				lacks[hash] = true
				h.Lacking += bytes
			}
		}
		later = later[:0]
		for _, e := range n.Events {
			if e.At > at && lacks[e.Hash] && (e.Kind == trace.TxAdmitted || e.Kind == trace.TxPlaced) {
				later = append(later, e)
			}
		}
		slices.SortFunc(later, func(a, b trace.Event) int { return cmp.Compare(a.At, b.At) })
		for _, e := range later {
			if lacks[e.Hash] {
				delete(lacks, e.Hash)
				h.Equal = max(h.Equal, e.At)
			}
		}
		h.Whole = h.Whole && len(lacks) == 0
	}
	return h
}
