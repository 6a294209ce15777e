package p2p

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/p2p/trace"
)

// countedStream counts the bytes of a stream of ours as ClassSync.
type countedStream struct {
	network.Stream
	meter *meter
	tag   uint64 // of the peer
}

func (n *Net) counted(s network.Stream) *countedStream {
	return &countedStream{s, &n.meter, trace.PeerTag(s.Conn().RemotePeer().String())}
}

func (s *countedStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.meter.in[trace.ClassSync].Add(uint64(n))
	return n, err
}

func (s *countedStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	s.meter.out[trace.ClassSync].Add(uint64(n))
	return n, err
}

// inbox collects values from callbacks that must not block for a loop that may.
// A value that is in it already is not put in twice.
type inbox[T comparable] struct {
	wake chan struct{} // one token: the inbox is not empty

	mu  sync.Mutex
	set map[T]struct{}
}

func newInbox[T comparable]() *inbox[T] {
	return &inbox[T]{wake: make(chan struct{}, 1), set: make(map[T]struct{})}
}

func (s *inbox[T]) put(v T) {
	s.mu.Lock()
	s.set[v] = struct{}{}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *inbox[T]) take() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]T, 0, len(s.set))
	for v := range s.set {
		out = append(out, v)
	}
	clear(s.set)
	return out
}
