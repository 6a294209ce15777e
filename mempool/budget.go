package mempool

import "time"

// maxBudgets bounds the peers a budget is kept for; above it those that are full again are dropped.
const maxBudgets = 1024

// budget is a token bucket for each peer: rate transactions a second, burst at once.
type budget struct {
	rate, burst float64
	peers       map[uint64]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBudget(rate, burst int) *budget {
	return &budget{rate: float64(rate), burst: float64(burst), peers: make(map[uint64]bucket)}
}

// take returns how many of n transactions a peer may offer now.
func (b *budget) take(now time.Time, peer uint64, n int) int {
	k, known := b.peers[peer]
	if !known {
		b.prune(now)
		k = bucket{tokens: b.burst, at: now}
	}
	k.tokens = min(b.burst, k.tokens+b.rate*now.Sub(k.at).Seconds())
	k.at = now
	allowed := min(n, int(k.tokens))
	k.tokens -= float64(allowed)
	b.peers[peer] = k
	return allowed
}

// prune forgets peers whose bucket is full again: a new one would be the same.
func (b *budget) prune(now time.Time) {
	if len(b.peers) < maxBudgets {
		return
	}
	for peer, k := range b.peers {
		if k.tokens+b.rate*now.Sub(k.at).Seconds() >= b.burst {
			delete(b.peers, peer)
		}
	}
	for peer := range b.peers { // all of them busy: some go, so that the map stays bounded
		if len(b.peers) < maxBudgets {
			break
		}
		delete(b.peers, peer)
	}
}
