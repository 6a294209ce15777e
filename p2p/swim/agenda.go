package swim

import (
	"container/heap"
	"time"
)

// due is one thing to do at a time. Things that no longer matter stay until then
// and find out for themselves.
type due struct {
	at  time.Time
	seq uint64 // keeps the order of equal times
	do  func(now time.Time)
}

// agenda is what is to be done, by time.
type agenda struct {
	items []due
	seq   uint64
}

func (a *agenda) Len() int { return len(a.items) }
func (a *agenda) Less(i, j int) bool {
	x, y := &a.items[i], &a.items[j]
	if !x.at.Equal(y.at) {
		return x.at.Before(y.at)
	}
	return x.seq < y.seq
}
func (a *agenda) Swap(i, j int) { a.items[i], a.items[j] = a.items[j], a.items[i] }
func (a *agenda) Push(v any)    { a.items = append(a.items, v.(due)) }
func (a *agenda) Pop() any {
	last := len(a.items) - 1
	d := a.items[last]
	a.items[last] = due{}
	a.items = a.items[:last]
	return d
}

func (a *agenda) add(at time.Time, do func(now time.Time)) {
	a.seq++
	heap.Push(a, due{at, a.seq, do})
}

// run does everything due by now, each at its own time.
func (a *agenda) run(now time.Time) {
	for len(a.items) > 0 && !a.items[0].at.After(now) {
		heap.Pop(a).(due).do(now)
	}
}
