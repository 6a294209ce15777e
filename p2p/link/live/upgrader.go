package live

import (
	"context"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Upgrader returns up with every TCP connection shaped below it, dialled or
// accepted. Give it to go-libp2p's TCP transport in up's place.
func (s *Shaper) Upgrader(up transport.Upgrader) transport.Upgrader { return shapedUpgrader{up, s} }

type shapedUpgrader struct {
	transport.Upgrader
	s *Shaper
}

func (u shapedUpgrader) GateMaListener(l manet.Listener) transport.GatedMaListener {
	return u.Upgrader.GateMaListener(listener{l, u.s})
}

func (u shapedUpgrader) UpgradeListener(t transport.Transport, l manet.Listener) transport.Listener {
	return u.UpgradeGatedMaListener(t, u.GateMaListener(l))
}

func (u shapedUpgrader) Upgrade(ctx context.Context, t transport.Transport, c manet.Conn, dir network.Direction, p peer.ID, scope network.ConnManagementScope) (transport.CapableConn, error) {
	shaped, err := u.s.dialled(ctx, c)
	if err != nil {
		return nil, err
	}
	return u.Upgrader.Upgrade(ctx, t, shaped, dir, p, scope)
}

type listener struct {
	manet.Listener
	s *Shaper
}

func (l listener) Accept() (manet.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		shaped, err := l.s.accepted(c)
		if err == nil {
			return shaped, nil
		}
		select {
		case <-l.s.ended:
			return nil, ErrStopped
		default: // that connection is broken already; the next may not be
		}
	}
}
