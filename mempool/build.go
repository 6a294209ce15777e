package mempool

import (
	"container/heap"

	"github.com/pheme-net/pheme/chain"
)

// framing is the most that one transaction costs in a block beside its own bytes: its RLP head.
const framing = 4

// build picks executable transactions for a block of at most maxBytes and gas: the highest tip
// first, of equals the earliest, each sender's in the order of its nonces.
func (c *core) build(maxBytes int, gas uint64) []*chain.Tx {
	next := make(heads, 0, len(c.tails))
	for _, a := range c.tails {
		next = append(next, head{a.txs, a.exec, 0})
	}
	heap.Init(&next)
	var out []*chain.Tx
	for len(next) > 0 && gas > 0 && maxBytes > 0 {
		h := &next[0]
		tx := h.txs[h.at].tx
		if size := tx.Size() + framing; size > maxBytes || tx.Inner().Gas() > gas {
			heap.Pop(&next) // the sender's later ones cannot go without this one
			continue
		}
		out = append(out, tx)
		maxBytes -= tx.Size() + framing
		gas -= tx.Inner().Gas()
		if h.at++; h.at == h.exec {
			heap.Pop(&next)
		} else {
			heap.Fix(&next, 0)
		}
	}
	return out
}

// head is where block building stands in one sender's queue.
type head struct {
	txs  []*entry
	exec int
	at   int
}

type heads []head

func (h heads) Len() int { return len(h) }
func (h heads) Less(i, j int) bool {
	a, b := h[i].txs[h[i].at], h[j].txs[h[j].at]
	if c := a.tip.Cmp(&b.tip); c != 0 {
		return c > 0
	}
	return a.seq < b.seq
}
func (h heads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)   { *h = append(*h, x.(head)) }
func (h *heads) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
