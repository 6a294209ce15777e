package chain

import (
	"slices"
	"sync"
	"sync/atomic"
)

// watchers are the receivers of updates. The list is replaced, never changed, so
// that sending takes no lock.
type watchers struct {
	mu   sync.Mutex // serialises add and remove
	list atomic.Pointer[[]chan Update]
	lost atomic.Uint64
}

// Watch sends every Update that moved the head, after it is durable, before Add
// returns. An update that finds the channel full is lost to it and counted. The
// channel is never closed; the function ends the watch.
func (c *Chain) Watch(buffer int) (<-chan Update, func()) {
	ch := make(chan Update, max(buffer, 1))
	c.watchers.change(func(l []chan Update) []chan Update { return append(slices.Clone(l), ch) })
	return ch, func() {
		c.watchers.change(func(l []chan Update) []chan Update {
			return slices.DeleteFunc(slices.Clone(l), func(o chan Update) bool { return o == ch })
		})
	}
}

// UpdatesLost counts the updates that met a full watcher.
func (c *Chain) UpdatesLost() uint64 { return c.watchers.lost.Load() }

func (w *watchers) change(f func([]chan Update) []chan Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var old []chan Update
	if p := w.list.Load(); p != nil {
		old = *p
	}
	list := f(old)
	w.list.Store(&list)
}

func (w *watchers) send(u Update) {
	p := w.list.Load()
	if p == nil {
		return
	}
	for _, ch := range *p {
		select {
		case ch <- u:
		default:
			w.lost.Add(1)
		}
	}
}
