package chain

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/syndtr/goleveldb/leveldb"
)

// Update tells what one Add changed. A reorg of more than 64 MiB of bodies on a side
// has the oldest reverted and the newest applied blocks of it alone. That some are left
// out, there or in a state that was taken over, can be told by the numbers: each side
// less its blocks is not the same block then.
type Update struct {
	Old, Head *types.Header
	Reverted  []*Block // no longer canonical, oldest first
	Applied   []*Block // newly canonical, oldest first
	Moved     bool     // Head is not Old
}

// maxTold bounds the bodies of the blocks on one side of an Update, but for the last
// one: as much as a pool holds. Decoded they may take ten times that.
const maxTold = 64 << 20

// maxEarly is how far ahead of our clock a slot may be for its block to be held.
const maxEarly = 500 * time.Millisecond

// Check is the cheap check before a block is relayed: size, slot, proposer,
// signature, parent, transactions root. No disk. Any goroutine may call it. A
// block that passes is remembered, so its child passes before the block is
// imported; see Forget. Errors:
//
//   - ErrInvalid and what wraps it: reject the sender.
//   - ErrEarly, ErrUnknownParent: hold the block; the sender is not to blame.
//   - ErrKnown (checked or imported: see Has), ErrTooOld, ErrInvalidAncestor,
//     ErrEquivocation: ignore and drop.
//   - ErrSecondBlock: the block passed and is remembered. Do not relay it, but
//     give it to Add, since a branch may grow on it.
func (c *Chain) Check(b *Block, now time.Time) error {
	c.mu.Lock()
	err := c.index.known(b.id)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := c.checkAlone(b); err != nil {
		return err
	}
	if err := c.early(b.Slot(), now, 0); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.place(b.SignedHeader)
}

// CheckHeader is Check for a header whose transactions are not at hand yet. It
// remembers nothing: a block that was only announced may still come whole by any
// way, and Check passes it then.
func (c *Chain) CheckHeader(sh *SignedHeader, now time.Time) error {
	c.mu.Lock()
	err := c.index.known(sh.id)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := sh.checkRules(c.g); err != nil {
		return err
	}
	if err := c.early(sh.Slot(), now, 0); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.announced(sh)
}

// Forget takes back what Check remembered of a block that will not be added
// now, such as for a full import queue, so that Check passes it again.
func (c *Chain) Forget(id common.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.forget(id)
}

// checkAlone applies every rule that needs the block only.
func (c *Chain) checkAlone(b *Block) error {
	if err := c.checkBodySize(b); err != nil {
		return err
	}
	if err := b.checkRules(c.g); err != nil {
		return err
	}
	return b.checkBody()
}

func (c *Chain) checkBodySize(b *Block) error {
	if uint64(b.BodySize()) > c.g.MaxBlockBytes {
		return fmt.Errorf("%w %s: %d bytes of transactions, at most %d", ErrInvalidBlock, b.id, b.BodySize(), c.g.MaxBlockBytes)
	}
	return nil
}

// SetSkew takes the callers' clock to be wrong by d: with a positive d slots begin
// earlier for this node than for others. It is for measuring what that does.
func (c *Chain) SetSkew(d time.Duration) { c.skew.Store(int64(d)) }

// SlotStart is when a slot begins by our clock.
func (c *Chain) SlotStart(slot uint64) time.Time {
	return c.g.SlotStart(slot).Add(-time.Duration(c.skew.Load()))
}

// SlotAt is the slot that our clock shows at now; before slot 0 it is 0.
func (c *Chain) SlotAt(now time.Time) uint64 {
	if now = now.Add(time.Duration(c.skew.Load())); now.Before(c.g.SlotStart(0)) {
		return 0
	}
	return c.g.SlotAt(now)
}

// early compares a slot with our clock, allowing slack.
func (c *Chain) early(slot uint64, now time.Time, slack time.Duration) error {
	start := c.SlotStart(slot)
	ahead := start.Sub(now)
	if ahead <= slack {
		return nil
	}
	return ErrEarly{When: start, Hold: ahead <= min(maxEarly, c.g.SlotDuration())}
}

// Add applies the full rules and stores the block in one synced batch. Calls
// wait for each other. It runs Check's rules itself where they were not run.
// Errors are those of Check, but ErrKnown only for an imported block, and:
//
//   - ErrBadBlock: the proposer is to blame, never the peer that sent the block.
//     It is on the invalid list now and will not be executed again.
//   - ErrStorage: the disk takes no writes. Reads go on; a later Add tries again.
//   - ErrCorrupt: the store is damaged.
//
// A block on a side branch is stored and gives an Update that did not move.
func (c *Chain) Add(b *Block) (Update, error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if err := c.resume(); err != nil {
		return Update{}, err
	}
	e, err := c.admit(b)
	if err != nil {
		return Update{}, err
	}
	defer func() {
		c.mu.Lock()
		c.index.giveBack(e)
		c.mu.Unlock()
	}()
	if c.cfg.Shared != nil {
		b = c.cfg.Shared.take(b)
	}
	RecoverSenders(b.txs, c.g)
	for i, tx := range b.txs {
		if err := CheckTx(tx, c.g); err != nil {
			return Update{}, c.condemn(e, e, fmt.Errorf("%w %s: transaction %d %s: %s", ErrBadBlock, b.id, i, tx.hash, err))
		}
	}
	if !better(b.SignedHeader, c.view.Load().head) {
		return c.addSide(e, b)
	}
	return c.advance(e, b)
}

// resume takes up writing again after the storage refused it.
func (c *Chain) resume() error {
	s := c.store
	if s.db.Load() == nil {
		return ErrClosed
	}
	if !s.broken {
		return nil
	}
	done, err := s.heal()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	log.Infow("storage takes writes again")
	if done {
		s.last = s.try
		s.putMark()
		c.pending()
	}
	return nil
}

// admit lets a block in whose parent is imported and which is not imported itself.
// From here until Add ends the entry is the writer's.
func (c *Chain) admit(b *Block) (*entry, error) {
	c.mu.Lock()
	e := c.index.byID[b.id]
	c.mu.Unlock()
	if e == nil {
		if err := c.checkAlone(b); err != nil {
			return nil, err
		}
		if err := c.early(b.Slot(), time.Now(), min(maxEarly, c.g.SlotDuration())); err != nil {
			return nil, err
		}
	} else if e.status == checked {
		if err := c.checkRest(e, b); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e = c.index.byID[b.id]; e == nil || e.status != checked {
		if err := c.index.place(b.SignedHeader); err != nil && !errors.Is(err, ErrSecondBlock) {
			return nil, err
		}
		e = c.index.byID[b.id]
	}
	if parent := c.index.byID[b.Parent()]; parent == nil || parent.status != stored {
		return nil, fmt.Errorf("%w: %s is not imported", ErrUnknownParent, b.Parent())
	}
	e.status = adding
	return e, nil
}

// checkRest applies what Check of the same header may not have seen: this body,
// and this signature, which the id does not cover.
func (c *Chain) checkRest(e *entry, b *Block) error {
	if b.sig != e.sig {
		return c.checkAlone(b)
	}
	if err := c.checkBodySize(b); err != nil {
		return err
	}
	return b.checkBody()
}

// addSide stores a block that does not become the head.
func (c *Chain) addSide(e *entry, b *Block) (Update, error) {
	batch := new(leveldb.Batch)
	c.store.putBlock(batch, b)
	head := c.view.Load().head
	take := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.index.store(e)
	}
	if err := c.commit(batch, head, take); err != nil {
		return Update{}, err
	}
	return c.tell(nil)
}

// advance makes b the head, by way of a reorg where it is not the head's child.
func (c *Chain) advance(e *entry, b *Block) (Update, error) {
	v := c.view.Load()
	c.mu.Lock()
	revert, apply := c.index.fork(c.index.byID[v.head.id], e)
	base := c.index.byID[apply[0].Parent()]
	canonical, others, low := c.index.leaving(e)
	c.mu.Unlock()

	have := map[common.Hash]*Block{b.id: b}
	var fresh []pivot
	batch := new(leveldb.Batch)
	st, open, err := c.unwind(batch, v.state, revert)
	if err != nil {
		return Update{}, err
	}
	if root := st.Root(); root != base.header.Root {
		return Update{}, fmt.Errorf("%w: the change records lead to %s, block %d has %s", ErrCorrupt, root, base.Number(), base.header.Root)
	}
	told := &queue{limit: c.cfg.maxTold}
	for _, a := range apply {
		block, err := c.blockOf(a.SignedHeader, have)
		if err != nil {
			return Update{}, err
		}
		// What the disk has changed must not condemn a good block.
		if err := block.checkBody(); err != nil {
			return Update{}, fmt.Errorf("%w: %s", ErrCorrupt, err)
		}
		next, changes, err := c.execute(st, block)
		if err != nil {
			return Update{}, c.condemn(a, e, err)
		}
		putCanonical(batch, block, changes)
		open = c.extend(batch, open, block)
		st = next
		if c.isPivot(a.Number()) { // a state that is not kept may be freed
			fresh = append(fresh, pivot{a.SignedHeader, st})
		}
		told.push(block)
	}
	gone, err := c.firstOf(backward(revert), nil) // now, since the batch may delete them
	if err != nil {
		return Update{}, err
	}
	for _, b := range append(gone, told.blocks...) {
		have[b.id] = b
	}
	c.store.putBlock(batch, b)
	disk := c.putTable(batch, st, e.Number(), len(revert) > 0)
	evict(batch, canonical, others, low)
	bodies := c.bodies
	if len(revert) == 0 { // else the canonical index on disk is not yet the one that counts
		if bodies, err = c.prune(batch, e.Number()); err != nil {
			return Update{}, err
		}
	}
	c.store.pruned.Store(bodies.pruned) // first: a reader that misses a body looks here
	take := func() {
		c.mu.Lock()
		c.index.store(e)
		c.index.head = e
		c.keepPivots(fresh...)
		c.mu.Unlock()
		c.bodies = bodies
		c.disk = disk
		c.unit.Store(&open)
		c.view.Store(&view{e.SignedHeader, st})
	}
	if err := c.commit(batch, e.SignedHeader, take); err != nil {
		return Update{}, err
	}
	return c.tell(have)
}

// unwind takes canonical blocks back, newest first.
func (c *Chain) unwind(batch *leveldb.Batch, st State, revert []*entry) (State, unit, error) {
	open := *c.unit.Load()
	for _, r := range revert {
		changes, err := c.store.changes(r)
		if err != nil {
			return State{}, unit{}, err
		}
		st = st.With(undo(changes))
		dropCanonical(batch, r.SignedHeader)
		if open, err = c.store.rewind(batch, open, r.Number()); err != nil {
			return State{}, unit{}, err
		}
	}
	return st, open, nil
}

// blockOf is the block of a stored header, in have or read.
func (c *Chain) blockOf(sh *SignedHeader, have map[common.Hash]*Block) (*Block, error) {
	if b := have[sh.id]; b != nil {
		return b, nil
	}
	b, err := c.store.block(sh)
	if err != nil {
		return nil, err
	}
	RecoverSenders(b.txs, c.g)
	return b, nil
}

// backward is the headers of entries, the last one first.
func backward(entries []*entry) (out []*SignedHeader) {
	for _, e := range slices.Backward(entries) {
		out = append(out, e.SignedHeader)
	}
	return out
}

// firstOf is the blocks of the first ones of headers, as many as an Update holds, but
// for those whose bodies are gone. With an error there may be some.
func (c *Chain) firstOf(headers []*SignedHeader, have map[common.Hash]*Block) (out []*Block, err error) {
	size := 0
	for _, sh := range headers {
		if size >= c.cfg.maxTold { // before it is read: what an Update leaves out may be gone
			break
		}
		b, err := c.blockOf(sh, have)
		if errors.Is(err, ErrPruned) {
			continue
		}
		if err != nil {
			return out, err
		}
		size += b.BodySize()
		out = append(out, b)
	}
	return out, nil
}

// queue holds as many of the newest blocks as an Update does.
type queue struct {
	blocks      []*Block
	size, limit int
}

func (q *queue) push(b *Block) {
	q.blocks = append(q.blocks, b)
	q.size += b.BodySize()
	for rest := q.size - q.blocks[0].BodySize(); rest >= q.limit; rest = q.size - q.blocks[0].BodySize() {
		q.blocks[0] = nil // the array is there still
		q.blocks, q.size = q.blocks[1:], rest
	}
}

// commit writes batch and then takes it into memory; a commit whose outcome
// stays unknown is taken when the storage is back and has it.
func (c *Chain) commit(batch *leveldb.Batch, head *SignedHeader, take func()) error {
	c.pending = take
	if err := c.store.commit(batch, head.id, head.Number()); err != nil {
		return err
	}
	take()
	return nil
}

// condemn puts bad, and all that descends from it, on the invalid list, for
// ever. It returns what to say of the block that was being added.
func (c *Chain) condemn(bad, adding *entry, reason error) error {
	if !errors.Is(reason, ErrBadBlock) {
		return reason
	}
	batch := new(leveldb.Batch)
	c.mu.Lock()
	for _, e := range c.index.descendants(bad) {
		if e.status == stored {
			dropBlock(batch, e)
		}
		text := reason.Error()
		if e != bad {
			text = "descends from " + bad.id.Hex()
		}
		for _, left := range c.index.mark(e, text) {
			batch.Delete(blockKey(tableInvalid, left.Number(), left.id))
		}
		batch.Put(blockKey(tableInvalid, e.Number(), e.id), encodeRLP(invalidRecord{e.Encode(), text}))
	}
	c.mu.Unlock()
	log.Warnw("invalid block", "id", bad.id, "proposer", bad.Proposer(), "slot", bad.Slot(), "reason", reason)
	if err := c.commit(batch, c.view.Load().head, func() {}); err != nil {
		log.Errorw("invalid list not written", "err", err)
	}
	if bad != adding {
		return fmt.Errorf("%w: %s: %w", ErrInvalidAncestor, bad.id, reason)
	}
	return reason
}

// tell makes the Update from the head that was last told to the one there is.
func (c *Chain) tell(have map[common.Hash]*Block) (Update, error) {
	old, head := c.told, c.view.Load().head
	u := Update{Old: old.header, Head: head.header, Moved: old.id != head.id}
	if !u.Moved {
		return u, nil
	}
	c.mu.Lock()
	revert, apply := c.index.fork(&entry{SignedHeader: old}, &entry{SignedHeader: head})
	c.mu.Unlock()
	var err error
	if u.Reverted, err = c.firstOf(backward(revert), have); err != nil {
		return u, err
	}
	if u.Applied, err = c.firstOf(backward(apply), have); err != nil {
		return u, err
	}
	slices.Reverse(u.Applied)
	if left := len(apply) - len(u.Applied); left > 0 && left == len(revert)-len(u.Reverted) && len(u.Reverted) > 0 {
		u.Reverted = u.Reverted[:len(u.Reverted)-1] // so that the numbers tell it
	}
	c.told = head
	c.mu.Lock()
	c.index.trim() // not before: the old branch may have begun at the bottom of the window
	c.mu.Unlock()
	log.Infow("head", "number", head.Number(), "slot", head.Slot(), "id", head.id, "reverted", len(u.Reverted))
	c.watchers.send(u)
	return u, nil
}
