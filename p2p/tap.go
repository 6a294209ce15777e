package p2p

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pheme-net/pheme/p2p/trace"
)

// tap is the host that the pubsub of a topic is given: the node's own, with every gossip
// stream wrapped so that the instants of reading and writing are taken at the
// stream, before pubsub decodes, locks or queues anything. It also knows the
// open streams, so that stop can end pubsub's readers, which wait on nothing else.
type tap struct {
	host.Host
	clock trace.Clock
	tasks *tasks
	broke func(from *tapped, bytes int) // told of a message that broke off; nil: nobody is. Set before the first stream

	mu    sync.RWMutex
	peers map[peer.ID]*tapped
}

// tapped are the latest stamps of a peer's gossip streams. pubsub keeps one
// stream in each direction, each used by one goroutine.
type tapped struct {
	tag     uint64
	streams int                   // guarded by tap.mu
	first   atomic.Int64          // when the first byte of the last message was read
	read    atomic.Int64          // when the last Read returned
	write   atomic.Pointer[write] // the last
}

// write is one Write on a gossip stream. It is over when the stream has taken its last byte, which is when Write returns, or
// later on streams that pass messages on whole.
type write struct {
	begun int64 // when the stream took its first byte; set before Write returns

	mu   sync.Mutex
	over bool
	at   int64 // when
	err  error
	tell func(w *write) // who waits for it
}

// then has f called when the write is over, at once if it is.
func (w *write) then(f func(w *write)) {
	w.mu.Lock()
	over := w.over
	if !over {
		w.tell = f
	}
	w.mu.Unlock()
	if over {
		f(w)
	}
}

func (w *write) end(at int64, err error) {
	w.mu.Lock()
	w.over, w.at, w.err = true, at, err
	tell := w.tell
	w.mu.Unlock()
	if tell != nil {
		tell(w)
	}
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
	d.first.Store(now)
	d.read.Store(now)
	d.write.Store(&write{begun: now, over: true, at: now})
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
	if p, ok := s.(passer); ok {
		w.whole = p.PassWhole(wholeBytes, w.passed)
	}
	return w, nil
}

// passer is a stream that can take large messages off pubsub's hands, so that a process of many nodes need not hold what each of
// them is sending and receiving: see package virtual.
type passer interface {
	// PassWhole has each Write of least bytes or more return at once and sent called, in turn, when the stream has
	// taken the last of them, or with the error of that. False: it cannot.
	PassWhole(least int, sent func(error)) bool
}

// wholeBytes is what is worth it: less fits into a socket's buffer.
const wholeBytes = 16 << 10

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
		d.write.Store(&write{over: true})
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
	framer framer // of what is read
	whole  bool   // Write does not wait for messages of wholeBytes and more

	mu    sync.Mutex
	under []*write // such messages, not yet over
	freed int64    // when the last of them was
}

func (s *tapStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	now := s.tap.clock.Now()
	if s.framer.begins(b[:n]) {
		s.stamps.first.Store(now)
	}
	s.stamps.read.Store(now)
	if err != nil && s.tap.broke != nil {
		if got := s.framer.got + unread(err); got > 0 {
			s.framer.got = 0
			s.tap.broke(s.stamps, got)
		}
	}
	return n, err
}

// unread is how many bytes had come when a stream failed and were never read, as far as its error tells.
func unread(err error) int {
	var u interface{ Unread() int }
	if errors.As(err, &u) {
		return u.Unread()
	}
	return 0
}

func (s *tapStream) Write(b []byte) (int, error) {
	w := &write{begun: s.tap.clock.Now()}
	whole := s.whole && len(b) >= wholeBytes
	if whole {
		s.mu.Lock()
		s.under = append(s.under, w)
		s.mu.Unlock()
	}
	n, err := s.Stream.Write(b)
	now := s.tap.clock.Now()
	s.mu.Lock()
	w.begun = max(w.begun, min(now, s.freed)) // it waited for the one before
	if whole && err != nil {
		s.under = slices.DeleteFunc(s.under, func(u *write) bool { return u == w })
	}
	s.mu.Unlock()
	if !whole || err != nil {
		w.end(now, err)
	}
	s.stamps.write.Store(w)
	return n, err
}

// passed is told by the stream that the first message under way is over.
func (s *tapStream) passed(err error) {
	now := s.tap.clock.Now()
	s.mu.Lock()
	if len(s.under) == 0 {
		s.mu.Unlock()
		return
	}
	w := s.under[0]
	s.under = s.under[1:]
	s.freed = now
	s.mu.Unlock()
	w.end(now, err)
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

// framer follows messages, each with its length before it as an unsigned varint, through a stream's bytes.
type framer struct {
	left  uint64 // bytes of this message to come
	got   int    // bytes of it that came, its length too
	size  uint64 // as far as it was read
	shift uint   // bits of it
}

// begins takes the next bytes of the stream and says whether a message begins in them.
func (f *framer) begins(b []byte) (begins bool) {
	for len(b) > 0 {
		if f.left > 0 {
			skip := min(f.left, uint64(len(b)))
			f.left -= skip
			f.got += int(skip)
			if f.left == 0 {
				f.got = 0
			}
			b = b[skip:]
			continue
		}
		f.got++
		begins = begins || f.shift == 0
		f.size |= uint64(b[0]&0x7f) << f.shift
		if f.shift += 7; b[0] < 0x80 {
			f.left, f.size, f.shift = f.size, 0, 0
			if f.left == 0 {
				f.got = 0
			}
		}
		b = b[1:]
	}
	return begins
}
