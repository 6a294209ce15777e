package rpc

import (
	"context"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
)

// Deps are the parts of the node behind the API. Pool, Net and Submit are needed;
// the others may be nil: their methods then answer that they are not served.
type Deps struct {
	Pool   Pool
	Net    Network
	Submit Submitter
	Trace  TraceSource
	// Bend deforms the node for measuring faults, for admin_bend; nil only asks what it is.
	Bend func(*Bend) (BendCount, error)
	// Links takes up what the plan of shaped links has gained and says what they have
	// carried, for admin_links.
	Links func() (LinkCount, error)
	// Shutdown asks the node to stop, for admin_shutdown. It returns at once.
	Shutdown func()
	// SetLogLevel sets the level of a package's log, of all of ours with "*", for admin_setLogLevel.
	SetLogLevel func(pkg, level string) error
}

// Pool is what the API reads of the mempool. All methods are safe for concurrent use.
type Pool interface {
	// Nonce returns the next nonce of addr, counting its executable pooled transactions.
	Nonce(addr common.Address) uint64
	// Get returns a pooled transaction or nil.
	Get(hash common.Hash) *chain.Tx
	// Subscribe returns transactions as they become executable, and a function that
	// ends it. A reader that lags by more than buffer loses some.
	Subscribe(buffer int) (<-chan *chain.Tx, func())
	Stats() PoolStats
	// Build picks executable transactions for a block of so many bytes and so much gas.
	Build(maxBytes int, gas uint64) []*chain.Tx
	// Content returns all pooled transactions, ContentFrom those of one sender.
	Content() PoolContent
	ContentFrom(addr common.Address) (executable, future []*chain.Tx)
}

// PoolContent holds pooled transactions by sender, each list in the order of nonces.
type PoolContent struct {
	Executable, Future map[common.Address][]*chain.Tx
}

// Network is what the API reads of and asks from the p2p side.
type Network interface {
	Info() NetInfo
	Peers() []Peer
	// AddPeer connects to a multiaddr that ends in /p2p/<id> and keeps it connected.
	AddPeer(multiaddr string) error
	// CutPeer closes the connections to a peer and keeps it away for a time; 0 ends that.
	CutPeer(id string, d time.Duration) error
	// Members lists the members of the network known to this node, itself first.
	Members(ctx context.Context) []Member
	// Aggregates is what the network has computed of itself.
	Aggregates(ctx context.Context) Aggregates
	// SetMetadata writes entries that every member sees; an empty value removes one.
	SetMetadata(ctx context.Context, entries map[string]string) error
}

// Submitter takes transactions that came in over RPC.
type Submitter interface {
	// SubmitTxs admits transactions to the pool and publishes those admitted. It
	// returns one error for each: nil means admitted and recorded, so that a crash
	// does not lose it. The transactions are decoded and their senders recovered, but
	// otherwise unchecked. ReceivedAt(ctx) is when their bytes were read.
	SubmitTxs(ctx context.Context, txs []*chain.Tx) []error
}

// TraceSource gives the node's events to subscribers.
type TraceSource interface {
	// SubscribeTrace returns events as they happen, and a function that ends it. A
	// reader that lags by more than buffer loses some; the Lost field of the next
	// event it gets counts them.
	SubscribeTrace(buffer int) (<-chan TraceEvent, func())
	// Clock reads the clock that stamps the events.
	Clock() ClockReading
}
