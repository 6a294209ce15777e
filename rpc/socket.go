package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Listen opens a TCP listener for a server, with an error a person can act on.
func Listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the JSON-RPC address %s is in use: stop the program that has it, or choose another port (0 lets the system choose)", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for JSON-RPC: %w", err)
	}
	return l, nil
}

// listenSocket opens the unix socket at path with mode 0600, or returns nil for an
// empty path. A socket left behind by a crash is replaced: the data dir's lock, held
// by the caller, keeps two living nodes apart.
func listenSocket(path string) (net.Listener, error) {
	if path == "" {
		return nil, nil
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("%s is not a socket: move it away, the node's socket belongs there", path)
	} else if err == nil {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the old socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the unix socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("restrict the unix socket to its owner: %w", err)
	}
	return l, nil
}

// acceptAgain is the wait after a connection that could not be taken for lack of files, the longest of net/http's.
const acceptAgain = time.Second

// serveSocket serves every connection to the unix socket until l is closed, and
// returns when the last connection has ended.
func (s *Server) serveSocket(ctx context.Context, l net.Listener) error {
	defer s.streams.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			select { // until a file is closed; net/http does so for the port
			case <-time.After(acceptAgain):
			case <-s.stop.Done():
			}
			continue
		}
		if err != nil {
			return err
		}
		s.streams.Go(func() {
			defer c.Close()
			s.serveStream(ctx, newJSONStream(c, s.cfg.MaxBody, s.cfg.WriteTimeout), netip.Addr{}, s.local)
		})
	}
}

// limitListener counts open connections and turns away those above max, and those above an address's share.
type limitListener struct {
	net.Listener
	max     int
	refusal string // what they are sent

	mu   sync.Mutex
	open int
	held shares
}

func newLimitListener(l net.Listener, max int, refusal string) *limitListener {
	return &limitListener{Listener: l, max: max, refusal: refusal, held: newShares(max)}
}

const (
	refuseHTTP = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 51\r\n\r\n" + tooMany
	refuseJSON = `{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"` + tooMany + `"}}` + "\n"
	tooMany    = "too many connections: try again or use another node"
)

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(c.RemoteAddr().String())
		if l.take(from) {
			return &countedConn{Conn: c, left: sync.OnceFunc(func() { l.give(from) })}, nil
		}
		c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // it fits into an empty socket buffer
		c.Write([]byte(l.refusal))
		c.Close()
	}
}

func (l *limitListener) take(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.max || !l.held.take(from, 1) {
		return false
	}
	l.open++
	return true
}

func (l *limitListener) give(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.held.give(from, 1)
}

type countedConn struct {
	net.Conn
	left func()
}

func (c *countedConn) Close() error {
	c.left()
	return c.Conn.Close()
}
