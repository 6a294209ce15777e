package mempool

import (
	"cmp"
	"slices"

	"github.com/ethereum/go-ethereum/common"
)

// undo takes out what was added and puts back what made way for it, oldest first.
// Nothing is trimmed before all are back: those behind a nonce that is exchanged are
// future ones only for a moment. Nothing is evicted either: there was room for all.
// What was displaced by others than those added finds its place taken, or waits for
// room like anyone.
func (c *core) undo(added, displaced []*entry) {
	c.frozen = true
	defer func() { c.frozen = false }()
	out := make(map[*entry]bool, len(added))
	had := make(map[common.Address]usage) // executable ones, of those whose queues change
	var senders []common.Address
	touch := func(addr common.Address) {
		if _, ok := had[addr]; ok {
			return
		}
		had[addr] = usage{}
		if a := c.accounts[addr]; a != nil {
			had[addr] = usage{len(a.queue[executable]), a.bytes}
		}
		senders = append(senders, addr)
	}
	for _, e := range slices.Concat(added, displaced) {
		touch(e.from.addr)
	}
	for _, e := range slices.Backward(added) { // tails first, so that few move
		out[e] = true
		if c.byHash[e.tx.Hash()] != e {
			continue // left already
		}
		pool, i, _ := e.from.find(e.nonce())
		c.drop(pool, e.from, i)
		c.dropped.Unrecorded++
	}
	slices.SortFunc(displaced, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	for _, e := range displaced {
		if !out[e] {
			c.readmit(e.tx, e.from.addr, e.seq, e.at)
			u := had[e.from.addr]
			had[e.from.addr] = usage{u.count + 1, u.bytes + e.tx.Size()}
		}
	}
	for _, addr := range senders {
		if a := c.accounts[addr]; a != nil {
			c.lift(had[addr])
			c.promote(a)
		}
	}
	c.lift(usage{})
	for _, addr := range senders {
		if a := c.accounts[addr]; a != nil {
			c.trimSender(a)
		}
	}
	c.trim()
	c.promoteWaiting()
}
