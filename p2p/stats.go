package p2p

import (
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

// PeerInfo describes one connected peer whose status agreed with ours.
type PeerInfo struct {
	ID        peer.ID
	Addr      string      // its multiaddr as we see it
	Inbound   bool        // it dialled us
	Static    bool        // kept and redialled
	Agent     string      // from identify
	Since     time.Time   // when it came up
	Number    uint64      // of the head it last told us
	Head      common.Hash // its id
	Score     float64     // GossipSub's, the lower of the topics', a few seconds old
	BlockMesh bool        // in our mesh for blocks
	TxMesh    bool        // in our mesh for transactions
}

// Stats is a snapshot of the counters of a Net.
//
// In and Out are bytes by class. ClassBlock and ClassTx are gossip payloads with
// their framing, ClassControl is the rest of GossipSub, ClassSync our request
// protocols, and ClassOther the remainder up to the wire: handshakes, identify,
// security, muxing; zero when the host does not count.
type Stats struct {
	Peers             int
	MeshBlock, MeshTx int
	WireIn, WireOut   uint64                       // all bytes of all connections; 0 if the host does not count
	In, Out           [trace.NumClasses]uint64     // by class
	Duplicate         [trace.NumClasses]uint64     // payload bytes of In that had come before
	Dropped           map[string]uint64            // messages lost, by reason
	Verdicts          map[string]map[string]uint64 // messages judged, by topic and verdict
	Withheld          uint64                       // messages accepted and not passed on: of a silent node
	Held              int                          // blocks waiting for their parent or their slot
	Syncing           bool                         // a catch-up is under way
	Relay             relay.Stats
	Repair            RepairStats
}

// RepairStats counts exchanges of repair, on either side.
type RepairStats struct {
	Sessions uint64
	Gained   uint64 // transactions
	Bytes    uint64 // moved both ways
}

// Stats returns the counters.
func (n *Net) Stats() Stats {
	var s Stats
	n.meter.fill(&s)
	s.Peers, s.MeshBlock, s.MeshTx = n.peers.count(), n.tracers[topicBlock].size(), n.tracers[topicTx].size()
	s.Relay = n.relay.Stats()
	s.Syncing, s.Withheld = n.sync.busy.Load(), n.meter.withheld.Load()
	n.holdMu.Lock()
	s.Held = n.holder.len()
	n.holdMu.Unlock()
	if w, ok := n.host.(interface{ WireBytes() (in, out uint64) }); ok {
		s.WireIn, s.WireOut = w.WireBytes()
		s.In[trace.ClassOther] += rest(s.WireIn, s.In)
		s.Out[trace.ClassOther] += rest(s.WireOut, s.Out)
	}
	return s
}

// rest is what the classes leave of the wire.
func rest(wire uint64, by [trace.NumClasses]uint64) uint64 {
	sum := uint64(0)
	for _, b := range by {
		sum += b
	}
	return wire - min(wire, sum)
}

// Peers lists the peers that are up.
func (n *Net) Peers() []PeerInfo {
	out := n.peers.list()
	for i := range out {
		p := &out[i]
		p.BlockMesh, p.TxMesh = n.tracers[topicBlock].inMesh(p.ID), n.tracers[topicTx].inMesh(p.ID)
		p.Static = n.dialer.static(p.ID)
		if conns := n.host.Network().ConnsToPeer(p.ID); len(conns) > 0 {
			p.Addr = conns[0].RemoteMultiaddr().String()
			p.Inbound = conns[0].Stat().Direction == network.DirInbound
		}
		if agent, err := n.host.Peerstore().Get(p.ID, "AgentVersion"); err == nil {
			p.Agent, _ = agent.(string)
		}
	}
	return out
}

// Relay names how this node sends blocks of its own.
func (n *Net) Relay() string { return n.relay.Name() }
