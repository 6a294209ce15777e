package p2p

import (
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/pheme-net/pheme/p2p/trace"
)

// countedStream counts the bytes of a stream of ours.
type countedStream struct {
	network.Stream
	meter   *meter
	class   trace.Class
	tag     uint64       // of the peer
	in, out atomic.Int64 // bytes
}

// counted counts a stream as ClassSync.
func (n *Net) counted(s network.Stream) *countedStream { return n.countedAs(s, trace.ClassSync) }

func (n *Net) countedAs(s network.Stream, class trace.Class) *countedStream {
	return &countedStream{Stream: s, meter: &n.meter, class: class, tag: trace.PeerTag(s.Conn().RemotePeer().String())}
}

func (s *countedStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.meter.in[s.class].Add(uint64(n))
	s.in.Add(int64(n))
	return n, err
}

func (s *countedStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	s.meter.out[s.class].Add(uint64(n))
	s.out.Add(int64(n))
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
