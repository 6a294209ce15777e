package mempool

import "container/heap"

// tails is a heap of the accounts that have something in one pool, by the tip of
// their tail there: the lowest first, of equals the latest to arrive. Only a tail
// can be evicted without leaving a gap, so the root is the next to go.
type tails struct {
	pool int
	list []*account
}

// Len implements heap.Interface, like the methods below.
func (t *tails) Len() int { return len(t.list) }

func (t *tails) Less(i, j int) bool {
	a, b := t.list[i].tail(t.pool), t.list[j].tail(t.pool)
	if c := a.tip.Cmp(&b.tip); c != 0 {
		return c < 0
	}
	return a.seq > b.seq
}

func (t *tails) Swap(i, j int) {
	t.list[i], t.list[j] = t.list[j], t.list[i]
	t.list[i].place[t.pool], t.list[j].place[t.pool] = i, j
}

func (t *tails) Push(x any) {
	a := x.(*account)
	a.place[t.pool] = len(t.list)
	t.list = append(t.list, a)
}

func (t *tails) Pop() any {
	last := len(t.list) - 1
	a := t.list[last]
	t.list[last] = nil
	t.list = t.list[:last]
	a.place[t.pool] = -1
	return a
}

// fix puts an account whose queue changed where it belongs, in or out.
func (t *tails) fix(a *account) {
	switch i := a.place[t.pool]; {
	case len(a.queue[t.pool]) == 0:
		t.leave(a)
	case i < 0:
		heap.Push(t, a)
	default:
		heap.Fix(t, i)
	}
}

// leave takes an account out, whether or not it has a tail to be compared by.
func (t *tails) leave(a *account) {
	i, last := a.place[t.pool], len(t.list)-1
	if i < 0 {
		return
	}
	t.Swap(i, last)
	t.Pop()
	if i != last {
		heap.Fix(t, i)
	}
}
