package node

import (
	"context"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
	"github.com/pheme-net/pheme/rpc"
)

// SubmitTxs takes transactions that came in over RPC: what the pool admits is recorded in its
// journal and then published. It returns one error a transaction, nil for admitted.
func (n *Node) SubmitTxs(ctx context.Context, txs []*chain.Tx) []error {
	at := n.clock.Now()
	if read := rpc.ReceivedAt(ctx); !read.IsZero() {
		at = n.clock.At(read)
	}
	errs := make([]error, len(txs))
	good := make([]*chain.Tx, 0, len(txs))
	index := make([]int, 0, len(txs))
	for i, tx := range txs {
		n.hook.Emit(trace.Event{At: at, Kind: trace.TxSubmitted, Hash: tx.Hash(), Size: uint32(tx.Size())})
		if errs[i] = chain.CheckTx(tx, n.chain.Genesis()); errs[i] == nil {
			good, index = append(good, tx), append(index, i)
		}
	}
	if n.charge != nil {
		n.charge(n.workOf(good))
	}
	admitted := make([]*chain.Tx, 0, len(good))
	for k, err := range n.pool.Add(good) {
		if errs[index[k]] = err; err == nil {
			admitted = append(admitted, good[k])
		}
	}
	n.admitted(0, admitted)
	if len(admitted) == 0 {
		return errs
	}
	if err := n.net.PublishTx(admitted); err != nil {
		// They stay in the pool and the journal: our own blocks and the peers' catch-up carry them on.
		log.Warnw("transactions admitted but not published", "count", len(admitted), "err", err)
	}
	return errs
}

// workOf is what checking transactions takes that came one by one.
func (n *Node) workOf(txs []*chain.Tx) (w chain.Work) {
	for _, tx := range txs {
		w.HashedBytes += tx.Size()
		if n.pool.Get(tx.Hash()) == nil {
			w.Signatures++
		}
	}
	return w
}

// AllowTxs takes count transactions out of a peer's budget.
func (n *Node) AllowTxs(from peer.ID, count int) bool {
	return n.pool.Allow(trace.PeerTag(from.String()), count)
}

// AddTxs offers the pool transactions from a peer that keep every stateless rule.
func (n *Node) AddTxs(from peer.ID, txs []*chain.Tx) []error {
	errs := n.pool.Add(txs)
	admitted := make([]*chain.Tx, 0, len(txs))
	for i, err := range errs {
		if err == nil {
			admitted = append(admitted, txs[i])
		}
	}
	n.admitted(trace.PeerTag(from.String()), admitted)
	return errs
}

func (n *Node) admitted(from uint64, txs []*chain.Tx) {
	for _, tx := range txs {
		n.emit(trace.Event{Kind: trace.TxAdmitted, Hash: tx.Hash(), Peer: from, Size: uint32(tx.Size())})
	}
}

// Pooled returns the pooled transactions that peers may have.
func (n *Node) Pooled() []*chain.Tx {
	all := n.pool.All()
	if n.withhold == nil {
		return all
	}
	return slices.DeleteFunc(all, func(tx *chain.Tx) bool { return n.withhold(tx.Hash()) })
}

// Tx returns a pooled transaction, or nil.
func (n *Node) Tx(hash common.Hash) *chain.Tx { return n.pool.Get(hash) }

// PoolSize counts the pooled transactions.
func (n *Node) PoolSize() int {
	s := n.pool.Stats()
	return s.Executable + s.Future
}
