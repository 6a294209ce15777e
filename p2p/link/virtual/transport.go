package virtual

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pheme-net/pheme/p2p/link"
)

// ErrRefused is the error of a dial to a node that does not listen.
var ErrRefused = errors.New("virtual: connection refused")

// ErrNoRoute is the error of a dial to an address outside the network.
var ErrNoRoute = errors.New("virtual: no such address")

// dialRetry is when a handshake packet is sent again; it doubles, as TCP's does
// (RFC 6298).
const dialRetry = time.Second

// Transport is one node's way into the Network, for a swarm. Dial takes one
// round trip. Without an upgrader its connections carry streams directly, with
// one they are byte streams that the upgrader secures and multiplexes.
type Transport struct {
	net  *Network
	node int
	up   transport.Upgrader
}

var _ transport.Transport = (*Transport)(nil)

// CanDial reports whether addr is TCP, which this network plays.
func (t *Transport) CanDial(addr ma.Multiaddr) bool {
	_, err := addr.ValueForProtocol(ma.P_TCP)
	return err == nil
}

// Protocols returns TCP's code.
func (t *Transport) Protocols() []int { return []int{ma.P_TCP} }

// Proxy reports that this transport leads to peers, not past them.
func (t *Transport) Proxy() bool { return false }

// dial is a handshake under way: a request until an answer comes.
type dial struct {
	from, to int
	done     chan struct{} // closed when pair or err is set

	mu   sync.Mutex
	pair *[2]*conn // made where the request arrived
	err  error
}

// arrive is called when one of the dial's packets has reached node at.
func (d *dial) arrive(n *Network, at int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at == d.from { // the answer
		select {
		case <-d.done:
		default:
			close(d.done)
		}
		return
	}
	if d.pair == nil && d.err == nil {
		if d.err = ErrRefused; n.listening(d.to) {
			pair := n.connect(d.from, d.to, n.stack)
			if !n.offer(d.to, pair[1]) { // like a full backlog: the request was never there
				_ = pair[1].Close()
				d.err = nil
				return
			}
			d.pair, d.err = pair, nil
		}
	}
	n.do(func(net *link.Net, now time.Time) { net.Datagram(now, d.to, d.from, link.PacketBytes, d, false) })
}

// Dial connects to the node that has the address, which must be p.
func (t *Transport) Dial(ctx context.Context, addr ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	pair, err := t.handshake(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := pair[0]
	if t.up != nil {
		raw, err := manet.WrapNetConn(ByteConn{c.raw})
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return t.up.Upgrade(ctx, t, raw, network.DirOutbound, p, &network.NullScope{})
	}
	if c.remote != p {
		return nil, errors.Join(sec.ErrPeerIDMismatch{Expected: p, Actual: c.remote}, c.Close())
	}
	return c, nil
}

func (t *Transport) handshake(ctx context.Context, addr ma.Multiaddr) (*[2]*conn, error) {
	to, ok := t.net.byAddr[string(addr.Bytes())]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoRoute, addr)
	}
	d := &dial{from: t.node, to: to, done: make(chan struct{})}
	retry := time.NewTimer(0)
	defer retry.Stop()
	for wait := dialRetry; ; wait *= 2 {
		t.net.do(func(net *link.Net, now time.Time) { net.Datagram(now, d.from, d.to, link.PacketBytes, d, false) })
		retry.Reset(wait)
		select {
		case <-d.done:
			return d.pair, d.err
		case <-ctx.Done():
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.pair != nil {
				_ = d.pair[0].Close()
			}
			if d.err == nil {
				d.err = ctx.Err()
			}
			return nil, fmt.Errorf("virtual: dial %s: %w", addr, ctx.Err())
		case <-retry.C:
		}
	}
}

// Listen accepts what is dialled to the node's address, whatever address is given.
func (t *Transport) Listen(ma.Multiaddr) (transport.Listener, error) {
	n := t.net
	l := &listener{tr: t, addr: n.nodes[t.node].addr}
	l.cond = sync.NewCond(&l.mu)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[t.node].listener != nil {
		return nil, fmt.Errorf("virtual: node %d listens already", t.node)
	}
	n.nodes[t.node].listener = l
	if t.up != nil {
		return t.up.UpgradeGatedMaListener(t, t.up.GateMaListener(rawListener{l})), nil
	}
	return l, nil
}

func (n *Network) listening(node int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[node].listener != nil
}

// offer hands a connection to the node's listener.
func (n *Network) offer(node int, c *conn) bool {
	n.mu.Lock()
	l := n.nodes[node].listener
	n.mu.Unlock()
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.waiting) == backlog {
		return false
	}
	l.waiting = append(l.waiting, c)
	l.cond.Signal()
	return true
}

// listener gives out the connections dialled to a node.
type listener struct {
	tr   *Transport
	addr ma.Multiaddr

	mu      sync.Mutex
	cond    *sync.Cond
	waiting []*conn
	closed  bool
}

// Accept waits for the next connection.
func (l *listener) Accept() (transport.CapableConn, error) {
	if c := l.next(); c != nil {
		return c, nil
	}
	return nil, transport.ErrListenerClosed
}

func (l *listener) next() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) == 0 && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	return c
}

// Close ends Accept and closes what nobody accepted.
func (l *listener) Close() error {
	n := l.tr.net
	n.mu.Lock()
	if n.nodes[l.tr.node].listener == l {
		n.nodes[l.tr.node].listener = nil
	}
	n.mu.Unlock()
	l.mu.Lock()
	waiting := l.waiting
	l.closed, l.waiting = true, nil
	l.cond.Broadcast()
	l.mu.Unlock()
	for _, c := range waiting {
		_ = c.Close()
	}
	return nil
}

// Addr returns the node's address.
func (l *listener) Addr() net.Addr { return tcpAddr(l.addr) }

// Multiaddr returns the node's address.
func (l *listener) Multiaddr() ma.Multiaddr { return l.addr }

// rawListener gives out byte streams, for an upgrader.
type rawListener struct{ *listener }

func (l rawListener) Accept() (manet.Conn, error) {
	c := l.next()
	if c == nil {
		return nil, net.ErrClosed
	}
	return manet.WrapNetConn(ByteConn{c.raw})
}

func tcpAddr(a ma.Multiaddr) net.Addr {
	addr, err := manet.ToNetAddr(a)
	if err != nil {
		panic("virtual: a node's address is no TCP address: " + err.Error()) // New made it
	}
	return addr
}
