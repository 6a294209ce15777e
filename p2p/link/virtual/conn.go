package virtual

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pheme-net/pheme/p2p/link"
)

// errCut is why the network ended a connection.
var errCut = errors.New("virtual: cut off for too long")

// backlog is how many streams, and how many connections, may wait to be
// accepted: yamux's bound.
const backlog = 256

// conn is one end of a connection: multiplexed streams without security or
// framing, whose peers are who the network says.
type conn struct {
	net  *Network
	link *link.Conn
	side int
	tr   *Transport
	peer *conn
	raw  *stream // the only stream of a connection under an upgrader

	local, remote         peer.ID
	remoteKey             crypto.PubKey
	localAddr, remoteAddr ma.Multiaddr

	mu      sync.Mutex
	cond    *sync.Cond
	waiting []*stream       // opened by the peer, to be accepted
	streams map[*stream]int // each with its number
	opened  int             // of the next one
	err     error           // set when closed
}

// ends returns the two ends of a connection.
func ends(c *link.Conn) *[2]*conn { return c.Tag.(*[2]*conn) }

// connect makes a connection between two nodes.
func (n *Network) connect(from, to int, stack Stack) *[2]*conn {
	var c *link.Conn
	pair := &[2]*conn{}
	n.do(func(net *link.Net, now time.Time) {
		c = net.Connect(now, from, to)
		c.Tag = pair
		for side, i := range []int{from, to} {
			j := []int{to, from}[side]
			e := &conn{net: n, link: c, side: side, tr: n.nodes[i].tr, streams: map[*stream]int{}}
			e.local, e.remote, e.remoteKey = n.nodes[i].id, n.nodes[j].id, n.nodes[j].key
			e.localAddr, e.remoteAddr = n.nodes[i].addr, n.nodes[j].addr
			e.cond = sync.NewCond(&e.mu)
			pair[side] = e
		}
	})
	pair[0].peer, pair[1].peer = pair[1], pair[0]
	if stack == Secured {
		pair[0].raw, pair[1].raw = newStreams(pair[0], pair[1], false)
		for _, e := range pair {
			e.streams[e.raw] = 0
		}
	}
	return pair
}

// openedKey is the context's key of a **stream that takes what OpenStream makes, which a swarm hides from its host.
type openedKey struct{}

// OpenStream makes a stream that the peer learns of one way later.
func (c *conn) OpenStream(ctx context.Context) (network.MuxedStream, error) {
	s, theirs := newStreams(c, c.peer, true)
	c.peer.add(theirs)
	if err := c.add(s); err != nil {
		return nil, err
	}
	if opened, ok := ctx.Value(openedKey{}).(**stream); ok {
		*opened = s
	}
	return s, nil
}

// add takes a stream in, to be ended with the connection.
func (c *conn) add(s *stream) error {
	c.mu.Lock()
	err := c.err
	if err == nil {
		c.streams[s] = c.opened
		c.opened++
	}
	c.mu.Unlock()
	if err != nil {
		s.fail(err)
	}
	return err
}

func (c *conn) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s)
}

// accept queues a stream the peer has opened.
func (c *conn) accept(s *stream) {
	c.mu.Lock()
	full := len(c.waiting) == backlog
	if c.err == nil && !full {
		c.waiting = append(c.waiting, s)
		c.cond.Signal()
	}
	c.mu.Unlock()
	if full {
		_ = s.Reset()
	}
}

// AcceptStream waits for the next stream of the peer.
func (c *conn) AcceptStream() (network.MuxedStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) == 0 && c.err == nil {
		c.cond.Wait()
	}
	if c.err != nil {
		return nil, c.err
	}
	s := c.waiting[0]
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	return s, nil
}

// Close ends the connection and its streams at once; the peer hears of it one
// way later.
func (c *conn) Close() error { return c.CloseWithError(network.ConnNoError) }

// CloseWithError does the same and tells the peer a reason.
func (c *conn) CloseWithError(code network.ConnErrorCode) error {
	c.net.do(func(net *link.Net, now time.Time) { net.Close(now, c.link, c.side, uint32(code)) })
	c.fail(&network.ConnError{ErrorCode: code})
	return nil
}

func (c *conn) closedByNetwork(code uint32) {
	err := &network.ConnError{Remote: true, ErrorCode: network.ConnErrorCode(code)}
	if code == link.CodeTimeout {
		err = &network.ConnError{ErrorCode: math.MaxUint32, TransportError: errCut}
	}
	c.fail(err)
}

func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	streams := c.streams
	c.streams, c.waiting = nil, nil
	c.cond.Broadcast()
	c.mu.Unlock()
	inOrder := slices.SortedFunc(maps.Keys(streams), func(a, b *stream) int { return streams[a] - streams[b] })
	for _, s := range inOrder { // so that a run in which nodes die repeats
		s.fail(err)
	}
}

// IsClosed reports whether the connection has ended at this end.
func (c *conn) IsClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// The rest is what libp2p wants to know of a connection.

func (c *conn) As(any) bool                    { return false }
func (c *conn) LocalPeer() peer.ID             { return c.local }
func (c *conn) RemotePeer() peer.ID            { return c.remote }
func (c *conn) RemotePublicKey() crypto.PubKey { return c.remoteKey }
func (c *conn) LocalMultiaddr() ma.Multiaddr   { return c.localAddr }
func (c *conn) RemoteMultiaddr() ma.Multiaddr  { return c.remoteAddr }
func (c *conn) Scope() network.ConnScope       { return &network.NullScope{} }
func (c *conn) Transport() transport.Transport { return c.tr }
func (c *conn) ConnState() network.ConnectionState {
	return network.ConnectionState{Transport: "virtual"}
}
