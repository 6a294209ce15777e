package node

import (
	"sync"

	"github.com/pheme-net/pheme/p2p/trace"
	"github.com/pheme-net/pheme/rpc"
)

// broadcast copies events to those who follow the node live. A follower that lags loses events
// and is told how many; nobody waits for it.
type broadcast struct {
	clock trace.Clock

	mu        sync.RWMutex
	followers map[*follower]struct{}
}

type follower struct {
	mu   sync.Mutex
	lost uint64
	ch   chan rpc.TraceEvent
}

func newBroadcast(clock trace.Clock) *broadcast {
	return &broadcast{clock: clock, followers: make(map[*follower]struct{})}
}

// emit is the trace hook.
func (b *broadcast) emit(e trace.Event) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if len(b.followers) == 0 {
		return
	}
	out := rpc.TraceEvent{
		At: e.At, Wall: b.clock.Wall(e.At), Kind: e.Kind.String(), Class: e.Class.String(),
		Hash: e.Hash, Peer: e.Peer, Size: e.Size, Aux: e.Aux,
	}
	for f := range b.followers {
		f.offer(out)
	}
}

func (f *follower) offer(e rpc.TraceEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.Lost = f.lost
	select {
	case f.ch <- e:
		f.lost = 0
	default:
		f.lost++
	}
}

// Clock reads the clock that stamps the events.
func (b *broadcast) Clock() rpc.ClockReading {
	at := b.clock.Now()
	return rpc.ClockReading{At: at, Wall: b.clock.Wall(at)}
}

// SubscribeTrace returns events as they happen and a function that ends it.
func (b *broadcast) SubscribeTrace(buffer int) (<-chan rpc.TraceEvent, func()) {
	f := &follower{ch: make(chan rpc.TraceEvent, max(1, buffer))}
	b.mu.Lock()
	b.followers[f] = struct{}{}
	b.mu.Unlock()
	return f.ch, func() {
		b.mu.Lock()
		delete(b.followers, f)
		b.mu.Unlock()
	}
}
