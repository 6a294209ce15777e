package p2p

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
)

// wire counts the bytes of all connections of a host. TCP is counted by a
// wrapped connection below security and muxer. QUIC counts its packets itself:
// what open connections report is added to what closed ones had reported.
type wire struct {
	in, out atomic.Uint64

	mu   sync.Mutex
	quic map[network.Conn]*quic.Conn // open QUIC connections
}

func newWire() *wire { return &wire{quic: make(map[network.Conn]*quic.Conn)} }

func (w *wire) total() (in, out uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in, out = w.in.Load(), w.out.Load()
	for _, c := range w.quic {
		s := c.ConnectionStats()
		in += s.BytesReceived
		out += s.BytesSent
	}
	return in, out
}

// Connected and Disconnected are network.Notifiee's; the rest of it is not needed.
func (w *wire) Connected(_ network.Network, c network.Conn) {
	var q *quic.Conn
	if c.As(&q) {
		w.mu.Lock()
		w.quic[c] = q
		w.mu.Unlock()
	}
}

func (w *wire) Disconnected(_ network.Network, c network.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if q := w.quic[c]; q != nil {
		s := q.ConnectionStats()
		w.in.Add(s.BytesReceived)
		w.out.Add(s.BytesSent)
		delete(w.quic, c)
	}
}

func (w *wire) Listen(network.Network, ma.Multiaddr)      {}
func (w *wire) ListenClose(network.Network, ma.Multiaddr) {}

// countingUpgrader puts the byte counter under every TCP connection, dialled or
// accepted.
type countingUpgrader struct {
	transport.Upgrader
	wire *wire
}

func (u countingUpgrader) GateMaListener(l manet.Listener) transport.GatedMaListener {
	return u.Upgrader.GateMaListener(countingListener{l, u.wire})
}

func (u countingUpgrader) Upgrade(ctx context.Context, t transport.Transport, c manet.Conn, dir network.Direction, p peer.ID, scope network.ConnManagementScope) (transport.CapableConn, error) {
	return u.Upgrader.Upgrade(ctx, t, countingConn{c, u.wire}, dir, p, scope)
}

type countingListener struct {
	manet.Listener
	wire *wire
}

func (l countingListener) Accept() (manet.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{c, l.wire}, nil
}

// countingConn counts what is read and written. It passes the TCP settings the
// transport looks for on to the connection it wraps.
type countingConn struct {
	manet.Conn
	wire *wire
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wire.in.Add(uint64(n))
	return n, err
}

func (c countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.wire.out.Add(uint64(n))
	return n, err
}

func (c countingConn) SetKeepAlive(on bool) error {
	if k, ok := c.Conn.(interface{ SetKeepAlive(bool) error }); ok {
		return k.SetKeepAlive(on)
	}
	return nil
}

func (c countingConn) SetKeepAlivePeriod(d time.Duration) error {
	if k, ok := c.Conn.(interface{ SetKeepAlivePeriod(time.Duration) error }); ok {
		return k.SetKeepAlivePeriod(d)
	}
	return nil
}

func (c countingConn) SetLinger(sec int) error {
	if k, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		return k.SetLinger(sec)
	}
	return nil
}
