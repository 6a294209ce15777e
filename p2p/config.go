package p2p

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/recon"
	"github.com/pheme-net/pheme/p2p/relay"
)

// Config is everything a node can be told about its network side. The zero
// value of a field is its default, filled in by fill.
type Config struct {
	// Listen are the multiaddrs to listen on, TCP or QUIC. Loopback by default.
	Listen []string
	// Bootstrap peers are dialled until the node has enough others; Static ones
	// are kept and redialled for ever. Both are multiaddrs with /p2p/<id>.
	Bootstrap []string
	Static    []string
	// MDNS finds peers of the same network on the local link.
	MDNS bool
	// MaxPeers is how many connections the node keeps: above it the connection
	// manager closes the least useful, never a static one.
	MaxPeers int
	// UserAgent is what identify tells others.
	UserAgent string

	// Relay names how blocks travel; see package relay.
	Relay string
	// RelayTuning are the relay's numbers; its Name is Relay.
	RelayTuning relay.Config

	// Shared is where the networks of one process keep the payloads they have in
	// common; nil: this node keeps its own.
	Shared *Shared

	// Charge is called with the work that judging took, before its outcome counts,
	// and returns when a processor would have done it; nil: a real one has.
	Charge func(chain.Work)

	// GossipSub: mesh degree, its bounds and how many of it we dialled ourselves at least; peers that
	// get IHAVE; heartbeat.
	D, Dlo, Dhi, Dout, Dlazy int
	// TxD is the degree of the mesh for transactions: of the peers, about so many are
	// sent a batch, Dlazy more are told its id, repair finds it for the rest.
	TxD       int
	Heartbeat time.Duration
	// FloodPublish sends what we originate to every peer instead of the mesh.
	FloodPublish bool
	// IDontWantBytes: a payload at least this long is announced by IDONTWANT to
	// the mesh as soon as it has arrived.
	IDontWantBytes int
	// OutboundQueue and ValidateQueue are in RPCs a peer and messages.
	OutboundQueue, ValidateQueue int
	// MaxControlBytes bounds the control part of one RPC.
	MaxControlBytes int

	// A batch of transactions is sent when it is full or BatchDelay old.
	BatchBytes int
	BatchDelay time.Duration
	// TxQueue is how many transactions may wait to be batched.
	TxQueue int

	// Blocks held because their parent is unknown or their slot not begun.
	HoldTotal, HoldPerPeer int

	// FetchTimeout is how long one peer may take to begin answering before the
	// same thing is asked from a second; RequestTimeout without progress ends a
	// request for good.
	FetchTimeout, RequestTimeout time.Duration
	// ServeRequests and ServeBytes are what one peer may ask of us in ten seconds.
	ServeRequests, ServeBytes int

	// Every RepairInterval the pool is reconciled with RepairFanout peers, as
	// RepairMode says: push, pull or push-pull. NoRepair turns it off.
	RepairInterval time.Duration
	RepairFanout   int
	RepairMode     string
	NoRepair       bool

	// A node that is more than StateBlocks behind takes over a state instead of
	// executing the blocks; its store then has no bodies of them. FullSync never
	// does, but where our branch was left below the undo window.
	StateBlocks uint64
	FullSync    bool
	// Membership: every ProbeInterval a member probes another, every NewsInterval it
	// tells some what is new, every AggregateInterval it averages with one. NoMembers
	// turns it off.
	ProbeInterval, NewsInterval, AggregateInterval time.Duration
	NoMembers                                      bool
	// Outbound is how many connections the node chooses and dials itself among the
	// members; MaxPeers less these may dial it. NoDiscovery: only configured and found
	// peers are connected.
	Outbound    int
	NoDiscovery bool
	// Anchors is the file that keeps some of the chosen ones over a restart; "": none.
	Anchors string

	// StatusTimeout is how long a new connection may take for its handshake. A peer
	// is told our status at least twice in that time, and given up when it has been
	// silent for two.
	StatusTimeout time.Duration
	// RedialMin and RedialMax bound the backoff of dials.
	RedialMin, RedialMax time.Duration

	grace time.Duration // tests: that gossip has to bring a block a peer told us of
}

// slack is what a message may be longer than the block body limit: envelope,
// protobuf framing and the control messages that ride along.
const slack = 64 << 10

// Defaults is what a node uses that is told nothing.
func Defaults() Config { return Config{}.fill() }

func (c Config) fill() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	dur := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	if len(c.Listen) == 0 {
		c.Listen = []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"} // nothing is exposed unless asked for
	}
	if c.Relay == "" {
		c.Relay = "auto" // about as fast as the best of the others for every size of block and state of pools
	}
	if c.UserAgent == "" {
		c.UserAgent = "pheme"
	}
	def(&c.MaxPeers, 64) // several times Dhi: room for meshes, sync and inbound peers
	def(&c.D, 8)
	def(&c.Dlo, min(6, c.D))
	def(&c.Dhi, max(12, c.D))
	def(&c.Dout, max(0, min(2, c.Dlo-1, c.D/2-1))) // the library wants Dout < Dlo and Dout < D/2
	def(&c.Dlazy, 6)
	def(&c.TxD, min(4, c.D)) // doc.go has the curve
	dur(&c.Heartbeat, 700*time.Millisecond)
	def(&c.IDontWantBytes, 4<<10)   // below it the announcements cost more CPU than the duplicate they save
	def(&c.OutboundQueue, 1024)     // the library's 32 drops silently under a burst of small batches
	def(&c.ValidateQueue, 1024)     // likewise
	def(&c.MaxControlBytes, 64<<10) // 1,500 message ids
	def(&c.BatchBytes, 64<<10)
	dur(&c.BatchDelay, 5*time.Millisecond)
	def(&c.TxQueue, 16384) // one second of a fast client
	def(&c.HoldTotal, 64)
	def(&c.HoldPerPeer, 8)
	dur(&c.FetchTimeout, 400*time.Millisecond) // a second source is asked within 500 ms
	dur(&c.RequestTimeout, 10*time.Second)
	def(&c.ServeRequests, 128)
	def(&c.ServeBytes, 256<<20)           // a late node may pull 25 MB/s from one peer
	dur(&c.RepairInterval, 2*time.Second) // a round costs some 600 bytes while nothing is missing
	def(&c.RepairFanout, 2)               // a second partner in case the first one is no help
	if c.RepairMode == "" {
		c.RepairMode = recon.PushPull.String()
	}
	if c.StateBlocks == 0 {
		c.StateBlocks = 4096 // as long as the undo window: some seconds of execution
	}
	dur(&c.ProbeInterval, 200*time.Millisecond) // package swim says why
	dur(&c.NewsInterval, 100*time.Millisecond)
	dur(&c.AggregateInterval, 2*time.Second)
	def(&c.Outbound, min(8, max(1, c.MaxPeers/2))) // D: a mesh could be of chosen peers alone
	dur(&c.StatusTimeout, 5*time.Second)
	dur(&c.RedialMin, 200*time.Millisecond)
	dur(&c.RedialMax, 2*time.Second) // a dial ends after StatusTimeout: a peer is tried at least every 9 s
	return c
}

func (c Config) validate() error {
	for _, f := range []struct {
		name  string
		addrs []string
		peer  bool
	}{{"listen", c.Listen, false}, {"bootstrap", c.Bootstrap, true}, {"static", c.Static, true}} {
		for _, a := range f.addrs {
			addr, err := ma.NewMultiaddr(a)
			if err == nil && f.peer {
				_, err = peer.AddrInfoFromP2pAddr(addr)
			}
			if err != nil {
				return fmt.Errorf("p2p: %s: %q is not a peer's multiaddr such as /ip4/127.0.0.1/tcp/4001%s: %w", f.name, a, map[bool]string{true: "/p2p/<peer id>"}[f.peer], err)
			}
		}
	}
	if _, err := recon.ParseMode(c.RepairMode); err != nil {
		return fmt.Errorf("p2p: repair mode: %w", err)
	}
	if c.Dlo > c.D || c.D > c.Dhi || c.Dlo < 1 || c.D < 2 {
		return fmt.Errorf("p2p: gossip degrees: want 1 <= Dlo <= D <= Dhi and D >= 2, have %d, %d, %d", c.Dlo, c.D, c.Dhi)
	}
	if c.TxD < 2 {
		return fmt.Errorf("p2p: gossip degree for transactions: want at least 2, have %d", c.TxD)
	}
	if c.Dout < 0 || c.Dout > 0 && (c.Dout >= c.Dlo || c.Dout > c.D/2) {
		return fmt.Errorf("p2p: gossip degrees: want 0 <= Dout < Dlo and Dout <= D/2, have %d with Dlo %d and D %d", c.Dout, c.Dlo, c.D)
	}
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"max peers", int64(c.MaxPeers)}, {"D lazy", int64(c.Dlazy)}, {"heartbeat", int64(c.Heartbeat)}, {"idontwant bytes", int64(c.IDontWantBytes)},
		{"outbound queue", int64(c.OutboundQueue)}, {"validate queue", int64(c.ValidateQueue)}, {"max control bytes", int64(c.MaxControlBytes)},
		{"batch bytes", int64(c.BatchBytes)}, {"batch delay", int64(c.BatchDelay)}, {"tx queue", int64(c.TxQueue)},
		{"hold total", int64(c.HoldTotal)}, {"hold per peer", int64(c.HoldPerPeer)},
		{"fetch timeout", int64(c.FetchTimeout)}, {"request timeout", int64(c.RequestTimeout)},
		{"repair interval", int64(c.RepairInterval)}, {"repair fanout", int64(c.RepairFanout)},
		{"probe interval", int64(c.ProbeInterval)}, {"news interval", int64(c.NewsInterval)}, {"aggregate interval", int64(c.AggregateInterval)},
		{"outbound", int64(c.Outbound)}, {"serve requests", int64(c.ServeRequests)}, {"serve bytes", int64(c.ServeBytes)},
		{"status timeout", int64(c.StatusTimeout)}, {"redial min", int64(c.RedialMin)}, {"redial max", int64(c.RedialMax)},
	} {
		if f.v < 0 {
			return fmt.Errorf("p2p: %s must not be negative", f.name)
		}
	}
	return nil
}

// maxMessage is the largest gossip RPC of the network, the same on every node
// because it follows from the genesis.
func maxMessage(g *chain.Genesis) int { return int(g.MaxBlockBytes) + slack }

// Names of topics and protocols. Topics and GossipSub's own protocol carry the
// network, so that messages of two networks can never meet; the request
// protocols do not, so that a peer of another network can be told apart from
// one that does not speak at all.
func blockTopic(net string) string { return "/pheme/" + net + "/block/1" }
func txTopic(net string) string    { return "/pheme/" + net + "/tx/1" }
func gossipProtocol(net string, topic int) protocol.ID {
	return protocol.ID("/pheme/" + net + "/" + [numTopics]string{topicBlock: "block", topicTx: "tx"}[topic] + "/meshsub/1.2.0")
}

const (
	statusProtocol = protocol.ID("/pheme/status/1")
	blocksProtocol = protocol.ID("/pheme/blocks/4")
	repairProtocol = protocol.ID("/pheme/repair/1")
	stateProtocol  = protocol.ID("/pheme/state/2")
	swimProtocol   = protocol.ID("/pheme/swim/1")
	relayProtocol  = protocol.ID("/pheme/relay/3")
)
