package mempool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ipfs/go-log/v2"

	"github.com/pheme-net/pheme/chain"
)

var logger = log.Logger("mempool")

// Pool is a core behind one mutex, with a journal and subscribers. All methods
// are safe for concurrent use.
//
// Stages: Open reads the journal; Run expires and keeps the journal short, and
// need not run for the rest to work; Close ends it, Add refuses from then on.
type Pool struct {
	cfg     Config
	genesis *chain.Genesis

	// turn holds one token: whoever put it there writes the journal and tells the
	// subscribers. It is a channel because its holder waits for the disk.
	turn    chan struct{}
	journal *journal      // nil without one; used with the turn
	synced  time.Time     // when the last fsync of the journal began; used with the turn
	healed  time.Time     // when a stale journal was last tried; used with the turn
	again   int64         // size at which a rewrite that failed is tried again; used with the turn
	long    chan struct{} // tells Run that the journal is long
	minLong int64         // bytes below which it never is

	mu      sync.Mutex // guards what follows; held for work in memory only
	core    *core
	budget  *budget
	batch   *batch      // what happened and is not yet recorded and told
	writing *batch      // what is being recorded and told, or nil
	stale   error       // why the journal refuses writes, or nil
	head    common.Hash // of the last update; zero before the first
	closed  bool
	subs    map[chan *chain.Tx]struct{}
	lost    uint64 // transactions that met a full subscriber

	replayed scan // what Open read; does not change
}

// batch is what is written and told together. Several calls of Add may wait for one.
type batch struct {
	records   []record
	added     []*entry // leave again if the records cannot be written
	displaced []*entry // made way for others, and come back then
	fresh     []*chain.Tx
	done      chan struct{} // closed after err is set
	err       error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// Open makes a pool on the state at the head and fills it from the journal, if
// there is one.
func Open(cfg Config, g *chain.Genesis, st State) (*Pool, error) { return open(cfg, g, st, osDisk{}) }

func open(cfg Config, g *chain.Genesis, st State, d disk) (*Pool, error) {
	cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Pool{
		cfg: cfg, genesis: g, turn: make(chan struct{}, 1), long: make(chan struct{}, 1), minLong: minLong,
		core: newCore(cfg, g.BaseFee, st), budget: newBudget(cfg.PeerRate, cfg.PeerBurst),
		batch: newBatch(), subs: make(map[chan *chain.Tx]struct{}),
	}
	if cfg.JournalPath != "" {
		if err := p.replay(d); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Add offers transactions, in order. It returns one error each; nil means newly
// admitted and recorded, so that a crash does not lose it. It checks the rules
// that need no state too, on all cores and before the lock; a Tx that was checked
// before costs next to nothing.
func (p *Pool) Add(txs []*chain.Tx) []error {
	errs := make([]error, len(txs))
	if err := p.filter(txs, errs); err != nil {
		refuse(errs, err)
	} else if b, admitted := p.admit(txs, errs); admitted > 0 {
		if err := p.flush(b); err != nil {
			refuse(errs, err)
		}
	}
	p.knownIsRecorded(txs, errs)
	return errs
}

// Allow takes n transactions out of the budget of a peer; false: it has offered too many. It is asked before the
// signatures of what a peer offers are checked. peer is any number that stands for it.
func (p *Pool) Allow(peer uint64, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return n == 0 || p.budget.take(time.Now(), peer, n)
}

// knownIsRecorded waits for the records of transactions that another call has
// brought in: many a client takes "already known" for an acknowledgement. Those
// that were taken back meanwhile, or may have been, get ErrJournal.
func (p *Pool) knownIsRecorded(txs []*chain.Tx, errs []error) {
	known := func(err error) bool { return errors.Is(err, ErrKnown) }
	if p.cfg.JournalPath == "" || !slices.ContainsFunc(errs, known) {
		return
	}
	var left []int
	p.mu.Lock()
	for i, err := range errs {
		if known(err) && p.core.byHash[txs[i].Hash()] == nil {
			left = append(left, i)
		}
	}
	b, unwritten, writing := p.batch, len(p.batch.records) > 0, p.writing
	p.mu.Unlock()
	for _, i := range left {
		errs[i] = p.whyLeft(txs[i])
	}
	var err error
	switch { // what is pooled still is on disk, or in one of these two; they fail together
	case unwritten:
		err = p.flush(b)
	case writing != nil:
		<-writing.done
		err = writing.err
	}
	for i := range errs {
		if err != nil && known(errs[i]) {
			errs[i] = err
		}
	}
}

// whyLeft says why a transaction that was known is pooled no more: a block has
// used its nonce, or its record may have failed.
func (p *Pool) whyLeft(tx *chain.Tx) error {
	from, err := tx.Sender(p.genesis.ChainID)
	if err != nil {
		return err
	}
	p.mu.Lock()
	next := p.core.state.Nonce(from)
	p.mu.Unlock()
	if tx.Nonce() < next {
		return fmt.Errorf("%w: next nonce %d, tx nonce %d", ErrNonceTooLow, next, tx.Nonce())
	}
	return fmt.Errorf("%w: known, but left the pool meanwhile", ErrJournal)
}

// refuse gives an error to all that have none.
func refuse(errs []error, err error) {
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
}

// filter refuses what can be refused without the core. The signatures are checked here.
func (p *Pool) filter(txs []*chain.Tx, errs []error) error {
	todo := make([]*chain.Tx, 0, len(txs))
	p.mu.Lock()
	for i, tx := range txs {
		if errs[i] == nil && p.core.byHash[tx.Hash()] != nil {
			errs[i] = ErrKnown
		}
		if errs[i] == nil {
			todo = append(todo, tx)
		}
	}
	stale, closed := p.stale, p.closed
	p.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if stale != nil && len(todo) > 0 {
		if err := p.heal(); err != nil {
			return err
		}
	}
	chain.RecoverSenders(todo, p.genesis)
	for i, tx := range txs {
		if errs[i] == nil {
			errs[i] = chain.CheckTx(tx, p.genesis)
		}
	}
	return nil
}

// admit gives the core all that have no error yet. The batch is to be flushed if
// any got in.
func (p *Pool) admit(txs []*chain.Tx, errs []error) (b *batch, admitted int) {
	now := time.Now().UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, tx := range txs {
		if errs[i] != nil {
			continue
		}
		if p.closed {
			errs[i] = ErrClosed
			continue
		}
		from, err := tx.Sender(p.genesis.ChainID) // cached by CheckTx
		if err == nil {
			err = p.core.add(tx, from, now)
		}
		if errs[i] = err; err == nil {
			admitted++
			p.batch.added = append(p.batch.added, p.core.byHash[tx.Hash()])
			p.note(tx)
		}
	}
	return p.batch, admitted
}

// note puts into the batch what the core did, and that it took these in. Call it
// with the lock, after each step, so that the records tell the story in order.
func (p *Pool) note(in ...*chain.Tx) {
	c, b := p.core, p.batch
	if p.journal != nil {
		for _, tx := range in {
			b.records = append(b.records, addRecord(tx))
		}
		for _, hash := range c.gone {
			b.records = append(b.records, dropRecord(hash))
		}
		b.displaced = append(b.displaced, c.displaced...)
	}
	b.fresh = append(b.fresh, c.fresh...)
	c.gone = c.gone[:0]
	clear(c.displaced)
	c.displaced = c.displaced[:0]
	clear(c.fresh)
	c.fresh = c.fresh[:0]
}

// Apply moves the pool to the head that an update led to; st is the state there.
// It returns the transactions that left the chain and are pooled again, for the
// node to announce. One goroutine at a time calls it, the one that writes the chain.
func (p *Pool) Apply(u chain.Update, st State) []*chain.Tx {
	accounts := p.moved(u) // senders are cached by the chain; if not, they are recovered here
	p.mu.Lock()
	if p.missed(u) {
		accounts = p.core.withAll(accounts)
	}
	p.head = u.Head.Hash()
	before := p.core.dropped.Reverted
	readded := p.core.update(st, accounts, time.Now().UnixNano())
	lost := p.core.dropped.Reverted - before
	p.note(readded...)
	b := p.batch
	tell := len(b.fresh) > 0 || len(readded) > 0
	p.mu.Unlock()
	chain.RecoverSenders(readded, p.genesis) // they are copies that know no sender yet
	if lost > 0 {
		logger.Warnw("reverted transactions not pooled again", "count", lost, "pooled", len(readded))
	}
	if tell {
		if err := p.flush(b); err != nil {
			logger.Warnw("reverted transactions not recorded", "count", len(readded), "err", err)
		}
	}
	return readded
}

// missed tells whether the blocks of an update are not all that happened since the
// last one: the head was another, or the chain took a state over without its blocks.
func (p *Pool) missed(u chain.Update) bool {
	jump := u.Head.Number.Int64()-int64(len(u.Applied)) != u.Old.Number.Int64()-int64(len(u.Reverted))
	return jump || p.head != (common.Hash{}) && u.Old.Hash() != p.head
}

// moved lists the accounts that the blocks of an update touch, and what they reverted.
func (p *Pool) moved(u chain.Update) []moved {
	var out []moved
	index := make(map[common.Address]int)
	touch := func(addr common.Address) *moved {
		i, ok := index[addr]
		if !ok {
			i = len(out)
			index[addr] = i
			out = append(out, moved{addr: addr})
		}
		return &out[i]
	}
	for _, b := range u.Reverted {
		touch(b.Proposer())
		for _, tx := range b.Txs() {
			touch(tx.To())
			if from, err := tx.Sender(p.genesis.ChainID); err == nil {
				m := touch(from)
				m.back = append(m.back, tx)
			}
		}
	}
	for _, b := range u.Applied {
		touch(b.Proposer())
		for _, tx := range b.Txs() {
			touch(tx.To())
			if from, err := tx.Sender(p.genesis.ChainID); err == nil {
				touch(from)
			}
		}
	}
	return out
}

// Run expires old transactions and keeps the journal short until ctx ends.
func (p *Pool) Run(ctx context.Context) error {
	tick := time.NewTicker(max(min(p.cfg.TTL/4, time.Minute), time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.long:
			if err := p.rotate(ctx); err != nil {
				logger.Warnw("journal not rewritten", "path", p.cfg.JournalPath, "err", err)
			}
		case now := <-tick.C:
			if err := p.expire(now); err != nil {
				logger.Warnw("expiry not recorded", "err", err)
			}
		}
	}
}

// expire drops what is older than the TTL.
func (p *Pool) expire(now time.Time) error {
	p.mu.Lock()
	n := p.core.expire(now.Add(-p.cfg.TTL).UnixNano())
	p.note()
	b := p.batch
	p.mu.Unlock()
	if n == 0 {
		return nil
	}
	logger.Infow("transactions expired", "count", n)
	return p.flush(b)
}

// Close records what is not recorded yet and closes the journal. Add refuses from
// then on; the rest goes on working.
func (p *Pool) Close() error {
	p.mu.Lock()
	was := p.closed
	p.closed = true
	p.mu.Unlock()
	if was {
		return nil
	}
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	err := p.commit(false)
	if p.journal == nil {
		return nil
	}
	if cerr := p.journal.close(); cerr != nil {
		return cerr
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}
