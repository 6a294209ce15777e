package live

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"net"
	"os"
	"sync"
	"time"
)

// packetMagic and the node are put before every shaped UDP packet.
const packetMagic = "pl"

const packetHeader = 4

// maxPacket is UDP's largest.
const maxPacket = 1 << 16

// packetBuffer is how many bytes may wait to be sent and to be read, each: a
// usual socket buffer. What arrives beyond it is dropped.
const packetBuffer = 256 << 10

// packetConn is a shaped UDP socket. The mutex guards what stands below it.
type packetConn struct {
	net.PacketConn // the kernel's
	s              *Shaper

	mu       sync.Mutex
	readers  *sync.Cond
	writers  *sync.Cond
	arrived  []datagram
	unread   int // bytes in arrived
	unsent   int // bytes at the uplink
	deadline time.Time
	timer    *time.Timer
	err      error
}

type datagram struct {
	payload []byte
	from    net.Addr
}

// ListenUDP opens a shaped UDP socket. Give it to go-libp2p's QUIC by
// quicreuse.OverrideListenUDP.
func (s *Shaper) ListenUDP(network string, addr *net.UDPAddr) (net.PacketConn, error) {
	kernel, err := net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	p := &packetConn{PacketConn: kernel, s: s}
	p.readers, p.writers = sync.NewCond(&p.mu), sync.NewCond(&p.mu)
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
	p.mu.Lock()
	for p.unsent+len(b) > packetBuffer && p.unsent > 0 && p.err == nil {
		p.writers.Wait()
	}
	err := p.err
	p.unsent += len(b)
	p.mu.Unlock()
	if err != nil {
		return 0, err
	}
	p.s.up.Datagram(0, slot(to), len(b), func() {
		_, _ = p.PacketConn.WriteTo(framed, to) // an error is a lost packet
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unsent -= len(b)
		p.writers.Signal()
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
			var temporary net.Error
			if errors.As(err, &temporary) && temporary.Timeout() {
				continue
			}
			p.fail(err)
			return
		}
		if n < packetHeader || string(buf[:2]) != packetMagic || int(binary.BigEndian.Uint16(buf[2:])) >= p.s.nodes {
			continue // not from a shaped socket
		}
		d := datagram{payload: append([]byte(nil), buf[packetHeader:n]...), from: from}
		p.s.down.Datagram(int(binary.BigEndian.Uint16(buf[2:])), p.s.node, len(d.payload), func() { p.arrive(d) })
	}
}

func (p *packetConn) arrive(d datagram) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || p.unread+len(d.payload) > packetBuffer {
		return
	}
	p.arrived = append(p.arrived, d)
	p.unread += len(d.payload)
	p.readers.Signal()
}

func (p *packetConn) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.readers.Broadcast()
	p.writers.Broadcast()
}

// ReadFrom returns the next packet that has arrived.
func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.arrived) == 0 {
		switch {
		case p.err != nil:
			return 0, nil, p.err
		case deadlinePassed(p.deadline):
			return 0, nil, os.ErrDeadlineExceeded
		}
		p.readers.Wait()
	}
	if deadlinePassed(p.deadline) {
		return 0, nil, os.ErrDeadlineExceeded
	}
	d := p.arrived[0]
	p.arrived[0] = datagram{}
	p.arrived = p.arrived[1:]
	p.unread -= len(d.payload)
	return copy(b, d.payload), d.from, nil
}

// Close closes the socket.
func (p *packetConn) Close() error {
	p.fail(net.ErrClosed)
	return p.PacketConn.Close()
}

// SetDeadline sets the deadline of ReadFrom; WriteTo has none.
func (p *packetConn) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline does nothing: packets wait for the uplink, not for a peer.
func (p *packetConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline makes ReadFrom fail from t on.
func (p *packetConn) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = t
	if p.timer != nil {
		p.timer.Stop()
	}
	if !t.IsZero() {
		p.timer = time.AfterFunc(time.Until(t), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.readers.Broadcast()
		})
	}
	p.readers.Broadcast()
	return nil
}
