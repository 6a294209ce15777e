package p2p

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pheme-net/pheme/p2p/trace"
)

// tap is the host that pubsub is given: the node's own, with every gossip
// stream wrapped so that the instants of reading and writing are taken at the
// stream, before pubsub decodes, locks or queues anything. It also knows the
// open streams, so that stop can end pubsub's readers, which wait on nothing else.
type tap struct {
	host.Host
	clock trace.Clock
	tasks *tasks

	mu    sync.RWMutex
	peers map[peer.ID]*tapped
}

// tapped are the latest stamps of a peer's gossip streams. pubsub keeps one
// stream in each direction, each used by one goroutine.
type tapped struct {
	tag      uint64
	streams  int          // guarded by tap.mu
	read     atomic.Int64 // when the last Read returned
	writing  atomic.Int64 // when the last Write began
	written  atomic.Int64 // when it returned
	writeErr atomic.Bool  // it failed
}

func newTap(h host.Host, clock trace.Clock, t *tasks) *tap {
	return &tap{Host: h, clock: clock, tasks: t, peers: make(map[peer.ID]*tapped)}
}

// of returns the stamps of a peer; never nil.
func (t *tap) of(p peer.ID) *tapped {
	t.mu.RLock()
	d := t.peers[p]
	t.mu.RUnlock()
	if d != nil {
		return d
	}
	now := t.clock.Now() // its streams are gone: the present is the best there is
	d = &tapped{tag: trace.PeerTag(p.String())}
	d.read.Store(now)
	d.writing.Store(now)
	d.written.Store(now)
	return d
}

// NewStream opens a gossip stream.
func (t *tap) NewStream(ctx context.Context, p peer.ID, protos ...protocol.ID) (network.Stream, error) {
	s, err := t.Host.NewStream(ctx, p, protos...)
	if err != nil {
		return nil, err
	}
	w := t.wrap(s)
	if !t.tasks.open(w) {
		w.drop()
		_ = s.Reset()
		return nil, context.Canceled
	}
	return w, nil
}

// SetStreamHandler registers pubsub's reader.
func (t *tap) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	t.Host.SetStreamHandler(id, func(s network.Stream) {
		w := t.wrap(s)
		defer w.drop()
		if !t.tasks.begin(w) {
			_ = s.Reset()
			return
		}
		defer t.tasks.end(w)
		handle(w)
	})
}

func (t *tap) wrap(s network.Stream) *tapStream {
	p := s.Conn().RemotePeer()
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.peers[p]
	if d == nil {
		d = &tapped{tag: trace.PeerTag(p.String())}
		t.peers[p] = d
	}
	d.streams++
	return &tapStream{Stream: s, tap: t, stamps: d}
}

// tapStream stamps what passes.
type tapStream struct {
	network.Stream
	tap    *tap
	stamps *tapped
	gone   sync.Once
}

func (s *tapStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.stamps.read.Store(s.tap.clock.Now())
	return n, err
}

func (s *tapStream) Write(b []byte) (int, error) {
	s.stamps.writing.Store(s.tap.clock.Now())
	n, err := s.Stream.Write(b)
	s.stamps.written.Store(s.tap.clock.Now())
	s.stamps.writeErr.Store(err != nil)
	return n, err
}

func (s *tapStream) Reset() error {
	s.drop()
	return s.Stream.Reset()
}

func (s *tapStream) Close() error {
	s.drop()
	return s.Stream.Close()
}

// drop forgets the stream, and the peer with its last one.
func (s *tapStream) drop() {
	s.gone.Do(func() {
		s.tap.tasks.forget(s)
		s.tap.mu.Lock()
		defer s.tap.mu.Unlock()
		if s.stamps.streams--; s.stamps.streams == 0 {
			delete(s.tap.peers, s.Conn().RemotePeer())
		}
	})
}
