package node

import (
	"context"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/trace"
)

// ErrBusy says that the import queue is full.
var ErrBusy = errors.New("node: import queue is full")

// maxQueued bounds the blocks waiting for the applier: at the 4 MiB limit they hold 256 MiB.
const maxQueued = 64

// job is one block on its way into the chain. done, when not nil, has room for the one answer.
type job struct {
	block *chain.Block
	from  peer.ID
	adopt func() (chain.Update, error) // instead of chain.Add; nil: import the block
	done  chan error
}

// QueueBlock hands a block that passed chain.Check to the applier and never waits; ErrBusy when
// there is no room.
func (n *Node) QueueBlock(from peer.ID, b *chain.Block) error {
	select {
	case n.jobs <- job{block: b, from: from}:
		return nil
	default:
		return ErrBusy
	}
}

// EachTx calls f for every pooled transaction.
func (n *Node) EachTx(f func(*chain.Tx)) { n.pool.Each(f) }

// Sign signs a digest with the proposer's key, for what a relay says of our blocks.
func (n *Node) Sign(digest common.Hash) (sig [65]byte, err error) {
	if n.key == nil {
		return sig, errors.New("node: no proposer's key")
	}
	raw, err := crypto.Sign(digest[:], n.key)
	copy(sig[:], raw)
	return sig, err
}

// ImportBlock hands a block to the applier and waits for chain.Add's answer.
func (n *Node) ImportBlock(ctx context.Context, from peer.ID, b *chain.Block) error {
	return n.await(ctx, job{block: b, from: from})
}

// AdoptState has the applier take over the staged state after b and waits for the chain's answer.
func (n *Node) AdoptState(ctx context.Context, from peer.ID, s *chain.Staging, way []*chain.SignedHeader, b *chain.Block) error {
	return n.await(ctx, job{block: b, from: from, adopt: func() (chain.Update, error) { return s.Adopt(way, b) }})
}

// await hands a job to the applier and waits for its answer.
func (n *Node) await(ctx context.Context, j job) error {
	j.done = make(chan error, 1)
	select {
	case n.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-n.stopped:
		return context.Canceled
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-n.stopped:
		return context.Canceled
	}
}

// applier is the only writer of the chain: it imports what others hand in and, on its own slots,
// builds, publishes and imports a block. It works off what is queued before it returns.
func (n *Node) applier(ctx context.Context) error {
	defer close(n.stopped)
	turn := n.nextTurn(time.Now())
	timer := time.NewTimer(time.Until(turn.start))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			n.drain()
			return nil
		case j := <-n.jobs:
			n.apply(j)
		case <-n.bent: // perhaps the clock: slots begin at other times
			turn = n.nextTurn(time.Now())
			timer.Reset(time.Until(turn.start))
		case <-timer.C:
			if turn.ours {
				n.drain() // what is queued may be what to build on
				n.propose(turn.slot)
			}
			turn = n.nextTurn(time.Now())
			timer.Reset(time.Until(turn.start))
		}
	}
}

func (n *Node) drain() {
	for {
		select {
		case j := <-n.jobs:
			n.apply(j)
		default:
			return
		}
	}
}

// apply imports one block and tells everyone who has to know. No block and no trouble of the disk
// stops the node: reads go on, and the store heals when it can be written again.
func (n *Node) apply(j job) {
	add := j.adopt
	if add == nil {
		add = func() (chain.Update, error) { return n.chain.Add(j.block) }
		if n.charge != nil {
			n.charge(n.importWork(j.block))
		}
	}
	u, err := add()
	switch {
	case err == nil:
		n.imported(j.block, u)
	case errors.Is(err, chain.ErrKnown):
	case errors.Is(err, chain.ErrStorage), errors.Is(err, chain.ErrCorrupt):
		log.Errorw("block not stored", "number", j.block.Number(), "id", j.block.ID(), "err", err)
	default:
		log.Infow("block refused", "number", j.block.Number(), "id", j.block.ID(), "from", j.from, "err", err)
	}
	if j.done != nil {
		j.done <- err
	}
}

// importWork is what adding a block to the chain takes: the senders of transactions that were not
// pooled here are still to be recovered.
func (n *Node) importWork(b *chain.Block) chain.Work {
	w := chain.Work{Transfers: len(b.Txs())}
	for _, tx := range b.Txs() {
		if n.pool.Get(tx.Hash()) == nil {
			w.Signatures++
		}
	}
	return w
}

// imported is what follows an import: events, the pool's new view, gossip of what was reverted.
func (n *Node) imported(b *chain.Block, u chain.Update) {
	n.emit(trace.Event{Kind: trace.BlockImported, Hash: b.ID(), Size: uint32(b.Size()), Aux: int64(b.Number())})
	if n.metrics != nil {
		n.metrics.imported(b)
	}
	if u.Moved {
		n.emit(trace.Event{Kind: trace.HeadChanged, Hash: u.Head.Hash(), Size: uint32(len(u.Reverted)), Aux: u.Head.Number.Int64()})
		for _, applied := range u.Applied {
			for _, tx := range applied.Txs() {
				n.emit(trace.Event{Kind: trace.TxPlaced, Hash: tx.Hash(), Aux: int64(applied.Number())})
			}
		}
		if again := n.pool.Apply(u, n.chain.State()); len(again) > 0 {
			n.net.Announce(again)
		}
		log.Debugw("head", "number", u.Head.Number, "id", u.Head.Hash(), "txs", len(b.Txs()), "reverted", len(u.Reverted))
	}
	n.net.Imported(u)
}

// turn is the next slot and whether it is ours to propose in.
type turn struct {
	slot  uint64
	start time.Time
	ours  bool
}

// nextTurn is the first slot that begins after now and belongs to our key; without a key it is a
// far one that is not ours.
func (n *Node) nextTurn(now time.Time) turn {
	g := n.chain.Genesis()
	if n.key == nil {
		return turn{start: now.Add(time.Hour)}
	}
	slot := n.chain.SlotAt(now) + 1
	for range g.Proposers {
		if g.Proposer(slot) == n.proposer {
			return turn{slot: slot, start: n.chain.SlotStart(slot), ours: true}
		}
		slot++
	}
	return turn{start: now.Add(time.Hour)}
}

// propose builds a block on the head, publishes and imports it. A slot that cannot be used is left
// empty: the chain goes on with the next proposer.
func (n *Node) propose(slot uint64) {
	if n.bend.Load().Paused || chain.SlotOf(n.chain.Head()) >= slot {
		return // a block of this slot or a later one is already the head
	}
	// A stopped process or a suspended machine comes late. One slot is what a busy machine may need; after
	// that others have built on the block before ours, and ours would take theirs back.
	if now := n.chain.SlotAt(time.Now()); now > slot+1 {
		log.Warnw("slot left empty", "slot", slot, "now", now, "err", "its time is over")
		return
	}
	if err := n.guard.Claim(slot); err != nil { // durable before anything is signed
		log.Warnw("slot left empty", "slot", slot, "err", err)
		return
	}
	txs := n.pool.Build(n.blockBytes, n.chain.Genesis().GasLimit)
	b, left, err := n.chain.Build(slot, n.key, txs, n.blockBytes)
	if err != nil {
		log.Warnw("slot left empty", "slot", slot, "err", err)
		return
	}
	n.emit(trace.Event{Kind: trace.BlockSealed, Hash: b.ID(), Size: uint32(b.Size()), Aux: int64(b.Number())})
	if err := n.net.PublishBlock(b); err != nil {
		log.Warnw("block not published", "number", b.Number(), "err", err)
	}
	if n.bend.Load().Equivocate {
		n.equivocate(slot, b)
	}
	if len(left) > 0 {
		log.Debugw("left out of the block", "number", b.Number(), "txs", len(left))
	}
	n.apply(job{block: b, from: n.host.ID()})
}
