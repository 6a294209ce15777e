package virtual

import "net"

// netConn is one end of a connection as a single byte stream, like TCP: what an
// upgrader secures and multiplexes.
type netConn struct{ *stream }

var _ net.Conn = netConn{}

// Close ends both directions. What was written is still sent; the connection is
// over once the peer has closed too.
func (c netConn) Close() error {
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

func (c netConn) LocalAddr() net.Addr  { return tcpAddr(c.conn.localAddr) }
func (c netConn) RemoteAddr() net.Addr { return tcpAddr(c.conn.remoteAddr) }
