package mempool

import (
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
)

// apply moves the pool to a new head: what its blocks hold goes out, what left the chain comes back
// in. Only the senders in those blocks are looked at. It returns the transactions that came back.
func (c *core) apply(u chain.Update, st State, now time.Time) []*chain.Tx {
	c.state = st
	included := make(map[common.Hash]bool)
	touched := make(map[common.Address]bool)
	for _, b := range u.Applied {
		for _, tx := range b.Txs() {
			included[tx.Hash()] = true
			touched[c.senderOf(tx)] = true
		}
	}
	var back []*chain.Tx
	for _, b := range u.Reverted {
		for _, tx := range b.Txs() {
			touched[c.senderOf(tx)] = true
			if !included[tx.Hash()] {
				back = append(back, tx)
			}
		}
	}
	for addr := range touched {
		if a := c.accounts[addr]; a != nil {
			c.rebase(a)
		}
	}
	readded := back[:0]
	for _, tx := range back {
		if c.add(tx, c.senderOf(tx), now) == nil {
			readded = append(readded, tx)
		}
	}
	for addr := range touched {
		if a := c.accounts[addr]; a != nil {
			c.promote(a)
		}
	}
	c.trimFuture()
	return readded
}

// senderOf is the sender of a transaction that a block holds, so its signature is good.
func (c *core) senderOf(tx *chain.Tx) common.Address {
	addr, _ := tx.Sender(c.genesis.ChainID)
	return addr
}

// rebase fits a sender's queue to its account in the new state: spent nonces leave, and from the
// end whatever it cannot pay for any more. What has no gap before it stays or becomes executable,
// the rest is future.
func (c *core) rebase(a *account) {
	a.nonce = c.state.Nonce(a.addr)
	whole := 0 // executable ones that still are, counted after the spent ones have left
	spent, _ := a.find(a.nonce)
	for i := spent; i < a.exec && a.txs[i].tx.Nonce() == a.nonce+uint64(i-spent); i++ {
		whole++
	}
	was := a.exec
	for a.exec > 0 {
		c.demote(a)
	}
	for range spent {
		c.remove(a.txs[0])
	}
	for balance := c.state.Balance(a.addr); len(a.txs) > 0 && a.cost.Gt(balance); {
		c.remove(a.txs[len(a.txs)-1])
	}
	for range min(whole, len(a.txs), was) {
		c.raise(a) // the room it had is still its own
	}
}

// expire drops what came in before the given time, and what is executable only through it becomes
// future. It returns how many were dropped.
func (c *core) expire(before time.Time) int {
	var old []*entry
	for _, e := range c.byHash {
		if e.at.Before(before) {
			old = append(old, e)
		}
	}
	for _, e := range old {
		a := e.sender
		for i, _ := a.find(e.tx.Nonce()); a.exec > i; {
			c.demote(a)
		}
		c.remove(e)
	}
	c.trimFuture()
	return len(old)
}

// drop takes one transaction out, as expire does.
func (c *core) drop(hash common.Hash) {
	e := c.byHash[hash]
	if e == nil {
		return
	}
	a := e.sender
	for i, _ := a.find(e.tx.Nonce()); a.exec > i; {
		c.demote(a)
	}
	c.remove(e)
	c.trimFuture()
}

// promoteAll gives future transactions that waited for room another chance.
func (c *core) promoteAll() {
	waiting := make(map[*account]bool)
	for _, e := range c.futures {
		waiting[e.sender] = true
	}
	for a := range waiting {
		c.promote(a)
	}
}

// queues lists the transactions of a sender.
func (a *account) queues() (executable, future []*chain.Tx) {
	for i, e := range a.txs {
		if i < a.exec {
			executable = append(executable, e.tx)
		} else {
			future = append(future, e.tx)
		}
	}
	return executable, future
}

// all lists every transaction in the order of arrival, so that adding them again in that order ends
// in the same pool.
func (c *core) all() []*chain.Tx {
	entries := make([]*entry, 0, len(c.byHash))
	for _, e := range c.byHash {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *entry) int {
		switch {
		case a.seq < b.seq:
			return -1
		case a.seq > b.seq:
			return 1
		}
		return 0
	})
	txs := make([]*chain.Tx, len(entries))
	for i, e := range entries {
		txs[i] = e.tx
	}
	return txs
}
