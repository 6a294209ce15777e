package mempool

import (
	"cmp"
	"errors"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// Dropped counts what left the pool without getting into a block, by reason,
// since the pool was opened.
type Dropped struct {
	Replaced   uint64 // by another one with the same nonce that pays more
	Evicted    uint64 // outpaid while the pool was full
	Overdrawn  uint64 // the sender spent its balance in another way
	Crowded    uint64 // lost its place among the executable ones, no room among the future ones
	Expired    uint64 // older than the TTL
	Unrecorded uint64 // not accepted: the journal could not be written
	Reverted   uint64 // left the chain with a block, and there was no room or money for it
}

// moved is an account that a new head may have changed.
type moved struct {
	addr common.Address
	back []*chain.Tx // its reverted transactions, by nonce
}

// update moves the pool to a new head. Only the moved accounts are looked at.
// It returns the reverted transactions that are pooled again.
func (c *core) update(st State, accounts []moved, at int64) (readded []*chain.Tx) {
	c.state = st
	for _, m := range accounts { // room first: what is in a block leaves
		if a := c.accounts[m.addr]; a != nil && st.Nonce(m.addr) >= a.nonce {
			c.settle(a)
		}
	}
	for _, m := range accounts { // then what comes back, a sender at a time so that each keeps the room it had
		var had usage // what the pool and the chain had let in
		for _, tx := range m.back {
			had.bytes += tx.Size()
		}
		had.count = len(m.back)
		if a := c.accounts[m.addr]; a != nil {
			had.count, had.bytes = had.count+len(a.queue[executable]), had.bytes+a.bytes
			if st.Nonce(m.addr) < a.nonce {
				c.settle(a)
			}
		}
		c.lift(had)
		readded = append(readded, c.readd(m, at)...)
		if a := c.accounts[m.addr]; a != nil {
			c.promote(a)
		}
	}
	c.lift(usage{})
	for _, m := range accounts {
		if a := c.accounts[m.addr]; a != nil {
			c.promote(a)
			c.trimSender(a)
		}
	}
	c.trim()
	c.promoteWaiting()
	return readded
}

// withAll adds every other account that has something queued, by address.
func (c *core) withAll(accounts []moved) []moved {
	have := make(map[common.Address]bool, len(accounts))
	for _, m := range accounts {
		have[m.addr] = true
	}
	n := len(accounts)
	for addr := range c.accounts {
		if !have[addr] {
			accounts = append(accounts, moved{addr: addr})
		}
	}
	slices.SortFunc(accounts[n:], func(a, b moved) int { return a.addr.Cmp(b.addr) })
	return accounts
}

// settle fits a queue to its account: spent nonces leave; after a reorg to a
// lower nonce everything is future until what fills the gap is back; what the
// balance does not cover leaves from the end.
func (c *core) settle(a *account) {
	nonce := c.state.Nonce(a.addr)
	switch {
	case nonce < a.nonce:
		c.demote(a, 0)
	case nonce > a.nonce:
		c.spend(executable, a, int(min(nonce-a.nonce, uint64(len(a.queue[executable])))))
		i, _ := a.futurePlace(nonce)
		c.spend(future, a, i)
	}
	a.nonce = nonce
	for balance := c.state.Balance(a.addr); a.cost.Gt(balance); {
		c.dropLast(a)
	}
	c.file(a)
}

// spend takes out the first n of a queue, whose nonces are used.
func (c *core) spend(pool int, a *account, n int) {
	for _, e := range a.queue[pool][:n] {
		c.release(pool, e)
	}
	a.queue[pool] = slices.Delete(a.queue[pool], 0, n)
	c.tails[pool].fix(a)
}

// dropLast drops the highest nonce of a sender that cannot pay for all it has.
func (c *core) dropLast(a *account) {
	pool := future
	if len(a.queue[future]) == 0 {
		pool = executable
	}
	c.drop(pool, a, len(a.queue[pool])-1)
	c.dropped.Overdrawn++
}

// readd takes reverted transactions back. Where the balance does not cover all,
// they go before the later ones that were queued behind them. It pools copies: the
// bytes of one in a block are a part of the block, and would keep all of it in memory.
func (c *core) readd(m moved, at int64) (readded []*chain.Tx) {
	if len(m.back) == 0 {
		return nil
	}
	balance, nonce := c.state.Balance(m.addr), c.state.Nonce(m.addr)
	for _, tx := range m.back {
		if tx.Nonce() < nonce {
			continue // the other branch has it, or another one instead
		}
		for a := c.accounts[m.addr]; a != nil && !a.empty() && a.last() > tx.Nonce()+1; {
			if total, over := new(uint256.Int).AddOverflow(&a.cost, tx.Cost()); !over && !total.Gt(balance) {
				break
			}
			c.dropLast(a)
			c.file(a)
		}
		own, err := chain.DecodeTx(tx.Raw())
		if err == nil {
			err = c.add(own, m.addr, at)
		}
		switch {
		case err == nil:
			readded = append(readded, own)
		case !errors.Is(err, ErrKnown):
			c.dropped.Reverted++
		}
	}
	return readded
}

// demote makes the executable entries from place i on future ones, without a look at the caps.
func (c *core) demote(a *account, i int) {
	down := a.queue[executable][i:]
	for _, e := range down {
		c.used[executable].count--
		c.used[executable].bytes -= e.tx.Size()
		a.bytes -= e.tx.Size()
		c.used[future].count++
		c.used[future].bytes += e.tx.Size()
	}
	a.queue[future] = slices.Insert(a.queue[future], 0, down...)
	a.queue[executable] = slices.Delete(a.queue[executable], i, len(a.queue[executable]))
	c.tails[executable].fix(a)
	c.tails[future].fix(a)
}

// drop takes out the entry at place i, for good. Executable ones behind it become future.
func (c *core) drop(pool int, a *account, i int) {
	if pool == executable {
		c.demote(a, i+1)
	}
	e := c.take(pool, a, i)
	c.gone = append(c.gone, e.tx.Hash())
}

// remove drops one transaction, if it is pooled.
func (c *core) remove(hash common.Hash) bool {
	e := c.byHash[hash]
	if e == nil {
		return false
	}
	a := e.from
	pool, i, _ := a.find(e.nonce())
	c.drop(pool, a, i)
	c.promote(a)
	c.trimSender(a)
	c.trim()
	c.file(a)
	return true
}

// expire drops what arrived before a time and returns how many those were.
func (c *core) expire(before int64) int {
	var old []*entry
	for _, e := range c.byHash {
		if e.at < before {
			old = append(old, e)
		}
	}
	slices.SortFunc(old, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	n := 0
	for _, e := range old {
		if c.remove(e.tx.Hash()) {
			n++
		}
	}
	c.dropped.Expired += uint64(n)
	c.promoteWaiting()
	return n
}

// trimSender holds a future queue to its cap after a demotion. Those that follow
// without a gap stay: they only wait for room, and the caps of the pool bound them.
func (c *core) trimSender(a *account) {
	for n := len(a.queue[future]); n > c.cfg.FuturePerSend && a.last() != a.next()+uint64(n); n-- {
		c.drop(future, a, n-1)
		c.dropped.Crowded++
	}
	c.file(a)
}

// trim holds the future pool to its caps after a demotion.
func (c *core) trim() {
	limit := c.limit(future)
	for c.used[future].count > limit.count || c.used[future].bytes > limit.bytes {
		a := c.tails[future].list[0]
		c.drop(future, a, len(a.queue[future])-1)
		c.dropped.Crowded++
		c.file(a)
	}
}

// promoteWaiting lets those who found no room try again, the best tip first.
func (c *core) promoteWaiting() {
	if len(c.waiting) == 0 {
		return
	}
	list := make([]*account, 0, len(c.waiting))
	for a := range c.waiting {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *account) int { return better(a.queue[future][0], b.queue[future][0]) })
	for _, a := range list {
		c.promote(a)
	}
}

// better orders entries by tip, the highest first, of equals the earliest.
func better(a, b *entry) int {
	if d := b.tip.Cmp(&a.tip); d != 0 {
		return d
	}
	return cmp.Compare(a.seq, b.seq)
}
