package live

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"net"
	"time"

	"github.com/pheme-net/pheme/p2p/link/virtual"
)

// packetMagic and the node are put before every shaped UDP packet.
const packetMagic = "pl"

const packetHeader = 4

// maxPacket is UDP's largest.
const maxPacket = 1 << 16

// packetConn is a shaped UDP socket.
type packetConn struct {
	net.PacketConn // the kernel's
	s              *Shaper
	in             *virtual.Inbox
	out            *virtual.Outbox
}

// ListenUDP opens a shaped UDP socket. Give it to go-libp2p's QUIC by
// quicreuse.OverrideListenUDP.
func (s *Shaper) ListenUDP(network string, addr *net.UDPAddr) (net.PacketConn, error) {
	kernel, err := net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	p := &packetConn{PacketConn: kernel, s: s, in: virtual.NewInbox(), out: virtual.NewOutbox()}
	if err := s.add(p, p.pump); err != nil {
		return nil, errors.Join(err, kernel.Close())
	}
	return p, nil
}

// SetReadBuffer and SetWriteBuffer are the kernel's, so that QUIC can make them
// large: a burst that waits there is not lost by this machine.
func (p *packetConn) SetReadBuffer(n int) error { return p.PacketConn.(*net.UDPConn).SetReadBuffer(n) }

// SetWriteBuffer is SetReadBuffer for what is sent.
func (p *packetConn) SetWriteBuffer(n int) error {
	return p.PacketConn.(*net.UDPConn).SetWriteBuffer(n)
}

// WriteTo sends a packet when the uplink has carried it. It blocks while the
// buffer is full.
func (p *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	framed := make([]byte, packetHeader+len(b))
	copy(framed, packetMagic)
	binary.BigEndian.PutUint16(framed[2:], uint16(p.s.node))
	copy(framed[packetHeader:], b)
	if err := p.out.Reserve(len(b)); err != nil {
		return 0, err
	}
	p.s.up.Datagram(0, slot(to), len(b), nil, func() {
		_, _ = p.PacketConn.WriteTo(framed, to) // an error is a lost packet
		p.out.Release(len(framed) - packetHeader)
	})
	return len(b), nil
}

func slot(to net.Addr) int {
	h := fnv.New32a()
	h.Write([]byte(to.String()))
	return 1 + int(h.Sum32()%slots)
}

// pump takes packets from the kernel and sends them over the downlink.
func (p *packetConn) pump() {
	defer p.s.remove(p)
	buf := make([]byte, maxPacket)
	for {
		n, from, err := p.PacketConn.ReadFrom(buf)
		if err != nil {
			p.in.Fail(err)
			p.out.Fail(err)
			return
		}
		if n < packetHeader || string(buf[:2]) != packetMagic || int(binary.BigEndian.Uint16(buf[2:])) >= p.s.nodes {
			continue // not from a shaped socket
		}
		payload := bytes.Clone(buf[packetHeader:n])
		p.s.down.Datagram(int(binary.BigEndian.Uint16(buf[2:])), p.s.node, len(payload), nil, func() { p.in.Put(payload, from) })
	}
}

// ReadFrom returns the next packet that has arrived.
func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) { return p.in.ReadFrom(b) }

// Close closes the socket.
func (p *packetConn) Close() error {
	p.in.Fail(net.ErrClosed)
	p.out.Fail(net.ErrClosed)
	return p.PacketConn.Close()
}

// SetDeadline sets the deadline of ReadFrom; WriteTo has none.
func (p *packetConn) SetDeadline(t time.Time) error { return p.in.SetReadDeadline(t) }

// SetReadDeadline makes ReadFrom fail from t on.
func (p *packetConn) SetReadDeadline(t time.Time) error { return p.in.SetReadDeadline(t) }

// SetWriteDeadline does nothing: packets wait for the uplink, not for a peer.
func (p *packetConn) SetWriteDeadline(time.Time) error { return nil }
