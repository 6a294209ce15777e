package mempool

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"github.com/pheme-net/pheme/chain"
)

// replay opens the journal and puts back what was pooled when it ended. What is
// in a block by now, or does not fit the state any more, is refused here.
func (p *Pool) replay(d disk) error {
	type live struct {
		tx  *chain.Tx
		seq int
	}
	pooled := make(map[common.Hash]live)
	seq := 0
	j, s, err := openJournal(d, p.cfg.JournalPath, func(r record) bool {
		seq++
		switch {
		case r.kind == recordAdd:
			tx, err := chain.DecodeTx(r.payload)
			if err != nil {
				return false
			}
			pooled[tx.Hash()] = live{tx, seq}
			return true
		case r.kind == recordDrop && len(r.payload) == common.HashLength:
			delete(pooled, common.Hash(r.payload))
			return true
		}
		return false
	})
	if err != nil {
		return err
	}
	p.journal = j
	list := make([]live, 0, len(pooled))
	for _, l := range pooled {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b live) int { return cmp.Compare(a.seq, b.seq) })
	txs := make([]*chain.Tx, len(list))
	for i, l := range list {
		txs[i] = l.tx
	}
	u := p.readmit(txs)
	s.foreign += u.foreign
	if s.records > 0 || s.skipped > 0 || s.torn > 0 {
		logger.Infow("journal read", "path", p.cfg.JournalPath, "records", s.records, "live", len(txs), "pooled", len(p.core.byHash),
			"foreign", s.foreign, "damaged_bytes", s.skipped, "torn_bytes", s.torn)
	}
	p.replayed = s
	if j.stale == nil && j.salt != nil && len(p.core.byHash)+u.spent+u.foreign == len(txs) {
		return nil
	}
	// What was dropped here has no record of it. It must not come back the next time,
	// when there may be room and money for it. And an old format is left behind.
	entries := p.core.entries()
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	err = j.rewrite(entries)
	switch {
	case j.stale != nil:
		return fmt.Errorf("journal %s: %w", p.cfg.JournalPath, err)
	case err != nil:
		logger.Warnw("journal not rewritten", "path", p.cfg.JournalPath, "err", err) // the old one is good still
	}
	return nil
}

// unfit counts what of a journal is not pooled again, for reasons that need no record.
type unfit struct {
	foreign int // made for another network
	spent   int // nonce used: a block has it or another one, which a reorg may take back
}

// senderNonce is what only one pooled transaction has.
type senderNonce struct {
	from  common.Address
	nonce uint64
}

// readmit puts transactions of the journal back. Of several with one nonce the last
// is the truth: the others left without a record, when a block spent the nonce, or
// their drop was not written any more. What was pooled together fits
// together, so nothing is evicted and no gap is too large: what was between may
// be the one that is gone. Only where both pools were full to the last bytes may
// another one than before wait for room, and the caps then cost one of them.
func (p *Pool) readmit(txs []*chain.Tx) (u unfit) {
	chain.RecoverSenders(txs, p.genesis)
	now := time.Now().UnixNano()
	last := make(map[senderNonce]int, len(txs))
	from := make([]common.Address, len(txs))
	ours := make([]bool, len(txs))
	for i, tx := range txs {
		err := chain.CheckTx(tx, p.genesis)
		if err == nil {
			from[i], err = tx.Sender(p.genesis.ChainID) // cached by CheckTx
		}
		if ours[i] = err == nil; ours[i] {
			last[senderNonce{from[i], tx.Nonce()}] = i
		}
	}
	p.core.frozen = true
	p.core.lift(usage{math.MaxInt, math.MaxInt})
	p.core.seq = uint64(len(txs))
	for i, tx := range txs {
		switch {
		case !ours[i]:
			u.foreign++
		case tx.Nonce() < p.core.state.Nonce(from[i]):
			u.spent++
		case last[senderNonce{from[i], tx.Nonce()}] == i:
			p.core.readmit(tx, from[i], uint64(i), now)
		}
	}
	for _, a := range p.core.accounts {
		p.core.trimSender(a) // the limits may be lower than they were
	}
	p.core.trim()
	p.core.lift(usage{})
	p.core.frozen = false
	p.note()
	p.batch = newBatch() // nobody subscribed yet, and the journal has it all
	return u
}

// readmit takes a transaction in as a future one, whatever the caps, and makes it
// executable if there is room. seq and at are its order and time of arrival.
func (c *core) readmit(tx *chain.Tx, from common.Address, seq uint64, at int64) {
	a := c.accounts[from]
	if a == nil {
		a = newAccount(from, c.state.Nonce(from))
	}
	e := &entry{tx: tx, from: a, tip: tx.EffectiveTip(c.baseFee), seq: seq, at: at}
	if _, _, taken := a.find(e.nonce()); taken || e.nonce() < a.nonce || c.afford(a, tx.Cost(), new(uint256.Int)) != nil {
		return
	}
	c.accounts[from] = a
	c.insert(future, e)
	c.promote(a)
}
