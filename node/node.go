package node

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	logging "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/core/host"
	"golang.org/x/sync/errgroup"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/mempool"
	"github.com/pheme-net/pheme/p2p"
	"github.com/pheme-net/pheme/p2p/trace"
	"github.com/pheme-net/pheme/rpc"
)

var log = logging.Logger("node")

// Deps is what a node stands on: opened by the caller, who closes it after Run has returned. Real
// processes give files and sockets, virtual time gives memory and pipes.
type Deps struct {
	Chain    *chain.Chain
	Pool     *mempool.Pool
	Host     host.Host
	Listener net.Listener      // HTTP and WebSocket
	Observe  net.Listener      // metrics and health; nil: not served
	Proposer *ecdsa.PrivateKey // nil: this node proposes nothing
	Guard    *chain.SlotGuard  // last signed slot; needed with Proposer
	Hook     trace.Hook        // may be nil
	Clock    trace.Clock
	Links    *Links // shapes Host's connections; nil: they are what they are
	// Charge is called with the work that a transaction or a block takes, and returns when a processor
	// would have done it; for engines in whose time computing takes none. nil: a real one does it.
	Charge func(chain.Work)
	// Withhold names pooled transactions that repair does not offer to peers, such as those that an
	// experiment has placed; nil: none.
	Withhold func(common.Hash) bool
}

// Node is one node: a chain, a pool, a place in the network and an API.
type Node struct {
	name       string
	blockBytes int

	chain    *chain.Chain
	pool     *mempool.Pool
	host     host.Host
	net      *p2p.Net
	rpc      *rpc.Server
	listener net.Listener

	metrics   *metrics // nil when nobody can ask
	observeAt net.Listener

	key      *ecdsa.PrivateKey
	guard    *chain.SlotGuard
	proposer common.Address

	hook  trace.Hook
	clock trace.Clock
	links *Links

	bend       atomic.Pointer[Bend]
	bent       chan struct{} // one token: bend is another one
	equivocals atomic.Uint64 // second blocks published
	bendable   bool
	events     *broadcast

	charge   func(chain.Work)       // may be nil
	withhold func(common.Hash) bool // may be nil

	jobs    chan job
	stopped chan struct{} // closed when the applier has returned
	stop    chan struct{} // asked for over the socket
}

// New puts the parts together; nothing runs before Run.
func New(cfg Config, d Deps) (*Node, error) {
	n := &Node{
		name:       cfg.Name,
		blockBytes: cfg.BlockBytes,
		charge:     d.Charge,
		withhold:   d.Withhold,
		chain:      d.Chain,
		pool:       d.Pool,
		host:       d.Host,
		listener:   d.Listener,
		observeAt:  d.Observe,
		key:        d.Proposer,
		guard:      d.Guard,
		clock:      d.Clock,
		links:      d.Links,
		events:     newBroadcast(d.Clock),
		jobs:       make(chan job, maxQueued),
		stopped:    make(chan struct{}),
		stop:       make(chan struct{}, 1),
		bent:       make(chan struct{}, 1),
		bendable:   cfg.Bendable,
	}
	n.bend.Store(&Bend{})
	n.hook = trace.Tee(d.Hook, n.events.emit)
	if d.Observe != nil {
		n.metrics = newMetrics(n)
		n.hook = trace.Tee(n.hook, n.metrics.emit)
	}
	if n.blockBytes == 0 {
		n.blockBytes = int(d.Chain.Genesis().MaxBlockBytes)
	}
	if err := n.setProposer(); err != nil {
		return nil, err
	}
	cfg.P2P.Charge = n.charge
	var err error // nothing runs yet: what these two refuse are settings
	if n.net, err = p2p.New(cfg.P2P, d.Host, d.Chain, n, n.hook, d.Clock); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if n.rpc, err = rpc.New(cfg.RPC, d.Chain, n.apiDeps()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return n, nil
}

// setProposer checks that the key is one of the network's proposers.
func (n *Node) setProposer() error {
	if n.key == nil {
		return nil
	}
	if n.guard == nil {
		return errors.New("node: a proposer needs a slot guard")
	}
	n.proposer = addressOf(n.key)
	if n.chain.Genesis().IsProposer(n.proposer) {
		return nil
	}
	return fmt.Errorf("%w: the key's address %s is no proposer of this genesis: use another --proposer-key, or leave it out to follow only", ErrConfig, n.proposer)
}

// Run serves until ctx ends or a part fails, and returns after all its goroutines have. On the way
// out the API stops first, so that a call in flight still finds the pool and the network; then both
// end at once, and the applier imports what it has queued. A block that comes after that is asked for
// at the next start.
func (n *Node) Run(ctx context.Context, ready func() error) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, inner := errgroup.WithContext(inner)
	g.Go(func() error { return n.applier(inner) })
	g.Go(func() error { return n.pool.Run(inner) })
	g.Go(func() error { return n.net.Run(inner) })
	if n.observeAt != nil {
		g.Go(func() error { return n.observe(inner) })
	}
	if n.links != nil {
		g.Go(func() error { return n.afterHeals(inner) })
	}
	g.Go(func() error {
		defer cancel() // the API has answered its last call: the rest may go
		api, done := context.WithCancel(inner)
		defer done()
		unhook := context.AfterFunc(ctx, done)
		defer unhook()
		g.Go(func() error {
			select {
			case <-n.stop:
				done()
			case <-api.Done():
			}
			return nil
		})
		return n.rpc.Run(api, n.listener)
	})
	if ready != nil {
		g.Go(func() error {
			for _, part := range []<-chan struct{}{n.net.Ready(), n.rpc.Ready()} {
				select {
				case <-part:
				case <-inner.Done():
					return nil
				}
			}
			return ready()
		})
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// emit stamps an event with the present and hands it on.
func (n *Node) emit(e trace.Event) {
	e.At = n.clock.Now()
	n.hook.Emit(e)
}
