package virtual

import "net"

// ByteConn is one end of a connection as a single byte stream, like TCP: what an
// upgrader secures and multiplexes. Beside net.Conn's it has the methods
// CloseWrite, CloseRead and Reset.
type ByteConn struct{ *stream }

var _ net.Conn = ByteConn{}

// Pipe makes a byte stream between two nodes, without a handshake.
func (n *Network) Pipe(from, to int) (a, b ByteConn) {
	pair := n.connect(from, to, Secured)
	return ByteConn{pair[0].raw}, ByteConn{pair[1].raw}
}

// Close ends both directions. What was written is still sent; the connection is
// over once the peer has closed too.
func (c ByteConn) Close() error {
	_ = c.CloseWrite()
	_ = c.CloseRead()
	c.mu.Lock()
	c.closed = true
	over := c.ended
	c.mu.Unlock()
	if over {
		return c.conn.Close()
	}
	return nil
}

// Abort ends the connection at both ends without delivering what is under way.
func (c ByteConn) Abort() error { return c.conn.Close() }

// LocalAddr returns the address of this end's node.
func (c ByteConn) LocalAddr() net.Addr { return tcpAddr(c.conn.localAddr) }

// RemoteAddr returns the address of the other end's node.
func (c ByteConn) RemoteAddr() net.Addr { return tcpAddr(c.conn.remoteAddr) }
