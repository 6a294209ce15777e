package p2p

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// found takes peers from mDNS.
type found struct{ dialer *dialer }

// HandlePeerFound implements mdns.Notifee.
func (f found) HandlePeerFound(info peer.AddrInfo) { f.dialer.add(info, originFound) }

// runMDNS announces the node on the local link and finds others of its network,
// whose id is part of the service name.
func (n *Net) runMDNS(ctx context.Context) error {
	s := mdns.NewMdnsService(n.host, "_pheme-"+n.network+"._udp", found{n.dialer})
	if err := s.Start(); err != nil {
		// A machine without a network that can multicast still has its other peers.
		log.Warnw("mdns is off: it could not start", "err", err)
		return nil
	}
	<-ctx.Done()
	if err := s.Close(); err != nil {
		return fmt.Errorf("p2p: mdns: %w", err)
	}
	return nil
}
