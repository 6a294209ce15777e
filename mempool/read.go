package mempool

import (
	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
)

// Stats counts what is pooled and what was dropped since the pool was opened.
type Stats struct {
	Executable, Future int
	Bytes              int // raw bytes of both
	Dropped            Dropped
	Untold             uint64 // transactions that met a full subscriber
}

// Content holds pooled transactions by sender, each list by nonce.
type Content struct {
	Executable, Future map[common.Address][]*chain.Tx
}

// Build picks executable transactions for a block: the highest effective tip
// first, each sender's by nonce. maxBytes is the size of the encoded transactions.
func (p *Pool) Build(maxBytes int, gas uint64) []*chain.Tx {
	p.mu.Lock()
	l := p.core.lines()
	p.mu.Unlock()
	return pick(l, maxBytes, gas)
}

// Get returns a pooled transaction or nil.
func (p *Pool) Get(hash common.Hash) *chain.Tx {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.core.byHash[hash]; e != nil {
		return e.tx
	}
	return nil
}

// Each calls f for every pooled transaction, in no order, with no lock held.
func (p *Pool) Each(f func(*chain.Tx)) {
	p.mu.Lock()
	all := make([]*chain.Tx, 0, len(p.core.byHash))
	for _, e := range p.core.byHash {
		all = append(all, e.tx)
	}
	p.mu.Unlock()
	for _, x := range all {
		f(x)
	}
}

// Nonce returns the first nonce of addr that is free and leaves no gap, counting
// what is pooled.
func (p *Pool) Nonce(addr common.Address) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.nonce(addr)
}

// Stats counts what is pooled.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	used := &p.core.used
	return Stats{
		Executable: used[executable].count, Future: used[future].count, Bytes: used[executable].bytes + used[future].bytes,
		Dropped: p.core.dropped, Untold: p.lost,
	}
}

// Content returns everything pooled.
func (p *Pool) Content() Content {
	out := Content{Executable: make(map[common.Address][]*chain.Tx), Future: make(map[common.Address][]*chain.Tx)}
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, a := range p.core.accounts {
		if len(a.queue[executable]) > 0 {
			out.Executable[addr] = txsOf(a.queue[executable])
		}
		if len(a.queue[future]) > 0 {
			out.Future[addr] = txsOf(a.queue[future])
		}
	}
	return out
}

// All returns every pooled transaction, in no order.
func (p *Pool) All() []*chain.Tx {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*chain.Tx, 0, len(p.core.byHash))
	for _, e := range p.core.byHash {
		out = append(out, e.tx)
	}
	return out
}

// ContentFrom returns what one sender has pooled.
func (p *Pool) ContentFrom(addr common.Address) (executables, futures []*chain.Tx) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.core.accounts[addr]; a != nil {
		return txsOf(a.queue[executable]), txsOf(a.queue[future])
	}
	return nil, nil
}

func txsOf(queue []*entry) []*chain.Tx {
	out := make([]*chain.Tx, len(queue))
	for i, e := range queue {
		out[i] = e.tx
	}
	return out
}

// Subscribe sends transactions as they become executable and are recorded, a
// sender's in the order of their nonces. One that finds the channel full is lost
// to it and counted. The channel is never closed; the function ends it.
func (p *Pool) Subscribe(buffer int) (<-chan *chain.Tx, func()) {
	ch := make(chan *chain.Tx, max(buffer, 1))
	p.mu.Lock()
	p.subs[ch] = struct{}{}
	p.mu.Unlock()
	return ch, func() {
		p.mu.Lock()
		delete(p.subs, ch)
		p.mu.Unlock()
	}
}
