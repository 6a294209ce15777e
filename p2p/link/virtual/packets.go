package virtual

import (
	"bytes"
	"fmt"
	"net"
	"time"
)

// socket is a node's packet socket, for a real QUIC stack over the network.
type socket struct {
	*Inbox
	out  *Outbox
	net  *Network
	node int
}

var _ net.PacketConn = (*socket)(nil)

// listenPacket opens the node's only socket.
func (n *Network) listenPacket(node int, _ *net.UDPAddr) (net.PacketConn, error) {
	s := &socket{Inbox: NewInbox(), out: NewOutbox(), net: n, node: node}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[node].socket != nil {
		return nil, fmt.Errorf("virtual: node %d listens already", node)
	}
	n.nodes[node].socket = s
	return s, nil
}

// port is every node's.
const port = 8000

func (n *Network) udpAddr(node int) *net.UDPAddr {
	return &net.UDPAddr{IP: n.nodes[node].ip, Port: port}
}

// WriteTo sends a packet. It blocks while the socket's buffer is full.
func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	addr, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("%w: %s", ErrNoRoute, to)
	}
	node, ok := s.net.byIP[string(addr.IP.To4())]
	if !ok {
		return 0, fmt.Errorf("%w: %s", ErrNoRoute, to)
	}
	if err := s.out.Reserve(len(b)); err != nil {
		return 0, err
	}
	payload := bytes.Clone(b)
	s.net.Datagram(s.node, node, len(b), func() { s.out.Release(len(payload)) }, func() {
		if peer := s.net.socketOf(node); peer != nil {
			peer.Put(payload, s.net.udpAddr(s.node))
		}
	})
	return len(b), nil
}

func (n *Network) socketOf(node int) *socket {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[node].socket
}

// Close closes the socket.
func (s *socket) Close() error {
	s.Inbox.Fail(net.ErrClosed)
	s.out.Fail(net.ErrClosed)
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	if s.net.nodes[s.node].socket == s {
		s.net.nodes[s.node].socket = nil
	}
	return nil
}

// LocalAddr returns the node's address.
func (s *socket) LocalAddr() net.Addr { return s.net.udpAddr(s.node) }

// SetDeadline sets the deadline of ReadFrom; WriteTo has none.
func (s *socket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetWriteDeadline does nothing: packets wait for the uplink, not for a peer.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer and SetWriteBuffer keep the sizes there are: QUIC wants to be asked.
func (s *socket) SetReadBuffer(int) error { return nil }

// SetWriteBuffer is SetReadBuffer for what is sent.
func (s *socket) SetWriteBuffer(int) error { return nil }
