package p2p

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/recon"
)

// snapshot is the pool as one session sees it. Set and txs have one order.
type snapshot struct {
	set *recon.Set
	txs []*chain.Tx
}

func (n *Net) snapshot(k recon.Key) snapshot {
	txs := n.backend.Pooled()
	s := snapshot{recon.NewSet(k, len(txs)), txs}
	for _, t := range txs {
		h := [32]byte(t.Hash())
		s.set.Add(&h)
	}
	return s
}

// pick are the transactions with these ids, as far as there are any, in the order
// in which a pool can take them.
func (s snapshot) pick(ids []recon.ID) []*chain.Tx {
	var out []*chain.Tx
	for _, id := range ids {
		if i, ok := s.set.Find(id); ok {
			out = append(out, s.txs[i])
		}
	}
	slices.SortStableFunc(out, func(a, b *chain.Tx) int { return cmp.Compare(a.Nonce(), b.Nonce()) })
	return out
}

// missing are those of ids that are neither pooled by now nor known not to be wanted.
func (n *Net) missing(s snapshot, ids []recon.ID) []recon.ID {
	have := make(map[recon.ID]struct{})
	note := func(hash common.Hash) {
		h := [32]byte(hash)
		have[s.set.ID(&h)] = struct{}{}
	}
	for _, t := range n.backend.Pooled() {
		note(t.Hash())
	}
	n.settled.each(time.Now(), note)
	return slices.DeleteFunc(slices.Clone(ids), func(id recon.ID) bool { _, ok := have[id]; return ok })
}

// settled remembers transactions for a while. Repair has those that are not to be
// fetched though the pool has not got them: those in the newest blocks, which a
// peer a little behind still has, and those that the pool refused.
type settled struct {
	mu    sync.Mutex
	until map[common.Hash]time.Time
	order []common.Hash // oldest first, each once
}

const (
	maxSettled  = 16_384           // some of the largest blocks of small transactions
	refusedTime = 30 * time.Second // then the pool may have room, or the sender the balance
	placedTime  = 10 * time.Minute // a peer that is further behind fetches a state
	mendedTime  = 30 * time.Second // far more than a batch is offered to who lacks it
)

// put remembers a transaction for a while.
func (s *settled) put(h common.Hash, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = make(map[common.Hash]time.Time)
	}
	if _, have := s.until[h]; !have {
		s.order = append(s.order, h)
	}
	s.until[h] = until
	for len(s.order) > maxSettled {
		delete(s.until, s.order[0])
		s.order = s.order[1:]
	}
}

// has tells whether a transaction is remembered.
func (s *settled) has(h common.Hash, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until[h].After(now)
}

// drop forgets a transaction, and tells whether it was remembered.
func (s *settled) drop(h common.Hash, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := s.until[h].After(now)
	if had {
		s.until[h] = now // its place in order stays
	}
	return had
}

// each calls f for every transaction that is remembered.
func (s *settled) each(now time.Time, f func(common.Hash)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, until := range s.until {
		if until.After(now) {
			f(h)
		}
	}
}

// blocks takes in what a head change placed and what it took back.
func (s *settled) blocks(u chain.Update, now time.Time) {
	for _, b := range u.Reverted {
		for _, t := range b.Txs() {
			s.put(t.Hash(), now)
		}
	}
	for _, b := range u.Applied {
		for _, t := range b.Txs() {
			s.put(t.Hash(), now.Add(placedTime))
		}
	}
}

// errUnasked is a transaction that was not asked for.
var errUnasked = fmt.Errorf("%w: a transaction that was not asked for", ErrProtocol)

// sendTxs writes transactions as batches of at most maxBatchBytes, up to
// maxRepairBytes of them, and the empty frame.
func sendTxs(w io.Writer, txs []*chain.Tx) error {
	b := batcher{limit: maxBatchBytes}
	sent := 0 // bytes of batches: takeTxs counts the same
	flush := func(txs []*chain.Tx) error {
		raws := make([][]byte, len(txs))
		for i, t := range txs {
			raws[i] = t.Raw()
		}
		batch := encodeBatch(nonce{}, raws)
		sent += len(batch)
		return writeFrame(w, batch)
	}
	for _, t := range txs {
		if full := b.add(t); full != nil {
			if err := flush(full); err != nil {
				return err
			}
		}
		if sent > maxRepairBytes-2*maxBatchBytes {
			break
		}
	}
	if rest := b.take(); len(rest) > 0 {
		if err := flush(rest); err != nil {
			return err
		}
	}
	return writeFrame(w, nil)
}

// takeTxs reads batches of transactions that were asked for and gives them to the
// pool as they come. It returns how many of them the pool took. Others wait meanwhile: the peer
// may keep us waiting for FetchTimeout times stallAfter, and as much more as minProgress bytes in each FetchTimeout
// take of what the pool takes or has by now. ctx bounds all of it.
func (n *Net) takeTxs(ctx context.Context, from peer.ID, s *countedStream, set *recon.Set, asked []recon.ID) (gained int, err error) {
	open := make(map[recon.ID]struct{}, len(asked))
	for _, id := range asked {
		open[id] = struct{}{}
	}
	most := stallAfter * n.cfg.FetchTimeout
	left := most
	for total := 0; ; {
		if err := ctx.Err(); err != nil {
			return gained, err
		}
		began := time.Now()
		_ = s.SetReadDeadline(began.Add(left))
		raw, err := readFrame(s, maxBatchBytes)
		left -= time.Since(began)
		if err != nil {
			return gained, err
		}
		if len(raw) == 0 {
			return gained, nil
		}
		if total += len(raw); total > maxRepairBytes {
			return gained, fmt.Errorf("%w: more than %d bytes of transactions", ErrProtocol, maxRepairBytes)
		}
		txs, err := n.decodeTxs(from, raw)
		if err != nil {
			return gained, err
		}
		for _, t := range txs {
			h := [32]byte(t.Hash())
			id := set.ID(&h)
			if _, ok := open[id]; !ok {
				return gained, errUnasked
			}
			delete(open, id)
		}
		useful := 0 // bytes
		for i, err := range n.backend.AddTxs(from, txs) {
			if err != nil && !errors.Is(err, chain.ErrKnown) {
				n.settled.put(txs[i].Hash(), time.Now().Add(refusedTime))
				continue
			}
			useful += txs[i].Size()
			if err == nil {
				gained++
				n.mended.put(txs[i].Hash(), time.Now().Add(mendedTime))
			}
		}
		left = min(most, left+time.Duration(useful)*n.cfg.FetchTimeout/minProgress)
	}
}
