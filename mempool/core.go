package mempool

import (
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// State is what the pool must know of accounts, at one head. It must answer from
// memory: it is asked under the pool's lock.
type State interface {
	Nonce(addr common.Address) uint64
	Balance(addr common.Address) *uint256.Int
}

// usage is what one of the two pools holds.
type usage struct{ count, bytes int }

// core is the pool without lock, clock and journal: the same calls give the same
// pool. Its invariants are those of the package.
type core struct {
	cfg     Config
	baseFee *uint256.Int
	state   State

	accounts map[common.Address]*account // those with something queued
	byHash   map[common.Hash]*entry
	tails    [pools]*tails
	used     [pools]usage
	waiting  map[*account]struct{} // have a next executable transaction that found no room
	frozen   bool                  // nothing is evicted
	allowed  usage                 // executable ones of a sender: PerSender and SenderBytes, but see lift
	seq      uint64
	dropped  Dropped

	// What happened since the shell last took it.
	fresh     []*chain.Tx   // became executable
	gone      []common.Hash // left the pool and are in no block
	displaced []*entry      // of gone, those that made way for another: were replaced or evicted
}

func newCore(cfg Config, baseFee *uint256.Int, st State) *core {
	return &core{
		cfg: cfg, baseFee: baseFee, state: st, allowed: usage{cfg.PerSender, cfg.SenderBytes},
		accounts: make(map[common.Address]*account), byHash: make(map[common.Hash]*entry),
		tails: [pools]*tails{{pool: executable}, {pool: future}}, waiting: make(map[*account]struct{}),
	}
}

// limit is the cap of one pool.
func (c *core) limit(pool int) usage {
	if pool == executable {
		return usage{c.cfg.MaxCount, c.cfg.MaxBytes}
	}
	return usage{c.cfg.MaxFuture, c.cfg.MaxFutureBytes}
}

// lift lets one sender have so much executable while what it had is put back in
// order, after a reorg say. The caps of a sender bound what comes in, not what was
// let in already. Zero ends it.
func (c *core) lift(to usage) {
	c.allowed = usage{max(c.cfg.PerSender, to.count), max(c.cfg.SenderBytes, to.bytes)}
}

// allows tells whether the caps of its sender let one more be executable.
func (c *core) allows(e *entry) bool {
	return len(e.from.queue[executable]) < c.allowed.count && e.from.bytes+e.tx.Size() <= c.allowed.bytes
}

// add admits one transaction of sender from, or says why not and changes nothing.
func (c *core) add(tx *chain.Tx, from common.Address, at int64) error {
	if c.byHash[tx.Hash()] != nil {
		return ErrKnown
	}
	a := c.accounts[from]
	if a == nil {
		a = newAccount(from, c.state.Nonce(from))
	}
	e := &entry{tx: tx, from: a, tip: tx.EffectiveTip(c.baseFee), seq: c.seq, at: at}
	if e.nonce() < a.nonce {
		return fmt.Errorf("%w: next nonce %d, tx nonce %d", ErrNonceTooLow, a.nonce, e.nonce())
	}
	var err error
	if pool, i, taken := a.find(e.nonce()); taken {
		err = c.replace(a, pool, i, e)
	} else {
		err = c.enqueue(a, e)
	}
	if err != nil {
		return err
	}
	c.seq++
	c.accounts[from] = a
	c.promote(a)
	return nil
}

// enqueue admits a transaction whose nonce the sender has not queued yet.
func (c *core) enqueue(a *account, e *entry) error {
	pool := future
	if e.nonce() == a.next() && c.allows(e) {
		pool = executable
	}
	if pool == future {
		// The last queued nonce is last() - 1, even when that is one before the first.
		if last := a.last(); e.nonce() >= last && e.nonce()-last >= c.cfg.MaxGap {
			return fmt.Errorf("%w: tx nonce %d, next nonce %d, a gap of at most %d is kept", ErrNonceTooHigh, e.nonce(), last, c.cfg.MaxGap)
		}
		if len(a.queue[future]) >= c.cfg.FuturePerSend {
			return fmt.Errorf("%w: %d executable transactions of %d bytes and %d future ones queued",
				ErrSenderLimit, len(a.queue[executable]), a.bytes, len(a.queue[future]))
		}
	}
	if err := c.afford(a, e.tx.Cost(), new(uint256.Int)); err != nil {
		return err
	}
	if err := c.makeRoom(pool, e, usage{1, e.tx.Size()}); err != nil {
		return err
	}
	c.insert(pool, e)
	return nil
}

// afford checks that the sender can pay for all it has queued and for cost, less
// the cost of what is replaced.
func (c *core) afford(a *account, cost, replaced *uint256.Int) error {
	queued := new(uint256.Int).Sub(&a.cost, replaced)
	total, over := new(uint256.Int).AddOverflow(queued, cost)
	if balance := c.state.Balance(a.addr); over || total.Gt(balance) {
		return fmt.Errorf("%w: balance %s, queued cost %s, tx cost %s", ErrInsufficientFunds, balance.Dec(), queued.Dec(), cost.Dec())
	}
	return nil
}

// replace puts e in the place of the sender's transaction with the same nonce.
// Those behind it stay: they are paid for still.
func (c *core) replace(a *account, pool, i int, e *entry) error {
	old := a.queue[pool][i]
	if !bumped(old.tx.FeeCap(), e.tx.FeeCap()) || !bumped(old.tx.TipCap(), e.tx.TipCap()) {
		return ErrReplaceUnderpriced
	}
	if now, was := e.fee(), old.fee(); now.Lt(&was) { // BIP 125 rule 3
		return fmt.Errorf("%w: tips of %s wei in all, the one it replaces pays %s: pay at least as much, even to cancel it by less gas",
			ErrReplaceUnderpriced, now.Dec(), was.Dec())
	}
	if err := c.afford(a, e.tx.Cost(), old.tx.Cost()); err != nil {
		return err
	}
	if grow := e.tx.Size() - old.tx.Size(); grow > 0 {
		if pool == executable && a.bytes+grow > c.allowed.bytes {
			return fmt.Errorf("%w: %d executable bytes queued, the replacement has %d more", ErrSenderLimit, a.bytes, grow)
		}
		if err := c.makeRoom(pool, e, usage{0, grow}); err != nil {
			return err
		}
	}
	a.queue[pool][i] = e
	c.release(pool, old)
	c.charge(pool, e)
	c.tails[pool].fix(a)
	c.dropped.Replaced++
	c.gone = append(c.gone, old.tx.Hash())
	c.displaced = append(c.displaced, old)
	if pool == executable {
		c.fresh = append(c.fresh, e.tx)
	}
	return nil
}

// bumpPercent is by how much a replacement must raise both fee fields, so that
// relaying replacements for ever costs something (BIP 125 rule 4; go-ethereum).
const bumpPercent = 10

func bumped(old, now *uint256.Int) bool {
	want, over := new(uint256.Int).MulDivOverflow(old, uint256.NewInt(100+bumpPercent), uint256.NewInt(100))
	return !over && now.Gt(old) && !now.Lt(want)
}

// promote makes executable what follows without a gap, as far as there is room.
func (c *core) promote(a *account) {
	defer c.file(a)
	for len(a.queue[future]) > 0 {
		e := a.queue[future][0]
		if e.nonce() != a.next() {
			break
		}
		if !c.allows(e) || c.makeRoom(executable, e, usage{1, e.tx.Size()}) != nil {
			break // it waits
		}
		c.take(future, a, 0)
		c.insert(executable, e)
	}
}

// insert queues an entry that has room and belongs at the end of the executable
// queue or somewhere in the future one.
func (c *core) insert(pool int, e *entry) {
	a := e.from
	if pool == executable {
		a.queue[executable] = append(a.queue[executable], e)
		c.fresh = append(c.fresh, e.tx)
	} else {
		i, _ := a.futurePlace(e.nonce())
		a.queue[future] = slices.Insert(a.queue[future], i, e)
	}
	c.charge(pool, e)
	c.tails[pool].fix(a)
}

// take unqueues the entry at place i without a word to anyone.
func (c *core) take(pool int, a *account, i int) *entry {
	e := a.queue[pool][i]
	a.queue[pool] = slices.Delete(a.queue[pool], i, i+1)
	c.release(pool, e)
	c.tails[pool].fix(a)
	return e
}

func (c *core) charge(pool int, e *entry) {
	c.byHash[e.tx.Hash()] = e
	c.used[pool].count++
	c.used[pool].bytes += e.tx.Size()
	e.from.cost.Add(&e.from.cost, e.tx.Cost())
	if pool == executable {
		e.from.bytes += e.tx.Size()
	}
}

func (c *core) release(pool int, e *entry) {
	delete(c.byHash, e.tx.Hash())
	c.used[pool].count--
	c.used[pool].bytes -= e.tx.Size()
	e.from.cost.Sub(&e.from.cost, e.tx.Cost())
	if pool == executable {
		e.from.bytes -= e.tx.Size()
	}
}

// file forgets a sender that has nothing queued, and notes whether one waits for
// room. It ends every step that changes the queues of a.
func (c *core) file(a *account) {
	if a.empty() {
		delete(c.accounts, a.addr)
	}
	if q := a.queue[future]; len(q) > 0 && q[0].nonce() == a.next() {
		c.waiting[a] = struct{}{}
	} else {
		delete(c.waiting, a)
	}
}

// nonce is the first nonce of addr that is free and has no gap before it.
func (c *core) nonce(addr common.Address) uint64 {
	a := c.accounts[addr]
	if a == nil {
		return c.state.Nonce(addr)
	}
	next := a.next()
	for _, e := range a.queue[future] { // those waiting for room
		if e.nonce() != next {
			break
		}
		next++
	}
	return next
}
