package p2p

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	logging "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/recon"
	"github.com/pheme-net/pheme/p2p/relay"
	"github.com/pheme-net/pheme/p2p/trace"
)

var log = logging.Logger("p2p")

// Errors of the package, decided with errors.Is.
var (
	ErrNotRunning = errors.New("p2p: not running")
	ErrTooLarge   = errors.New("p2p: message too large")
	ErrBusy       = errors.New("p2p: busy")
)

// Backend is the node behind the network.
type Backend interface {
	// AllowTxs asks whether a peer may offer so many transactions that the pool has not got. It is asked before their
	// signatures are checked.
	AllowTxs(from peer.ID, count int) bool
	// AddTxs offers the pool transactions that passed chain.CheckTx: one error
	// each, nil for newly admitted.
	AddTxs(from peer.ID, txs []*chain.Tx) []error
	// Tx is a pooled transaction or nil.
	Tx(hash common.Hash) *chain.Tx
	// Pooled are all pooled transactions.
	Pooled() []*chain.Tx
	// QueueBlock takes a block that passed chain.Check for import. It never
	// waits; ErrBusy means that the queue is full.
	QueueBlock(from peer.ID, b *chain.Block) error
	// ImportBlock imports a block and returns what chain.Add said.
	ImportBlock(ctx context.Context, from peer.ID, b *chain.Block) error
	// AdoptState takes over the staged state after the block that way leads to, and
	// returns what chain.Staging.Adopt said.
	AdoptState(ctx context.Context, from peer.ID, s *chain.Staging, way []*chain.SignedHeader, b *chain.Block) error
	// EachTx calls f for every pooled transaction.
	EachTx(f func(*chain.Tx))
	// Sign signs a digest with the key of the node's proposer.
	Sign(digest common.Hash) ([65]byte, error)
}

// Net is the node's place in the network. New makes it, Run takes part, and the
// other methods may be called from any goroutine at any time.
type Net struct {
	cfg     Config
	host    host.Host
	chain   *chain.Chain
	backend Backend
	hook    trace.Hook
	clock   trace.Clock

	genesis    *chain.Genesis
	genesisID  common.Hash
	network    string
	maxMessage int
	grace      time.Duration // that gossip has to bring a block a peer told us of
	started    time.Time

	meter   meter
	tasks   *tasks
	tracers [numTopics]*tracer
	relay   relay.Relay
	gossip  atomic.Pointer[gossip] // nil outside Run
	ready   chan struct{}

	peers     *peers
	dialer    *dialer
	sync      *syncer
	outbox    *outbox
	repair    repairer
	silence   *silence
	members   *members
	datagrams *datagrams
	fresh     freshBlocks

	arrivals *inbox[peer.ID]     // dialled, to be greeted
	hangup   *inbox[peer.ID]     // to be closed
	arrived  *inbox[common.Hash] // blocks that children may have waited for
	wanted   *inbox[want]        // parents to fetch

	batches atomic.Uint64 // named so far
	silent  atomic.Bool   // see SetSilent

	repairMode recon.Mode
	settled    settled // not to be fetched by repair
	own        settled // published here
	mended     settled // brought by repair: a batch that has them is passed on all the same

	holdMu sync.Mutex
	holder *holder
}

// New prepares a Net on a host that the caller owns and closes after Run has
// returned. Nothing happens before Run.
func New(cfg Config, h host.Host, c *chain.Chain, b Backend, hook trace.Hook, clock trace.Clock) (*Net, error) {
	cfg = cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	g := c.Genesis()
	id := c.GenesisID()
	n := &Net{
		cfg: cfg, host: h, chain: c, backend: b, hook: hook, clock: clock,
		genesis: g, genesisID: id, network: short(id[:]), maxMessage: maxMessage(g),
		grace:   cmp.Or(cfg.grace, min(max(g.SlotDuration(), 500*time.Millisecond), 2*time.Second)),
		started: time.Now(),
		tasks:   newTasks(), ready: make(chan struct{}),
		peers: newPeers(), dialer: newDialer(h.ID(), cfg.RedialMin, cfg.RedialMax), sync: newSyncer(), outbox: newOutbox(cfg.TxQueue),
		arrivals: newInbox[peer.ID](), hangup: newInbox[peer.ID](), arrived: newInbox[common.Hash](), wanted: newInbox[want](),
		repair: newRepairer(), silence: newSilence(cfg.D),
		holder: newHolder(cfg.HoldTotal, cfg.HoldPerPeer, cfg.HoldTotal/4*maxMessage(g)),
	}
	n.members = newMembers(n)
	n.datagrams = &datagrams{net: n}
	for i, name := range [numTopics]string{topicBlock: blockTopic(n.network), topicTx: txTopic(n.network)} {
		n.tracers[i] = newTracer(i, name, hook, &n.meter, newTap(h, clock, n.tasks), cfg.Shared, n.silence)
	}
	var err error
	if n.repairMode, err = recon.ParseMode(cfg.RepairMode); err != nil {
		return nil, err
	}
	if n.relay, err = n.newRelay(); err != nil {
		return nil, err
	}
	if err := n.addConfigured(); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *Net) newRelay() (relay.Relay, error) {
	cfg := n.cfg.RelayTuning
	cfg.Name = n.cfg.Relay
	return relay.New(cfg, relay.Deps{
		Node: relayNode{n}, Network: relayNode{n}, Hook: relayNode{n}.trace, Clock: n.clock, Self: n.host.ID(), MaxList: int(n.genesis.MaxBlockBytes),
		Packets: n.datagrams,
	})
}

// Run takes part in the network until ctx ends or a part fails. It returns after
// every goroutine of its own, and every stream handler, has ended; pubsub's end
// with it but cannot be waited for.
func (n *Net) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	gossip, err := n.startGossip(ctx)
	if err != nil {
		return err
	}
	n.gossip.Store(gossip)
	n.host.SetStreamHandler(statusProtocol, n.greeted)
	n.host.SetStreamHandler(blocksProtocol, n.serve)
	n.host.SetStreamHandler(repairProtocol, n.serveRepair)
	n.host.SetStreamHandler(stateProtocol, n.serveState)
	n.datagrams.open()
	defer n.datagrams.close()
	n.host.Network().Notify(n)
	for _, c := range n.host.Network().Conns() {
		n.Connected(n.host.Network(), c)
	}
	g.Go(func() error { return n.relay.Run(ctx) })
	g.Go(func() error { return n.runBatches(ctx) })
	g.Go(func() error { return n.runHeld(ctx) })
	g.Go(func() error { return n.runFetches(ctx) })
	g.Go(func() error { return n.runSync(ctx) })
	g.Go(func() error { return n.runRepair(ctx) })
	g.Go(func() error { return n.runMembers(ctx, g) })
	g.Go(func() error { return n.runDials(ctx, g) })
	g.Go(func() error { return n.runPeers(ctx, g) })
	if !n.cfg.NoDiscovery {
		g.Go(func() error { return n.runDiscovery(ctx) })
	}
	if n.cfg.MDNS {
		g.Go(func() error { return n.runMDNS(ctx) })
	}
	close(n.ready)
	<-ctx.Done()
	n.gossip.Store(nil)
	n.host.Network().StopNotify(n)
	n.host.RemoveStreamHandler(statusProtocol)
	n.host.RemoveStreamHandler(blocksProtocol)
	n.host.RemoveStreamHandler(repairProtocol)
	n.host.RemoveStreamHandler(stateProtocol)
	n.host.RemoveStreamHandler(relayProtocol)
	for topic := range n.tracers {
		n.host.RemoveStreamHandler(gossipProtocol(n.network, topic))
	}
	n.tasks.stop()
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("p2p: %w", err)
	}
	return nil
}

// Ready is closed when the node takes part in the network.
func (n *Net) Ready() <-chan struct{} { return n.ready }

// runPeers greets the peers we dialled and closes the connections that are of no use.
func (n *Net) runPeers(ctx context.Context, g *errgroup.Group) error {
	sweep := time.NewTicker(n.cfg.StatusTimeout / 2)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.arrivals.wake:
			for _, p := range n.arrivals.take() {
				g.Go(func() error {
					n.greet(ctx, p)
					return nil
				})
			}
		case <-n.hangup.wake:
			for _, p := range n.hangup.take() {
				_ = n.host.Network().ClosePeer(p) // gone already, or goes now
			}
		case <-sweep.C:
			n.silence.judge(n.peers.count(), time.Now())
			n.sweep(time.Now())
		}
	}
}

// sweep closes connections of outcasts and those that never said their status.
func (n *Net) sweep(now time.Time) {
	for _, p := range n.peers.outcasts() {
		if n.connected(p) {
			log.Infow("peer put out: its score is below the graylist", "peer", p)
			_ = n.host.Network().ClosePeer(p)
		}
	}
	for _, c := range n.host.Network().Conns() {
		if !n.peers.isUp(c.RemotePeer()) && now.Sub(c.Stat().Opened) > 2*n.cfg.StatusTimeout {
			log.Debugw("peer dropped: it never sent a status", "peer", c.RemotePeer())
			_ = c.Close()
		}
	}
}

// headID is the id of a header the chain gave us as its head. The chain knows it
// without hashing, unless the head moved in between.
func (n *Net) headID(h *types.Header) common.Hash {
	if id := n.chain.HeadID(); n.chain.Head() == h {
		return id
	}
	return h.Hash()
}
