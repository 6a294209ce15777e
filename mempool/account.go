package mempool

import (
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// entry is one pooled transaction. It does not change once it is pooled.
type entry struct {
	tx   *chain.Tx
	from *account
	tip  uint256.Int // wei per gas that a proposer earns
	seq  uint64      // order of arrival
	at   int64       // time of arrival, unix nanoseconds
}

func (e *entry) nonce() uint64 { return e.tx.Nonce() }

// fee is what a proposer earns by including e, in wei.
func (e *entry) fee() uint256.Int {
	var fee uint256.Int
	if _, over := fee.MulOverflow(&e.tip, uint256.NewInt(e.tx.GasUsed())); over {
		fee.SetAllOne()
	}
	return fee
}

// The two pools, as indices into what the core keeps twice.
const (
	executable = iota
	future
	pools
)

// account is the queue of one sender.
//
//   - queue[executable] has the nonces from nonce on without a gap;
//   - queue[future] has higher ones in ascending order; its first one follows
//     without a gap only while it waits for room;
//   - cost is the sum of both, at most the sender's balance;
//   - bytes are those of the executable ones.
type account struct {
	addr  common.Address
	nonce uint64 // next nonce in the head's state
	queue [pools][]*entry
	cost  uint256.Int
	bytes int
	place [pools]int // in core.tails, -1 when the queue is empty
}

func newAccount(addr common.Address, nonce uint64) *account {
	return &account{addr: addr, nonce: nonce, place: [pools]int{-1, -1}}
}

// next is the nonce that the sender's next executable transaction has.
func (a *account) next() uint64 { return a.nonce + uint64(len(a.queue[executable])) }

// last is the first nonce above everything queued.
func (a *account) last() uint64 {
	if q := a.queue[future]; len(q) > 0 {
		return q[len(q)-1].nonce() + 1
	}
	return a.next()
}

func (a *account) empty() bool { return len(a.queue[executable])+len(a.queue[future]) == 0 }

// tail is the last entry of a queue that is not empty.
func (a *account) tail(pool int) *entry { return a.queue[pool][len(a.queue[pool])-1] }

// find returns the pool and place of a nonce that is queued.
func (a *account) find(nonce uint64) (pool, i int, ok bool) {
	if nonce >= a.nonce && nonce < a.next() {
		return executable, int(nonce - a.nonce), true
	}
	i, ok = a.futurePlace(nonce)
	return future, i, ok
}

// futurePlace is where a nonce is or belongs in the future queue.
func (a *account) futurePlace(nonce uint64) (int, bool) {
	return slices.BinarySearchFunc(a.queue[future], nonce, func(e *entry, n uint64) int {
		switch {
		case e.nonce() < n:
			return -1
		case e.nonce() > n:
			return 1
		}
		return 0
	})
}

// bid is what a proposer must wait for to earn e: the lowest tip of e and of the
// executable transactions before it. A dear transaction behind a cheap one is
// worth the cheap one.
func (a *account) bid(e *entry) uint256.Int {
	low := e.tip
	for _, before := range a.queue[executable] {
		if before.nonce() >= e.nonce() {
			break
		}
		if before.tip.Lt(&low) {
			low = before.tip
		}
	}
	return low
}
