package mempool

import "time"

// maxBudgets bounds the peers a budget is kept for, far above what a node connects to.
const maxBudgets = 4096

// budget is a token bucket for each peer: rate transactions a second, burst at
// once. A full bucket is the same as none, so idle peers take no memory for long.
type budget struct {
	rate, burst float64
	peers       map[uint64]bucket
	pruned      time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBudget(rate, burst int) *budget {
	return &budget{rate: float64(rate), burst: float64(burst), peers: make(map[uint64]bucket)}
}

// now is the bucket with what came in since it was last used.
func (b *budget) now(k bucket, now time.Time) bucket {
	if d := now.Sub(k.at); d > 0 {
		k.tokens = min(b.burst, k.tokens+b.rate*d.Seconds())
		k.at = now
	}
	return k
}

// take asks whether a peer may offer n transactions at this time: all of them, as long as one is left to it, so that an
// offer above burst is not refused for ever. What it takes too much is missing later.
func (b *budget) take(now time.Time, peer uint64, n int) bool {
	k, known := b.peers[peer]
	if !known {
		if len(b.peers) >= maxBudgets && now.Sub(b.pruned) >= time.Second {
			b.prune(now)
		}
		if len(b.peers) >= maxBudgets {
			return false // thousands of peers at work at once: not one more
		}
		k = bucket{tokens: b.burst, at: now}
	}
	k = b.now(k, now)
	allowed := k.tokens >= 1
	if allowed {
		k.tokens -= float64(n)
	}
	b.peers[peer] = k
	return allowed
}

// prune forgets the peers whose bucket is full again.
func (b *budget) prune(now time.Time) {
	b.pruned = now
	for peer, k := range b.peers {
		if b.now(k, now).tokens >= b.burst {
			delete(b.peers, peer)
		}
	}
}
