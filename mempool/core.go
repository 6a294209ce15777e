package mempool

import (
	"container/heap"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// State is what the pool must know of accounts: those at the head.
type State interface {
	Nonce(addr common.Address) uint64
	Balance(addr common.Address) *uint256.Int
}

// entry is one pooled transaction.
type entry struct {
	tx     *chain.Tx
	sender *account
	tip    uint256.Int // wei per gas that the proposer gets
	seq    uint64      // order of arrival
	at     time.Time
	heap   int // place in core.futures, -1 outside
}

func (e *entry) fee() *uint256.Int {
	return new(uint256.Int).Mul(&e.tip, uint256.NewInt(e.tx.GasUsed()))
}

// account is the queue of one sender: txs by nonce, of which the first exec are executable.
type account struct {
	addr  common.Address
	nonce uint64 // in the head's state
	txs   []*entry
	exec  int
	cost  uint256.Int // of all txs
	heap  int         // place in core.tails, -1 outside
}

func (a *account) tail() *entry { return a.txs[a.exec-1] }

// find is the place of a nonce in txs, and whether it is taken.
func (a *account) find(nonce uint64) (int, bool) {
	return slices.BinarySearchFunc(a.txs, nonce, func(e *entry, n uint64) int {
		switch {
		case e.tx.Nonce() < n:
			return -1
		case e.tx.Nonce() > n:
			return 1
		}
		return 0
	})
}

// core is the pool without lock, clock and journal.
type core struct {
	cfg     Config
	genesis *chain.Genesis
	state   State

	accounts map[common.Address]*account
	byHash   map[common.Hash]*entry
	tails    tails   // accounts with executable transactions, cheapest tail first
	futures  futures // future transactions, cheapest first
	execs    int     // executable transactions
	bytes    int     // of them
	ahead    int     // bytes of the future ones
	seq      uint64
	fresh    []*chain.Tx // became executable since the shell last asked
}

func newCore(cfg Config, g *chain.Genesis, st State) *core {
	return &core{
		cfg: cfg, genesis: g, state: st,
		accounts: make(map[common.Address]*account), byHash: make(map[common.Hash]*entry),
	}
}

// add admits one transaction of a known sender or says why not.
func (c *core) add(tx *chain.Tx, from common.Address, now time.Time) error {
	if c.byHash[tx.Hash()] != nil {
		return ErrKnown
	}
	a := c.accounts[from]
	if a == nil {
		a = &account{addr: from, nonce: c.state.Nonce(from), heap: -1}
	}
	if tx.Nonce() < a.nonce {
		return fmt.Errorf("%w: next nonce %d, tx nonce %d", ErrNonceTooLow, a.nonce, tx.Nonce())
	}
	e := &entry{tx: tx, sender: a, tip: tx.EffectiveTip(c.genesis.BaseFee), seq: c.seq, at: now, heap: -1}
	i, taken := a.find(tx.Nonce())
	if taken {
		return c.replace(a, i, e)
	}
	if err := c.fits(a, tx); err != nil {
		return err
	}
	if err := c.affords(a, tx.Cost(), nil); err != nil {
		return err
	}
	executable := i == a.exec && tx.Nonce() == a.nonce+uint64(a.exec) && a.exec < c.cfg.PerSender
	if executable {
		if err := c.makeRoom(e); err != nil {
			return err
		}
	} else if err := c.makeFutureRoom(e); err != nil {
		return err
	}
	c.accounts[from] = a
	i, _ = a.find(tx.Nonce()) // making room may have taken one of the sender's own future ones
	c.insert(a, i, e)
	if executable {
		c.promote(a)
	}
	return nil
}

// fits applies the limits of one sender.
func (c *core) fits(a *account, tx *chain.Tx) error {
	next := a.nonce // one above the last queued nonce
	if n := len(a.txs); n > 0 {
		next = a.txs[n-1].tx.Nonce() + 1
	}
	if tx.Nonce() > next && tx.Nonce()-next >= c.cfg.MaxGap {
		return fmt.Errorf("%w: last queued %d, tx nonce %d, at most %d above", ErrNonceTooHigh, int64(next)-1, tx.Nonce(), c.cfg.MaxGap)
	}
	if tx.Nonce() == a.nonce+uint64(a.exec) && a.exec < c.cfg.PerSender {
		return nil // the next executable one: a sender's future ones never lock it out
	}
	if len(a.txs)-a.exec >= c.cfg.FuturePerSend {
		return fmt.Errorf("%w: %d executable, %d future", ErrSenderLimit, a.exec, len(a.txs)-a.exec)
	}
	return nil
}

// affords checks that the sender can pay for all it has queued, less what is replaced, and cost.
func (c *core) affords(a *account, cost, replaced *uint256.Int) error {
	total, overflow := new(uint256.Int).AddOverflow(&a.cost, cost)
	if replaced != nil {
		total.Sub(total, replaced)
	}
	if balance := c.state.Balance(a.addr); overflow || total.Gt(balance) {
		return fmt.Errorf("%w: address %s have %s want %s", ErrInsufficientFunds, a.addr, balance, total)
	}
	return nil
}

// replace puts e in the place of the sender's transaction with the same nonce.
func (c *core) replace(a *account, i int, e *entry) error {
	old := a.txs[i]
	if !bumped(old.tx.FeeCap(), e.tx.FeeCap()) || !bumped(old.tx.TipCap(), e.tx.TipCap()) {
		return ErrReplaceUnderpriced
	}
	if err := c.affords(a, e.tx.Cost(), old.tx.Cost()); err != nil {
		return err
	}
	executable := i < a.exec
	grown := e.tx.Size() - old.tx.Size()
	if executable && c.bytes+grown > c.cfg.MaxBytes || !executable && c.ahead+grown > c.cfg.MaxFutureBytes {
		return ErrFull
	}
	if executable {
		c.bytes += grown
		c.fresh = append(c.fresh, e.tx)
	} else {
		c.leaveFuture(old)
		c.enterFuture(e)
	}
	delete(c.byHash, old.tx.Hash())
	c.byHash[e.tx.Hash()] = e
	a.cost.Sub(&a.cost, old.tx.Cost())
	a.cost.Add(&a.cost, e.tx.Cost())
	a.txs[i] = e
	c.seq++
	c.tails.fix(a)
	return nil
}

// bumped tells whether a new fee is at least a tenth above the old one.
func bumped(old, new *uint256.Int) bool {
	want, overflow := uint256.NewInt(0).MulDivOverflow(old, uint256.NewInt(110), uint256.NewInt(100))
	return !overflow && new.Gt(old) && !new.Lt(want)
}

// insert puts a new entry, future for now, into its sender's queue.
func (c *core) insert(a *account, i int, e *entry) {
	a.txs = slices.Insert(a.txs, i, e)
	a.cost.Add(&a.cost, e.tx.Cost())
	c.byHash[e.tx.Hash()] = e
	c.enterFuture(e)
	c.seq++
}

// remove takes a future entry out.
func (c *core) remove(e *entry) {
	a := e.sender
	i, _ := a.find(e.tx.Nonce())
	a.txs = slices.Delete(a.txs, i, i+1)
	a.cost.Sub(&a.cost, e.tx.Cost())
	delete(c.byHash, e.tx.Hash())
	c.leaveFuture(e)
	c.forget(a)
}

// demote makes the tail of a sender future.
func (c *core) demote(a *account) {
	e := a.tail()
	c.execs--
	c.bytes -= e.tx.Size()
	a.exec--
	c.enterFuture(e)
	c.tails.fix(a)
}

// raise makes the first future one of a sender executable.
func (c *core) raise(a *account) {
	e := a.txs[a.exec]
	c.leaveFuture(e)
	c.execs++
	c.bytes += e.tx.Size()
	a.exec++
	c.tails.fix(a)
}

func (c *core) enterFuture(e *entry) {
	heap.Push(&c.futures, e)
	c.ahead += e.tx.Size()
}

func (c *core) leaveFuture(e *entry) {
	heap.Remove(&c.futures, e.heap)
	c.ahead -= e.tx.Size()
}

// promote makes executable what follows without a gap, as far as there is room. The first one has
// its room already when it has just been added.
func (c *core) promote(a *account) {
	for a.exec < len(a.txs) && a.exec < c.cfg.PerSender {
		e := a.txs[a.exec]
		if e.tx.Nonce() != a.nonce+uint64(a.exec) || c.makeRoom(e) != nil {
			return
		}
		c.raise(a)
		c.fresh = append(c.fresh, e.tx)
	}
}

// forget drops the record of a sender that has nothing queued.
func (c *core) forget(a *account) {
	if len(a.txs) == 0 {
		delete(c.accounts, a.addr)
	}
}

// nonce is the sender's next one, counting its executable transactions.
func (c *core) nonce(addr common.Address) uint64 {
	if a := c.accounts[addr]; a != nil {
		return a.nonce + uint64(a.exec)
	}
	return c.state.Nonce(addr)
}
