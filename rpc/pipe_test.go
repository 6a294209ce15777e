package rpc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
)

// pipeListener is a listener in memory, for virtual time.
type pipeListener struct {
	from   string // what the next connection says of its address; empty: nothing an address is read of
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- from{server, l.from}
	return client
}

type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr {
	if at, err := netip.ParseAddrPort(f.addr); err == nil {
		return net.TCPAddrFromAddrPort(at)
	}
	return f.Conn.RemoteAddr()
}

func (l *pipeListener) DialContext(context.Context, string, string) (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, errors.New("closed")
	default:
		return l.dial(), nil
	}
}

func (l *pipeListener) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: l.DialContext, DisableKeepAlives: true}}
}

// clientAt is a client of an address, which keeps its connection.
func (l *pipeListener) clientAt(addr string) *http.Client {
	dial := func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		l.conns <- from{server, addr}
		return client, nil
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

func (l *pipeListener) dialWS(t *testing.T) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{NetDialContext: l.DialContext}
	conn, _, err := d.Dial("ws://localhost/", nil)
	must(t, err)
	return conn
}
