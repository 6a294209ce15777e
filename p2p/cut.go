package p2p

import (
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// maxCut bounds for how long a peer may be kept away.
const maxCut = 24 * time.Hour

// cuts are the peers that an operator keeps away for a while. It is the host's
// connection gater: connections to them are neither dialled nor taken. One mutex
// guards it.
type cuts struct {
	mu    sync.Mutex
	until map[peer.ID]time.Time
}

func newCuts() *cuts { return &cuts{until: make(map[peer.ID]time.Time)} }

func (c *cuts) add(id peer.ID, until time.Time) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, end := range c.until {
		if !now.Before(end) {
			delete(c.until, other)
		}
	}
	c.until[id] = until
}

func (c *cuts) allows(id peer.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	end, cut := c.until[id]
	return !cut || !time.Now().Before(end)
}

// InterceptPeerDial implements connmgr.ConnectionGater, as the methods after it.
func (c *cuts) InterceptPeerDial(id peer.ID) bool { return c.allows(id) }

// InterceptAddrDial allows every address of a peer that may be dialled.
func (c *cuts) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept allows what is not known yet by its peer id.
func (c *cuts) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured refuses an inbound connection once its peer is known.
func (c *cuts) InterceptSecured(_ network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	return c.allows(id)
}

// InterceptUpgraded allows what was allowed before.
func (c *cuts) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// Cut closes the connections to a peer and keeps it away for d, whoever dials; 0
// lets it come back at once. Peers that are to stay connected are dialled again
// afterwards.
func (h *Host) Cut(id peer.ID, d time.Duration) error {
	if d < 0 || d > maxCut {
		return fmt.Errorf("p2p: keep a peer away for %v: use 0 to %v", d, maxCut)
	}
	h.cuts.add(id, time.Now().Add(d))
	if d == 0 {
		return nil
	}
	return h.Network().ClosePeer(id)
}
