package p2p

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
)

// tasks knows the streams that are open and the handlers that run, which
// libp2p starts on goroutines of its own, so that Run can end and wait for them.
type tasks struct {
	ctx    context.Context // ends with stop; for handlers that wait
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	streams map[network.Stream]struct{}
	running sync.WaitGroup
}

func newTasks() *tasks {
	t := &tasks{streams: make(map[network.Stream]struct{})}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// open notes a stream that stop must reset; false: stop has begun.
func (t *tasks) open(s network.Stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return false
	}
	t.streams[s] = struct{}{}
	return true
}

// forget undoes open.
func (t *tasks) forget(s network.Stream) {
	t.mu.Lock()
	delete(t.streams, s)
	t.mu.Unlock()
}

// begin is open for a handler that stop must wait for; the handler calls end.
func (t *tasks) begin(s network.Stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return false
	}
	t.streams[s] = struct{}{}
	t.running.Add(1)
	return true
}

// end undoes begin.
func (t *tasks) end(s network.Stream) {
	t.forget(s)
	t.running.Done()
}

// stop resets every stream, refuses new ones and waits for the handlers.
func (t *tasks) stop() {
	t.cancel()
	t.mu.Lock()
	t.stopped = true
	all := make([]network.Stream, 0, len(t.streams))
	for s := range t.streams {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		_ = s.Reset() // it ends either way
	}
	t.running.Wait()
}
