package devnet

import (
	"context"
	"sync"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/workload"
	"github.com/pheme-net/pheme/p2p/trace"
)

// withheld are the pooled transactions that a node tells nobody of: those that were placed in its pool, until a block has brought
// them.
type withheld struct {
	mu  sync.Mutex
	txs map[common.Hash]struct{}
}

// has is the node's Deps.Withhold.
func (w *withheld) has(hash common.Hash) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, yes := w.txs[hash]
	return yes
}

func (w *withheld) add(txs []*chain.Tx) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.txs == nil {
		w.txs = map[common.Hash]struct{}{}
	}
	for _, tx := range txs {
		w.txs[tx.Hash()] = struct{}{}
	}
}

// record is a trace hook.
func (w *withheld) record(e trace.Event) {
	if e.Kind == trace.TxPlaced {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.txs, e.Hash)
	}
}

// place puts the transactions of each slot's block into pools, half a slot before: all of them into the proposer's, and into the
// others' what they hold beforehand.
func (r *virtualRun) place(ctx context.Context) error {
	for i, raws := range r.plan.Blocks {
		slot := r.first + uint64(i)
		if err := until(ctx, r.genesis.SlotStart(slot).Add(-r.spec.Chain.Slot.D()/2)); err != nil {
			return err
		}
		txs := make([]*chain.Tx, len(raws)) // one of each for all nodes, like what the network brings
		for k, raw := range raws {
			var err error
			if txs[k], err = chain.DecodeTx(raw); err != nil {
				return err
			}
		}
		proposer := int(slot % uint64(len(r.genesis.Proposers)))
		for node, m := range r.members {
			hold := workload.Holds(r.spec, r.seed, i, node)
			var own []*chain.Tx
			for k, tx := range txs {
				if node == proposer || hold(k) {
					own = append(own, tx)
				}
			}
			if len(own) > 0 {
				r.outcome.Take(m.hold(own))
			}
		}
	}
	return nil
}

// hold puts transactions into the node's pool that it tells nobody of.
func (m *member) hold(txs []*chain.Tx) []error {
	m.withheld.add(txs)
	return m.pool.Add(txs)
}
