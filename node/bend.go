package node

import (
	"errors"
	"time"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/rpc"
)

// Bend is how this node differs from an honest one with a true clock. It is for measuring what such
// nodes do to others; the zero value is an honest node.
type Bend struct {
	Skew       time.Duration // its clock is ahead by this
	Silent     bool          // it takes what it is sent, passes nothing on and serves no block
	Equivocate bool          // it signs two blocks in each of its slots and publishes both
	Paused     bool          // it seals nothing: in virtual time, where no process can be stopped
}

// SetBend makes the node what b says from now on.
func (n *Node) SetBend(b Bend) {
	n.bend.Store(&b)
	n.chain.SetSkew(b.Skew)
	n.net.SetSilent(b.Silent)
	select {
	case n.bent <- struct{}{}:
	default: // it looks anyway
	}
}

// Bends counts what a bent node has done: messages it accepted and did not pass on, and second
// blocks it published.
func (n *Node) Bends() (withheld, second uint64) {
	return n.net.Stats().Withheld, n.equivocals.Load()
}

// bendOver is SetBend for the API; nil only asks.
func (n *Node) bendOver(b *rpc.Bend) (rpc.BendCount, error) {
	if !n.bendable {
		return rpc.BendCount{}, errors.New("this node keeps its shape: start it with --bendable")
	}
	if b != nil {
		n.SetBend(Bend{Skew: time.Duration(b.SkewNS), Silent: b.Silent, Equivocate: b.Equivocate})
	}
	now := n.bend.Load()
	out := rpc.BendCount{Bend: rpc.Bend{SkewNS: int64(now.Skew), Silent: now.Silent, Equivocate: now.Equivocate}}
	out.Withheld, out.Second = n.Bends()
	return out, nil
}

// equivocate publishes another block for the slot of b, on the same parent: b without its last
// transaction. A block of none has no sibling. The second block is no message of ours for whoever
// measures: a network must not spread it, so it is not announced as sealed.
func (n *Node) equivocate(slot uint64, b *chain.Block) {
	txs := b.Txs()
	if len(txs) == 0 {
		return
	}
	second, _, err := n.chain.Build(slot, n.key, txs[:len(txs)-1], n.blockBytes)
	if err == nil {
		err = n.net.PublishBlock(second)
	}
	if err != nil {
		log.Warnw("no second block", "slot", slot, "err", err)
		return
	}
	n.equivocals.Add(1)
}

// AddPeer keeps a connection to the peer at a multiaddr that ends in /p2p/<peer id>.
func (n *Node) AddPeer(multiaddr string) error { return n.net.AddPeer(multiaddr) }
