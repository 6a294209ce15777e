package virtual

import (
	"net/netip"

	"github.com/libp2p/go-libp2p/core/peer"
)

// sealBytes is what stands before and after a datagram of a real host: see
// package p2p. Here nobody can forge its sender, so it only counts.
const (
	sealBytes  = 1 + 8 + 16
	introBytes = 1 + 32 + 16
)

// OpenPackets has take called with each datagram that arrives at the host, and
// who sent it; take must not block. It returns the port they go to.
func (h *Host) OpenPackets(_ func(tag uint64) (peer.ID, bool), take func(from peer.ID, b []byte)) (uint16, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.net.nodes[h.node].take, h.net.nodes[h.node].taker = take, h
	return port, nil
}

// ClosePackets ends OpenPackets.
func (h *Host) ClosePackets() error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.nodes[h.node].taker == h {
		h.net.nodes[h.node].take, h.net.nodes[h.node].taker = nil, nil
	}
	return nil
}

// SendPacket sends a datagram, which arrives once or not at all; of a closed host, not at all. introduce makes
// it as long as one that says in full who sends it. It waits while SocketBytes of the host's wait for the uplink.
func (h *Host) SendPacket(_ peer.ID, at netip.AddrPort, b []byte, introduce bool) {
	ip := at.Addr().As4()
	to, ok := h.net.byIP[string(ip[:])]
	if !ok || h.closed.Load() {
		return
	}
	size := len(b) + sealBytes
	if introduce {
		size = len(b) + introBytes
	}
	if h.posted.Reserve(size) != nil {
		return
	}
	h.net.Datagram(h.node, to, size, func() { h.posted.Release(size) }, func() {
		h.net.mu.Lock()
		take := h.net.nodes[to].take
		h.net.mu.Unlock()
		if take != nil {
			take(h.ID(), b)
		}
	})
}
