package mempool

import (
	"container/heap"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/pheme-net/pheme/chain"
)

// lines are the executable queues at one moment, one slice a sender.
type lines [][]*entry

// lines copies the executable queues, so that picking from them needs no lock.
func (c *core) lines() lines {
	all := make([]*entry, 0, c.used[executable].count)
	out := make(lines, 0, len(c.tails[executable].list))
	for _, a := range c.tails[executable].list {
		from := len(all)
		all = append(all, a.queue[executable]...)
		out = append(out, all[from:len(all):len(all)])
	}
	return out
}

// Len implements heap.Interface, like the methods below: the line whose first
// entry pays most comes first.
func (l lines) Len() int           { return len(l) }
func (l lines) Less(i, j int) bool { return better(l[i][0], l[j][0]) < 0 }
func (l lines) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *lines) Push(x any)        { *l = append(*l, x.([]*entry)) }
func (l *lines) Pop() any {
	last := len(*l) - 1
	x := (*l)[last]
	*l = (*l)[:last]
	return x
}

const (
	listHead = 4      // longest RLP head of the list of a block's transactions
	minGas   = 21_000 // of the cheapest transaction
	minSize  = 100    // bytes of the shortest signed transfer, less a margin
)

// pick takes transactions for a block of at most maxBytes and gas: the highest
// effective tip first, of equals the earliest, each sender's by nonce. It uses l up.
func pick(l lines, maxBytes int, gas uint64) []*chain.Tx {
	var out []*chain.Tx
	heap.Init(&l)
	left := maxBytes - listHead
	for len(l) > 0 && left >= minSize && gas >= minGas {
		tx := l[0][0].tx
		size := int(rlp.BytesSize(tx.Raw()))
		if size > left || tx.GasUsed() > gas {
			heap.Pop(&l) // those behind it cannot go without it
			continue
		}
		out = append(out, tx)
		left -= size
		gas -= tx.GasUsed()
		if l[0] = l[0][1:]; len(l[0]) == 0 {
			heap.Pop(&l)
		} else {
			heap.Fix(&l, 0)
		}
	}
	return out
}
