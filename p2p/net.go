package p2p

import (
	"context"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// Errors of the package, decided with errors.Is.
var (
	ErrNotRunning = errors.New("p2p: not running")
	ErrTooLarge   = errors.New("p2p: message too large")
	ErrBusy       = errors.New("p2p: busy")
)

// Backend is the node behind the network.
type Backend interface {
	// AddTxs offers the pool transactions that passed chain.CheckTx: one error
	// each, nil for newly admitted.
	AddTxs(from peer.ID, txs []*chain.Tx) []error
	// Tx is a pooled transaction or nil.
	Tx(hash common.Hash) *chain.Tx
	// QueueBlock takes a block that passed chain.Check for import. It never
	// waits; ErrBusy means that the queue is full.
	QueueBlock(from peer.ID, b *chain.Block) error
	// ImportBlock imports a block and returns what chain.Add said.
	ImportBlock(ctx context.Context, from peer.ID, b *chain.Block) error
}

// PeerInfo describes one connected peer.
type PeerInfo struct {
	ID       peer.ID
	Addr     string    // its multiaddr as we see it
	Inbound  bool      // it dialled us
	Static   bool      // kept and redialled
	Agent    string    // from identify
	Since    time.Time // when it came up
	Number   uint64    // of the head it last told us
	Head     common.Hash
	Score    float64 // GossipSub's
	BlockHop bool    // in our mesh for blocks
	TxHop    bool    // in our mesh for transactions
}

// Stats is a snapshot of the counters of a Net. Bytes are payload bytes of the
// layer named; see doc.go.
type Stats struct {
	Peers     int
	MeshBlock int
	MeshTx    int

	WireIn, WireOut uint64                       // everything, from the host; 0 if it does not count
	In, Out         [trace.NumClasses]uint64     // bytes by class
	Duplicate       [trace.NumClasses]uint64     // of In, bytes that had come before
	Dropped         map[string]uint64            // messages lost, by reason
	Verdicts        map[string]map[string]uint64 // by topic, by verdict
	Held            int                          // blocks waiting for their parent or their slot
	Syncing         bool
}

// Net is the node's place in the network.
type Net struct{ ready chan struct{} }

// New prepares a Net on a host that the caller owns. Nothing happens before Run.
func New(cfg Config, h host.Host, c *chain.Chain, b Backend, hook trace.Hook, clock trace.Clock) (*Net, error) {
	cfg = cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Net{ready: make(chan struct{})}, nil
}

// Run takes part in the network until ctx ends.
func (n *Net) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ready is closed when the node takes part in the network.
func (n *Net) Ready() <-chan struct{} { return n.ready }

// PublishTx sends transactions of our own clients.
func (n *Net) PublishTx(txs []*chain.Tx) error { return ErrNotRunning }

// Announce sends transactions again that a reorganisation brought back.
func (n *Net) Announce(txs []*chain.Tx) {}

// PublishBlock sends a block of our own.
func (n *Net) PublishBlock(b *chain.Block) error { return ErrNotRunning }

// Imported tells what an import changed.
func (n *Net) Imported(u chain.Update) {}

// Peers lists the connected peers.
func (n *Net) Peers() []PeerInfo { return nil }

// AddPeer keeps a connection to the peer at a multiaddr with /p2p/<id>.
func (n *Net) AddPeer(addr string) error { return ErrNotRunning }

// Stats returns the counters.
func (n *Net) Stats() Stats { return Stats{} }
