package mempool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pheme-net/pheme/chain"
)

// Acknowledgement: Add puts its records into the current batch under the lock,
// then waits for the batch or writes it itself. While one writes, the others fill
// the next batch, so answers share writes and fsyncs as load grows.
//
//	Add   lock: core.add, batch += records     flush: turn? -> commit -> done
//	Add   lock: core.add, batch += records     flush: wait ............. done
//	Add       lock: core.add, next batch += records   flush: turn -> commit ...

// flush returns when b is written and told, by this goroutine or another.
func (p *Pool) flush(b *batch) error {
	select {
	case <-b.done:
		return b.err
	case p.turn <- struct{}{}:
	}
	defer func() { <-p.turn }()
	select {
	case <-b.done: // by the one before
	default:
		_ = p.commit(false) // it is in b.err too
	}
	return b.err
}

// commit writes the current batch and tells the subscribers. If anything cannot
// be written, takeBack undoes what the batch did. The caller has the turn.
func (p *Pool) commit(rewrite bool) error {
	if p.journal != nil && p.cfg.JournalSync {
		if wait := time.Until(p.synced.Add(p.cfg.SyncEvery)); wait > 0 {
			time.Sleep(wait) // others join meanwhile
		}
		p.synced = time.Now()
	}
	p.mu.Lock()
	b := p.batch
	p.batch, p.writing = newBatch(), b
	var entries []*entry
	if rewrite {
		entries = p.core.entries()
	}
	p.mu.Unlock()
	err := p.write(b, rewrite, entries)
	if err != nil {
		close(p.takeBack(b, err).done)
	} else {
		p.tell(b.fresh)
	}
	p.mu.Lock()
	p.writing = nil
	p.mu.Unlock()
	close(b.done)
	return err
}

func (p *Pool) write(b *batch, rewrite bool, entries []*entry) error {
	j := p.journal
	switch {
	case j == nil:
		return nil
	case rewrite:
		slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
		err := j.rewrite(entries)
		if j.stale != nil {
			return err
		}
		p.setStale(nil)
		if p.again = 0; err == nil {
			return nil
		}
		p.again = j.size + j.size/10
		logger.Warnw("journal not rewritten", "path", j.path, "err", err) // the old one is good still
		fallthrough
	default:
		if len(b.records) == 0 {
			return nil
		}
		err := j.append(b.records, p.cfg.JournalSync)
		if j.size > p.longJournal() {
			select {
			case p.long <- struct{}{}:
			default: // asked already
			}
		}
		return err
	}
}

// entries lists everything pooled, in no order.
func (c *core) entries() []*entry {
	out := make([]*entry, 0, len(c.byHash))
	for _, e := range c.byHash {
		out = append(out, e)
	}
	return out
}

// takeBack undoes a batch that could not be written, and the one that was being
// filled meanwhile: what that holds may have built on the first, and a journal that
// refuses writes would refuse it next. It returns the second one.
func (p *Pool) takeBack(b *batch, err error) (next *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stale == nil {
		logger.Errorw("journal refuses writes: no transaction is accepted until it can be written", "path", p.cfg.JournalPath, "err", err)
	}
	p.stale = err
	next, p.batch = p.batch, newBatch()
	b.err = fmt.Errorf("%w: %w", ErrJournal, err)
	next.err = b.err
	p.core.undo(slices.Concat(b.added, next.added), slices.Concat(b.displaced, next.displaced))
	p.note()
	for _, tx := range slices.Concat(b.fresh, next.fresh) { // became executable through others than those taken back
		if p.core.byHash[tx.Hash()] != nil {
			p.batch.fresh = append(p.batch.fresh, tx)
		}
	}
	return next
}

func (p *Pool) setStale(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stale != nil && err == nil {
		logger.Infow("journal can be written again", "path", p.cfg.JournalPath)
	}
	p.stale = err
}

// healEvery is how often a journal that refuses writes is tried again, so that a
// full disk costs a try a second and not one a transaction.
const healEvery = time.Second

// heal rewrites a stale journal, if that is possible by now.
func (p *Pool) heal() error {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	j := p.journal
	switch {
	case j.stale == nil:
		return nil
	case time.Since(p.healed) < healEvery:
		return fmt.Errorf("%w: %w", ErrJournal, j.stale)
	}
	p.healed = time.Now()
	if err := p.commit(true); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}

// minLong is the size below which a journal is not worth rewriting.
const minLong = 16 << 20

// longJournal is the size at which the journal is rewritten: twice what it would
// have then, so that rewriting costs at most as much as writing did. After a failure
// it has to grow by a tenth: a disk that has no room for a second file does not get
// it offered with every transaction. The caller has the turn.
func (p *Pool) longJournal() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	live := len(p.core.byHash) * recordHead
	for _, u := range p.core.used {
		live += u.bytes
	}
	return max(p.minLong, 2*int64(live), p.again)
}

// rotate rewrites a journal that has grown long.
func (p *Pool) rotate(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-p.turn }()
	if p.journal.stale != nil || p.journal.size <= p.longJournal() {
		return nil
	}
	return p.commit(true)
}

// tell sends what became executable. A full subscriber loses it; nobody waits.
func (p *Pool) tell(fresh []*chain.Tx) {
	if len(fresh) == 0 {
		return
	}
	p.mu.Lock()
	subs := make([]chan *chain.Tx, 0, len(p.subs))
	for ch := range p.subs {
		subs = append(subs, ch)
	}
	p.mu.Unlock()
	lost := uint64(0)
	for _, ch := range subs {
		for _, tx := range fresh {
			select {
			case ch <- tx:
			default:
				lost++
			}
		}
	}
	if lost > 0 {
		p.mu.Lock()
		p.lost += lost
		p.mu.Unlock()
	}
}
