package mempool

import (
	"container/heap"
	"slices"

	"github.com/holiman/uint256"
)

// makeRoom evicts tails, cheapest first, until e fits into the executable pool. When e does not pay
// enough it changes nothing.
func (c *core) makeRoom(e *entry) error {
	var out []*entry
	fees := new(uint256.Int)
	for c.execs+1 > c.cfg.MaxCount || c.bytes+e.tx.Size() > c.cfg.MaxBytes {
		if len(c.tails) == 0 {
			c.undo(out)
			return ErrFull
		}
		victim := c.tails[0].tail()
		fees.Add(fees, victim.fee())
		if victim.sender == e.sender || !e.tip.Gt(&victim.tip) || e.fee().Lt(fees) {
			c.undo(out)
			return ErrUnderpriced
		}
		out = append(out, victim)
		c.demote(victim.sender)
	}
	for _, victim := range out {
		c.remove(victim)
	}
	return nil
}

// undo raises again what makeRoom demoted.
func (c *core) undo(out []*entry) {
	for _, e := range slices.Backward(out) {
		c.raise(e.sender)
	}
}

// makeFutureRoom evicts future transactions with a lower tip until e fits.
func (c *core) makeFutureRoom(e *entry) error {
	for len(c.futures)+1 > c.cfg.MaxFuture || c.ahead+e.tx.Size() > c.cfg.MaxFutureBytes {
		if len(c.futures) == 0 || !e.tip.Gt(&c.futures[0].tip) {
			return ErrFull
		}
		c.remove(c.futures[0])
	}
	return nil
}

// trimFuture holds the future pool to its caps after executable ones fell back into it.
func (c *core) trimFuture() {
	for len(c.futures) > c.cfg.MaxFuture || c.ahead > c.cfg.MaxFutureBytes {
		c.remove(c.futures[0])
	}
}

// futures is a heap of the future transactions by tip; of equals, the latest comes out first.
type futures []*entry

func (f futures) Len() int { return len(f) }
func (f futures) Less(i, j int) bool {
	if c := f[i].tip.Cmp(&f[j].tip); c != 0 {
		return c < 0
	}
	return f[i].seq > f[j].seq
}
func (f futures) Swap(i, j int) {
	f[i], f[j] = f[j], f[i]
	f[i].heap, f[j].heap = i, j
}
func (f *futures) Push(x any) {
	e := x.(*entry)
	e.heap = len(*f)
	*f = append(*f, e)
}
func (f *futures) Pop() any {
	last := len(*f) - 1
	e := (*f)[last]
	(*f)[last] = nil
	*f = (*f)[:last]
	e.heap = -1
	return e
}

// tails is a heap of the accounts that have executable transactions, by the tip of the tail; of
// equals, the latest comes out first.
type tails []*account

func (t tails) Len() int { return len(t) }
func (t tails) Less(i, j int) bool {
	a, b := t[i].tail(), t[j].tail()
	if c := a.tip.Cmp(&b.tip); c != 0 {
		return c < 0
	}
	return a.seq > b.seq
}
func (t tails) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].heap, t[j].heap = i, j
}
func (t *tails) Push(x any) {
	a := x.(*account)
	a.heap = len(*t)
	*t = append(*t, a)
}
func (t *tails) Pop() any {
	last := len(*t) - 1
	a := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	a.heap = -1
	return a
}

// fix puts an account where its tail belongs, in or out.
func (t *tails) fix(a *account) {
	switch {
	case a.exec > 0 && a.heap < 0:
		heap.Push(t, a)
	case a.exec > 0:
		heap.Fix(t, a.heap)
	case a.heap >= 0:
		// Less must not look at an account without a tail: take it out by hand.
		i, last := a.heap, len(*t)-1
		if i != last {
			t.Swap(i, last)
		}
		t.Pop()
		if i != last {
			heap.Fix(t, i)
		}
	}
}
