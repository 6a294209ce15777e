package mempool

import (
	"fmt"

	"github.com/holiman/uint256"
)

// makeRoom evicts tails of other senders from a pool, the lowest tip first, until
// need fits below the cap, and only if e outpays them:
//
//   - what a proposer must wait for to earn e (see bid) is above the tip of each;
//   - the fee of e is at least the sum of theirs.
//
// So an attacker never pays less than what it removes (the cost bound that the
// DETER and saferAd papers ask for), and no eviction leaves a gap. An error
// changes nothing.
func (c *core) makeRoom(pool int, e *entry, need usage) error {
	limit := c.limit(pool)
	full := func() bool {
		return c.used[pool].count+need.count > limit.count || c.used[pool].bytes+need.bytes > limit.bytes
	}
	if !full() {
		return nil
	}
	if c.frozen {
		return ErrFull
	}
	if need.bytes > limit.bytes {
		return fmt.Errorf("%w: transaction has %d bytes, the pool takes %d", ErrFull, e.tx.Size(), limit.bytes)
	}
	bid := e.tip
	if pool == executable {
		bid = e.from.bid(e)
	}
	c.tails[pool].leave(e.from) // evicting its own would open a gap before e, or shut e's sender out
	var out []*entry
	var lost uint256.Int
	err := error(nil)
	for pay := e.fee(); err == nil && full(); {
		var victim *entry
		victim, err = c.cheapest(pool, &bid)
		if err != nil {
			break
		}
		fee := victim.fee()
		if _, over := lost.AddOverflow(&lost, &fee); over || lost.Gt(&pay) {
			err = fmt.Errorf("%w: pays %s wei, what it would push out pays more", ErrUnderpriced, pay.Dec())
			break
		}
		a := victim.from
		out = append(out, c.take(pool, a, len(a.queue[pool])-1))
	}
	c.tails[pool].fix(e.from)
	if err != nil {
		c.restore(pool, out)
		return err
	}
	for _, victim := range out {
		c.dropped.Evicted++
		c.gone = append(c.gone, victim.tx.Hash())
		c.displaced = append(c.displaced, victim)
		c.file(victim.from)
	}
	return nil
}

// cheapest is the next tail to go for someone who bids a tip.
func (c *core) cheapest(pool int, bid *uint256.Int) (*entry, error) {
	t := c.tails[pool]
	if len(t.list) == 0 {
		return nil, ErrFull
	}
	victim := t.list[0].tail(pool)
	if !bid.Gt(&victim.tip) {
		return nil, fmt.Errorf("%w: the pool is full, tip %s, needed above %s", ErrUnderpriced, bid.Dec(), victim.tip.Dec())
	}
	return victim, nil
}

// restore puts tails back in the reverse order of their taking.
func (c *core) restore(pool int, out []*entry) {
	for i := len(out) - 1; i >= 0; i-- {
		e := out[i]
		e.from.queue[pool] = append(e.from.queue[pool], e)
		c.charge(pool, e)
		c.tails[pool].fix(e.from)
	}
}
