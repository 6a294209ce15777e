package p2p

import (
	"net/netip"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pheme-net/pheme/p2p/trace"
)

// datagrams are the host's: those of membership and those of the relay. The first
// byte tells which.
type datagrams struct {
	net  *Net
	host packetHost
	port uint16 // where they come; 0: there are none
	take atomic.Pointer[func(from peer.ID, b []byte)]
}

// packetRelay is the first byte of the relay's: no version of membership's.
const packetRelay = 0

// open begins to take datagrams, if the host has any.
func (d *datagrams) open() {
	h, ok := d.net.host.(packetHost)
	if !ok {
		return
	}
	port, err := h.OpenPackets(d.net.members.known, d.arrived)
	if err != nil {
		log.Warnw("membership is off, and the relay is slow where packets are lost: datagrams cannot be sent or taken", "err", err)
		return
	}
	d.host, d.port = h, port
}

func (d *datagrams) close() {
	if d.port != 0 {
		_ = d.host.ClosePackets() // nothing is lost with it
	}
}

// arrived is called by the host with each datagram. It must not block.
func (d *datagrams) arrived(from peer.ID, b []byte) {
	if len(b) == 0 || b[0] != packetRelay {
		d.net.members.take(from, b)
		return
	}
	d.net.meter.in[trace.ClassRelay].Add(uint64(len(b) + sealed))
	if take := d.take.Load(); take != nil && d.net.peers.isUp(from) && d.net.peers.penalty(from) > graylist {
		(*take)(from, b[1:])
	}
}

// Port implements relay.Packets.
func (d *datagrams) Port() uint16 { return d.port }

// To implements relay.Packets.
func (d *datagrams) To(p peer.ID, port uint16) func([]byte) {
	conns := d.net.host.Network().ConnsToPeer(p)
	if d.port == 0 || port == 0 || len(conns) == 0 {
		return nil
	}
	ip, err := manet.ToIP(conns[0].RemoteMultiaddr())
	if err != nil {
		return nil
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return nil
	}
	at := netip.AddrPortFrom(a.Unmap(), port)
	return func(b []byte) {
		out := append(append(make([]byte, 0, 1+len(b)), packetRelay), b...)
		d.net.meter.out[trace.ClassRelay].Add(uint64(len(out) + sealed))
		d.host.SendPacket(p, at, out, false)
	}
}

// Overhead implements relay.Packets.
func (d *datagrams) Overhead() int { return 1 + sealed }

// Take implements relay.Packets.
func (d *datagrams) Take(f func(from peer.ID, b []byte)) { d.take.Store(&f) }
