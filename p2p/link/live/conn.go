package live

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pheme-net/pheme/p2p/link/virtual"
)

// helloMagic begins the eight bytes that each end of a shaped TCP connection
// sends first, unshaped; the rest is its node.
const helloMagic = "phl1"

// helloTimeout is how long a peer may take for them.
const helloTimeout = 10 * time.Second

// ErrUnshaped is the error of a connection to a peer that is not shaped: delay
// and rate would then be one-sided.
var ErrUnshaped = errors.New("live: the peer's connections are not shaped: give every node the same network")

// kernelBuffer is the size asked for the kernel's own buffers, so that queues
// stand where the model has them.
const kernelBuffer = 32 << 10

// conn is a shaped TCP connection.
//
//	Write -> uplink network -> sendPump -> kernel ~~~ kernel -> receivePump -> downlink network -> Read
//	         own rate, fair                                      delay, loss, window, own rate
//
// The mutex guards what stands below it.
type conn struct {
	manet.Conn // the kernel's
	s          *Shaper
	out, leave virtual.ByteConn // written here, leaves there

	mu       sync.Mutex
	cond     *sync.Cond
	known    bool // what stands up to enter is set
	peer     int
	in       virtual.ByteConn // read here
	enter    virtual.ByteConn // arrived there
	err      error            // instead of in
	deadline time.Time        // of Read
	timer    *time.Timer
	closed   bool // by its owner
	drained  bool // the kernel has nothing more
}

// wrap shapes a connection whose peer is not known yet.
func (s *Shaper) wrap(kernel manet.Conn) (*conn, error) {
	if b, ok := kernel.(interface {
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	}); ok {
		if err := errors.Join(b.SetReadBuffer(kernelBuffer), b.SetWriteBuffer(kernelBuffer)); err != nil {
			return nil, fmt.Errorf("live: kernel buffer: %w", err)
		}
	}
	var hello [8]byte
	copy(hello[:], helloMagic)
	binary.BigEndian.PutUint32(hello[4:], uint32(s.node))
	if _, err := kernel.Write(hello[:]); err != nil {
		return nil, fmt.Errorf("live: hello: %w", err)
	}
	c := &conn{Conn: kernel, s: s}
	c.cond = sync.NewCond(&c.mu)
	c.out, c.leave = s.up.Pipe(0, 1)
	return c, nil
}

// meet reads the peer's hello and joins its node.
func (c *conn) meet() error {
	var hello [8]byte
	if _, err := io.ReadFull(c.Conn, hello[:]); err != nil {
		return fmt.Errorf("live: hello: %w", err)
	}
	peer := binary.BigEndian.Uint32(hello[4:])
	if string(hello[:4]) != helloMagic || peer >= uint32(c.s.nodes) {
		return ErrUnshaped
	}
	enter, in := c.s.down.Pipe(int(peer), c.s.node)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.peer, c.enter, c.in = true, int(peer), enter, in
	if c.closed {
		_ = in.CloseRead()
	}
	_ = in.SetReadDeadline(c.deadline)
	c.cond.Broadcast()
	return nil
}

// dialled shapes a connection that this node opened: it takes a round trip, like
// the handshake of TCP would.
func (s *Shaper) dialled(ctx context.Context, kernel manet.Conn) (*conn, error) {
	c, err := s.wrap(kernel)
	if err != nil {
		return nil, errors.Join(err, kernel.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = kernel.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.meet(); err != nil {
		return nil, errors.Join(err, ctx.Err(), c.Close(), kernel.Close())
	}
	if err := s.add(c, c.sendPump, c.receivePump); err != nil {
		return nil, errors.Join(err, c.Close(), kernel.Close())
	}
	if err := c.roundTrip(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("live: dial: %w", err), c.Close())
	}
	return c, nil
}

// roundTrip waits for a packet to the peer and back, sent again as TCP's first
// one would be.
func (c *conn) roundTrip(ctx context.Context) error {
	back := make(chan struct{})
	var once sync.Once
	for wait := time.Second; ; wait *= 2 {
		c.s.down.Datagram(c.s.node, c.peer, handshakeBytes, nil, func() {
			c.s.down.Datagram(c.peer, c.s.node, handshakeBytes, nil, func() { once.Do(func() { close(back) }) })
		})
		timer := time.NewTimer(wait)
		select {
		case <-back:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// handshakeBytes is the size of TCP's first packets.
const handshakeBytes = 60

// accepted shapes a connection that a peer opened.
func (s *Shaper) accepted(kernel manet.Conn) (*conn, error) {
	c, err := s.wrap(kernel)
	if err != nil {
		return nil, errors.Join(err, kernel.Close())
	}
	if err := s.add(c, c.sendPump, c.receivePump); err != nil {
		return nil, errors.Join(err, c.Close(), kernel.Close())
	}
	return c, nil
}

// sendPump hands to the kernel what has passed the uplink, and closes it behind
// the last byte.
func (c *conn) sendPump() {
	_, _ = io.Copy(onlyWriter{c.Conn}, c.leave) // an error shows at the other pump too
	_ = c.Conn.Close()
	_ = c.leave.Abort()
}

// onlyWriter keeps io.Copy from looking for shortcuts past the pipe.
type onlyWriter struct{ io.Writer }

// receivePump hands to the downlink what the kernel has received.
func (c *conn) receivePump() {
	defer c.s.remove(c)
	if err := c.greet(); err != nil {
		c.mu.Lock()
		c.err = err
		c.cond.Broadcast()
		c.mu.Unlock()
		_ = c.Conn.Close()
		_ = c.leave.Abort()
		return
	}
	_, err := io.Copy(onlyWriter{c.enter}, c.Conn)
	_ = c.enter.CloseWrite() // in its turn, behind what is under way
	if err != nil {
		_ = c.leave.Abort() // the kernel's connection is broken, or the path was cut for too long
	}
	c.mu.Lock()
	c.drained = true
	over := c.closed
	c.mu.Unlock()
	if over {
		_ = c.enter.Abort()
	}
}

// greet meets the peer unless the dial has.
func (c *conn) greet() error {
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if known {
		return nil
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(helloTimeout))
	if err := c.meet(); err != nil {
		return err
	}
	return c.Conn.SetReadDeadline(time.Time{})
}

// Read returns what has arrived.
func (c *conn) Read(b []byte) (int, error) {
	in, err := c.incoming()
	if err != nil {
		return 0, err
	}
	return in.Read(b)
}

// incoming waits until the peer is known.
func (c *conn) incoming() (virtual.ByteConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.known {
		switch {
		case c.closed:
			return virtual.ByteConn{}, os.ErrClosed
		case c.err != nil:
			return virtual.ByteConn{}, c.err
		case deadlinePassed(c.deadline):
			return virtual.ByteConn{}, os.ErrDeadlineExceeded
		}
		c.cond.Wait()
	}
	return c.in, nil
}

// Write sends b at the uplink's rate: it returns when at most the send buffer is
// left.
func (c *conn) Write(b []byte) (int, error) { return c.out.Write(b) }

// Close ends both directions; what was written is still sent.
func (c *conn) Close() error {
	c.mu.Lock()
	c.closed = true
	known, drained := c.known, c.drained
	if c.timer != nil {
		c.timer.Stop()
	}
	c.cond.Broadcast()
	c.mu.Unlock()
	if known {
		_ = c.in.CloseRead()
	}
	if known && drained {
		_ = c.enter.Abort()
	}
	select {
	case <-c.s.ended: // nothing is sent any more
		if known {
			_ = c.enter.Abort()
			_ = c.in.Abort()
		}
		return errors.Join(c.out.Abort(), c.leave.Abort(), c.Conn.Close())
	default:
		return c.out.Close()
	}
}

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetWriteDeadline makes Write fail from t on.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

// SetReadDeadline makes Read fail from t on.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.known {
		return c.in.SetReadDeadline(t)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	if !t.IsZero() {
		c.timer = time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.cond.Broadcast()
		})
	}
	c.cond.Broadcast()
	return nil
}

// The rest is passed on to the kernel's connection, as the TCP transport expects.

// SetKeepAlive is TCP's.
func (c *conn) SetKeepAlive(on bool) error {
	if k, ok := c.Conn.(interface{ SetKeepAlive(bool) error }); ok {
		return k.SetKeepAlive(on)
	}
	return nil
}

// SetKeepAlivePeriod is TCP's.
func (c *conn) SetKeepAlivePeriod(d time.Duration) error {
	if k, ok := c.Conn.(interface{ SetKeepAlivePeriod(time.Duration) error }); ok {
		return k.SetKeepAlivePeriod(d)
	}
	return nil
}

// SetLinger is TCP's.
func (c *conn) SetLinger(sec int) error {
	if k, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		return k.SetLinger(sec)
	}
	return nil
}
