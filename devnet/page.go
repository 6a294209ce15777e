package devnet

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"net"
	"net/netip"

	"github.com/pheme-net/pheme/devnet/live"
)

// Page is a live page that listens and is not served yet.
type Page struct {
	URL    string
	server *live.Server
	l      net.Listener
}

// OpenPage listens on a loopback address for the live page of some nodes. key, which may be nil,
// signs the page's test transfers.
func OpenPage(address string, targets []live.Target, key *ecdsa.PrivateKey) (*Page, error) {
	if err := CheckPage(address); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &UsageError{fmt.Sprintf("--page %s: %v: pass another port, or 0 to let the system choose", address, err)}
	}
	return &Page{"http://" + l.Addr().String(), live.New(live.Config{Targets: targets, Key: key}), l}, nil
}

// CheckPage refuses an address that others than this machine's users could reach.
func CheckPage(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return &UsageError{fmt.Sprintf("--page %s: use a loopback address and a port, such as 127.0.0.1:8080: the page can send and cut, and has no password", address)}
	}
	return nil
}

// Run serves the page until ctx ends. It must be called, to close what OpenPage opened.
func (p *Page) Run(ctx context.Context) error { return p.server.Run(ctx, p.l) }
