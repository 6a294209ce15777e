package mempool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ipfs/go-log/v2"

	"github.com/pheme-net/pheme/chain"
)

var logger = log.Logger("mempool")

// upkeep is how often expired transactions leave, waiting ones are tried and the journal is looked at.
const upkeep = 10 * time.Second

// Pool is a core behind one mutex, with a journal and subscribers.
//
// Stages: Open replays the journal; Run keeps the pool tidy until its context ends and need not run
// for the rest to work; Close ends the journal.
type Pool struct {
	cfg     Config
	genesis *chain.Genesis
	journal *journal // nil without one

	mu     sync.Mutex // guards what follows; held for map work only
	core   *core
	budget *budget
	subs   map[chan *chain.Tx]struct{}
	closed bool
}

// Stats counts what is pooled.
type Stats struct {
	Executable, Future int
	Bytes              int // raw bytes of both
}

// Content holds pooled transactions by sender, in the order of nonces.
type Content struct {
	Executable, Future map[common.Address][]*chain.Tx
}

// Open makes a pool on the state at the head and fills it from the journal, if there is one.
func Open(cfg Config, g *chain.Genesis, st State) (*Pool, error) {
	cfg = cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Pool{
		cfg: cfg, genesis: g, core: newCore(cfg, g, st),
		budget: newBudget(cfg.PeerRate, cfg.PeerBurst), subs: make(map[chan *chain.Tx]struct{}),
	}
	if cfg.JournalPath == "" {
		return p, nil
	}
	every := time.Duration(0)
	if cfg.JournalSync {
		every = cfg.SyncEvery
	}
	j, r, err := openJournal(cfg.JournalPath, every)
	if err != nil {
		return nil, err
	}
	p.journal = j
	p.replay(r)
	return p, nil
}

// replay fills the pool from the journal. What the chain has included meanwhile is refused here.
func (p *Pool) replay(r replayed) {
	chain.RecoverSenders(r.txs, p.genesis)
	back := 0
	for _, tx := range r.txs {
		if chain.CheckTx(tx, p.genesis) != nil {
			r.skipped++
			continue
		}
		from, _ := tx.Sender(p.genesis.ChainID)
		if p.core.add(tx, from, time.Now()) == nil {
			back++
		}
	}
	p.core.fresh = nil
	if r.skipped > 0 {
		logger.Warnw("journal has damaged records", "skipped", r.skipped, "path", p.cfg.JournalPath)
	}
	if len(r.txs) > 0 {
		logger.Infow("journal replayed", "records", len(r.txs), "pooled", back)
	}
}

// Add admits transactions of our own clients, in order: one answer each, nil for newly admitted and
// recorded. They must have passed chain.CheckTx, which recovers the sender.
func (p *Pool) Add(txs []*chain.Tx) []error { return p.add(txs, len(txs)) }

// AddFrom is Add for what a peer offers, within that peer's budget.
func (p *Pool) AddFrom(peer uint64, txs []*chain.Tx) []error {
	p.mu.Lock()
	allowed := p.budget.take(time.Now(), peer, len(txs))
	p.mu.Unlock()
	return p.add(txs, allowed)
}

func (p *Pool) add(txs []*chain.Tx, allowed int) []error {
	errs := make([]error, len(txs))
	senders := make([]common.Address, len(txs))
	for i, tx := range txs { // cached by now; if not, the signature is checked here, outside the lock
		if i >= allowed {
			errs[i] = ErrBudget
			continue
		}
		senders[i], errs[i] = tx.Sender(p.genesis.ChainID)
	}
	now := time.Now()
	var admitted []*chain.Tx
	p.mu.Lock()
	for i, tx := range txs {
		switch {
		case errs[i] != nil:
		case p.closed:
			errs[i] = ErrClosed
		default:
			if errs[i] = p.core.add(tx, senders[i], now); errs[i] == nil {
				admitted = append(admitted, tx)
			}
		}
	}
	fresh := p.core.takeFresh()
	p.mu.Unlock()
	if len(admitted) == 0 {
		return errs
	}
	if err := p.record(admitted); err != nil {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
		return errs
	}
	p.publish(fresh)
	return errs
}

// record writes the journal. What cannot be recorded is not accepted: it leaves the pool again.
func (p *Pool) record(txs []*chain.Tx) error {
	if p.journal == nil {
		return nil
	}
	err := p.journal.append(txs)
	if err == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, tx := range txs {
		p.core.drop(tx.Hash())
	}
	return fmt.Errorf("%w: %w", ErrJournal, err)
}

// Apply moves the pool to the head an update led to; st is the state there. It returns transactions
// that left the chain and are pooled again, for the node to announce.
func (p *Pool) Apply(u chain.Update, st State) []*chain.Tx {
	p.mu.Lock()
	readded := p.core.apply(u, st, time.Now())
	fresh := p.core.takeFresh()
	p.mu.Unlock()
	if len(readded) > 0 {
		if err := p.record(readded); err != nil {
			logger.Errorw("reverted transactions not recorded", "count", len(readded), "err", err)
			return nil
		}
	}
	p.publish(fresh)
	return readded
}

// Build picks executable transactions for a block: highest tip first, nonces in order.
func (p *Pool) Build(maxBytes int, gas uint64) []*chain.Tx {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.build(maxBytes, gas)
}

// Get is a pooled transaction or nil.
func (p *Pool) Get(hash common.Hash) *chain.Tx {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.core.byHash[hash]; e != nil {
		return e.tx
	}
	return nil
}

// Nonce is the next nonce of addr, counting its executable transactions.
func (p *Pool) Nonce(addr common.Address) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.nonce(addr)
}

// Stats counts what is pooled.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Executable: p.core.execs, Future: len(p.core.futures), Bytes: p.core.bytes + p.core.ahead}
}

// Content lists everything.
func (p *Pool) Content() Content {
	out := Content{Executable: make(map[common.Address][]*chain.Tx), Future: make(map[common.Address][]*chain.Tx)}
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, a := range p.core.accounts {
		executable, future := a.queues()
		if len(executable) > 0 {
			out.Executable[addr] = executable
		}
		if len(future) > 0 {
			out.Future[addr] = future
		}
	}
	return out
}

// ContentFrom lists what one sender has.
func (p *Pool) ContentFrom(addr common.Address) (executable, future []*chain.Tx) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.core.accounts[addr]; a != nil {
		return a.queues()
	}
	return nil, nil
}

// Subscribe sends transactions as they become executable. A full channel misses some. The function
// ends it.
func (p *Pool) Subscribe(buffer int) (<-chan *chain.Tx, func()) {
	ch := make(chan *chain.Tx, max(1, buffer))
	p.mu.Lock()
	p.subs[ch] = struct{}{}
	p.mu.Unlock()
	return ch, func() {
		p.mu.Lock()
		delete(p.subs, ch)
		p.mu.Unlock()
	}
}

func (p *Pool) publish(fresh []*chain.Tx) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ch := range p.subs {
		for _, tx := range fresh {
			select { // never waits
			case ch <- tx:
			default:
			}
		}
	}
}

// takeFresh hands over what became executable, if it is still pooled.
func (c *core) takeFresh() []*chain.Tx {
	fresh := c.fresh[:0:0]
	for _, tx := range c.fresh {
		if c.byHash[tx.Hash()] != nil {
			fresh = append(fresh, tx)
		}
	}
	c.fresh = c.fresh[:0]
	return fresh
}

// Run keeps the pool tidy until ctx ends.
func (p *Pool) Run(ctx context.Context) error {
	tick := time.NewTicker(upkeep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if err := p.tidy(now); err != nil {
				logger.Errorw("journal not rewritten", "err", err)
			}
		}
	}
}

func (p *Pool) tidy(now time.Time) error {
	p.mu.Lock()
	dropped := p.core.expire(now.Add(-p.cfg.TTL))
	p.core.promoteAll()
	fresh := p.core.takeFresh()
	pooled := p.core.bytes + p.core.ahead
	p.mu.Unlock()
	p.publish(fresh)
	if dropped > 0 {
		logger.Infow("transactions expired", "count", dropped)
	}
	if p.journal == nil {
		return nil
	}
	return p.journal.rotate(pooled, func() []*chain.Tx {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.core.all()
	})
}

// Close makes the journal durable and ends the pool; Add refuses from then on.
func (p *Pool) Close() error {
	p.mu.Lock()
	was := p.closed
	p.closed = true
	p.mu.Unlock()
	if was || p.journal == nil {
		return nil
	}
	if err := p.journal.close(); err != nil {
		return errors.Join(errors.New("close journal"), err)
	}
	return nil
}
