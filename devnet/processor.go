package devnet

import (
	"sync"
	"time"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/experiment"
)

// processor is the cores of one node in virtual time, on which its work queues.
type processor struct {
	prices experiment.CPU

	mu   sync.Mutex
	free []time.Time // when each core has done what it was given
}

func newProcessor(prices experiment.CPU) *processor {
	return &processor{prices: prices, free: make([]time.Time, prices.Cores)}
}

// charge is the node's Deps.Charge: it returns when the work is done.
func (p *processor) charge(w chain.Work) {
	time.Sleep(time.Until(p.give(time.Now(), w)))
}

// parallel is how many signatures make another core worth while: chain.RecoverSenders' number.
const parallel = 16

// give has the cores do work from now on and returns when it is done. Signatures are spread over the cores, as chain.RecoverSenders
// spreads them; the rest, which comes before, is done by one.
func (p *processor) give(now time.Time, w chain.Work) (done time.Time) {
	price := func(n int, us float64) time.Duration {
		return time.Duration(float64(n) * us * float64(time.Microsecond))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	done = now
	serial := price(w.HashedBytes, p.prices.HashUS/1024) + price(w.Transfers, p.prices.TransferUS)
	workers := max(1, min(len(p.free), (w.Signatures+parallel-1)/parallel))
	if workers == 1 {
		return p.queue(now, serial+price(w.Signatures, p.prices.SignatureUS))
	}
	if serial > 0 {
		done = p.queue(now, serial)
	}
	begin := done
	for i := range workers {
		share := (w.Signatures + i) / workers
		if end := p.queue(begin, price(share, p.prices.SignatureUS)); end.After(done) {
			done = end
		}
	}
	return done
}

// queue gives the core that is free first something to do, not before begin.
func (p *processor) queue(begin time.Time, d time.Duration) (done time.Time) {
	first := 0
	for i := range p.free {
		if p.free[i].Before(p.free[first]) {
			first = i
		}
	}
	if p.free[first].Before(begin) {
		p.free[first] = begin
	}
	p.free[first] = p.free[first].Add(d)
	return p.free[first]
}
