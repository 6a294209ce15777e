package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/syndtr/goleveldb/leveldb"
)

// Taking over a state. A node that is far behind, or on a branch that forked below
// the undo window, takes over the state after a block instead of executing the
// blocks up to it. The block is a pivot: every chain keeps the states after the
// newest two, so that many peers can give parts of the same one.
//
//	Adopt <- headers from ours to the pivot's, checked by CheckHeaders
//	      <- Staging: the pivot's state, subtree by subtree, each checked, kept on disk

// PivotEvery is the distance of pivots in blocks: at least a minute of slots. Two are
// kept, so that the newest is there for one minute after it was chosen, and the one
// before until the next.
func (g *Genesis) PivotEvery() uint64 {
	every := uint64(64)
	for time.Duration(every)*g.SlotDuration() < time.Minute {
		every *= 2
	}
	return every
}

// keptPivots is how many states a chain keeps beside the head's. Each costs what
// the blocks since have changed, at most a whole tree.
const keptPivots = 2

// pivot is a block with the state after it.
type pivot struct {
	head  *SignedHeader
	state State
}

// isPivot tells whether the state after the canonical block with a number is kept.
func (c *Chain) isPivot(number uint64) bool { return number%c.g.PivotEvery() == 0 }

// keepPivots takes in the states after new canonical blocks. mu is held.
func (c *Chain) keepPivots(fresh ...pivot) {
	for _, p := range fresh {
		if c.isPivot(p.head.Number()) {
			c.pivots = append(c.pivots, p)
		}
	}
	c.pivots = c.pivots[max(0, len(c.pivots)-keptPivots):]
}

// PivotState is the state after a pivot that is kept still.
func (c *Chain) PivotState(id common.Hash) (State, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pivots {
		if p.head.id == id {
			return p.state, true
		}
	}
	return State{}, false
}

// Staging is a state that is being put together, beginning with the head's. What
// is put in is on disk before Put returns, and the next Stage goes on from there,
// even after a crash. One goroutine uses it.
type Staging struct {
	c     *Chain
	state State
}

// Stage begins or resumes.
func (c *Chain) Stage() (*Staging, error) {
	s := &Staging{c: c, state: c.State()}
	err := c.store.iterate([]byte{tableStaged}, nil, func(key, value []byte) error {
		if len(key) != 3 {
			return fmt.Errorf("%w: staged bucket %x", ErrCorrupt, key)
		}
		index := binary.BigEndian.Uint16(key[1:])
		if err := checkBucket(index, value); err != nil {
			return fmt.Errorf("%w: staged: %s", ErrCorrupt, err)
		}
		s.put(Subtree{treeDepth, index}, newBucket(append([]byte{kindBucket}, value...)))
		return nil
	})
	return s, err
}

// State is what there is so far.
func (s *Staging) State() State { return s.state }

// put replaces a subtree.
func (s *Staging) put(t Subtree, n *node) { s.state = State{s.state.root.graft(0, t, n)} }

// graft is the tree n at depth with sub in the place of t.
func (n *node) graft(depth int, t Subtree, sub *node) *node {
	if depth == t.Depth {
		return sub
	}
	kids, sums := n.children()
	i := nibble(t.Index, depth)
	kids[i] = kids[i].graft(depth+1, t, sub)
	sums[i] = kids[i].hash()
	return newInner(kids, &sums)
}

// Put takes parts in one synced batch.
func (s *Staging) Put(parts []*CheckedPart) error {
	batch := new(leveldb.Batch)
	state := s.state
	for _, p := range parts {
		first := p.Index >> (16 - 4*p.Depth)
		_ = s.state.find(p.Subtree).walk(first, p.Depth, func(index uint16, _ []byte) bool {
			batch.Put(stagedKey(index), nil) // empty, unless it is among those below
			return true
		})
		_ = p.node.walk(first, p.Depth, func(index uint16, bucket []byte) bool {
			batch.Put(stagedKey(index), bucket)
			return true
		})
		s.put(p.Subtree, p.node)
	}
	c := s.c
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	err := c.resume()
	if err == nil {
		err = c.commit(batch, c.view.Load().head, func() {})
	}
	if err != nil {
		s.state = state
	}
	return err
}

func (c *Chain) dropStaged(batch *leveldb.Batch) error {
	return c.store.iterate([]byte{tableStaged}, nil, func(key, _ []byte) error {
		batch.Delete(key)
		return nil
	})
}

func stagedKey(index uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{tableStaged}, index)
}

// Adopt makes the pivot the head, with the staged state, in one synced batch. path
// are the headers that lead to it, oldest first, the last one its own; the first
// follows a canonical block of ours. They have passed CheckHeaders. The bodies
// below the pivot are not there afterwards, as if they were pruned, and branches
// that begin below it are not taken any more. Blocks of ours that are not on path
// are dropped; the Update has them as reverted as far as their
// bodies are there.
//
// The head's number must grow: a heavier branch whose newest pivot is below our
// head is adopted at a later pivot. Errors: ErrInvalidProof if the staged state is
// not the pivot's, ErrTooOld if the number would not grow, ErrUnknownParent if path
// does not begin on our chain, ErrBodyMismatch, and those of Add of the disk.
func (s *Staging) Adopt(path []*SignedHeader, body *Block) (Update, error) {
	c := s.c
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if err := c.resume(); err != nil {
		return Update{}, err
	}
	base, err := c.checkAdoption(path, body, s.state)
	if err != nil {
		return Update{}, err
	}
	if c.cfg.Shared != nil {
		body = c.cfg.Shared.take(body)
	}
	RecoverSenders(body.txs, c.g)
	v := c.view.Load()
	u := Update{Old: c.told.header, Head: body.header, Reverted: c.dropped(base), Applied: []*Block{body}, Moved: true}
	batch := new(leveldb.Batch)
	open, err := c.dropAbove(batch, base)
	if err != nil {
		return Update{}, err
	}
	c.mu.Lock()
	leaving, kept := c.index.below(body.Number())
	c.mu.Unlock()
	for _, e := range leaving {
		switch {
		case e.status == invalid:
			batch.Delete(blockKey(tableInvalid, e.Number(), e.id))
		case e.status == stored && c.onBranch(e, base):
			batch.Delete(blockKey(tableUndo, e.Number(), e.id))
		case e.status == stored:
			dropBlock(batch, e)
		}
	}
	for _, sh := range path {
		batch.Put(blockKey(tableHeader, sh.Number(), sh.id), sh.Encode())
		batch.Put(hashKey(tableNumber, sh.id), binary.BigEndian.AppendUint64(nil, sh.Number()))
		batch.Put(numberKey(tableCanonical, sh.Number()), sh.id[:])
	}
	c.store.putBlock(batch, body)
	if len(open.leads) > 0 {
		open.write(batch) // the next one begins above the gap
	}
	open = c.extend(batch, unit{first: body.Number()}, body)
	disk := c.putTable(batch, s.state, body.Number(), true)
	if err := c.dropStaged(batch); err != nil {
		return Update{}, err
	}
	batch.Put(lowKey(), binary.BigEndian.AppendUint64(nil, body.Number()))
	bodies := bodiesFrom{body.Number(), c.bodies.swept} // those we had stay, until they are pruned
	bodies.write(batch)
	c.store.pruned.Store(bodies.pruned) // first: a reader that misses a body looks here
	take := func() {
		fresh := newIndex(c.index.window)
		e := &entry{SignedHeader: body.SignedHeader, status: stored}
		fresh.put(e)
		fresh.head, fresh.low = e, body.Number()
		for _, k := range kept {
			fresh.put(k)
			fresh.invalid = append(fresh.invalid, k.id)
		}
		c.mu.Lock()
		c.index = fresh
		c.keepPivots(pivot{body.SignedHeader, s.state})
		c.mu.Unlock()
		c.bodies = bodies
		c.disk = disk
		c.unit.Store(&open)
		c.view.Store(&view{body.SignedHeader, s.state})
	}
	if err := c.commit(batch, body.SignedHeader, take); err != nil {
		return Update{}, err
	}
	c.told = body.SignedHeader
	log.Infow("state taken over", "number", body.Number(), "id", body.id, "fork", base.Number(), "old", v.head.Number(), "reverted", len(u.Reverted))
	c.watchers.send(u)
	return u, nil
}

// checkAdoption returns the canonical block of ours that path follows.
func (c *Chain) checkAdoption(path []*SignedHeader, body *Block, st State) (*SignedHeader, error) {
	if len(path) == 0 || path[len(path)-1].id != body.id {
		return nil, fmt.Errorf("%w: path does not lead to the block", ErrUnknownParent)
	}
	if body.Number() <= c.Weight() {
		return nil, fmt.Errorf("%w: number %d, head %d", ErrTooOld, body.Number(), c.Weight())
	}
	if root := st.Root(); root != body.header.Root {
		return nil, fmt.Errorf("%w: the state hashes to %s, block %d has %s", ErrInvalidProof, root, body.Number(), body.header.Root)
	}
	if err := c.checkAlone(body); err != nil {
		return nil, err
	}
	base, err := c.signedHeader(path[0].Parent())
	if err != nil {
		return nil, err
	}
	if base == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownParent, path[0].Parent())
	}
	id, err := c.store.canonical(base.Number())
	if err == nil && id != base.id {
		err = fmt.Errorf("%w: %s is not canonical", ErrUnknownParent, base.id)
	}
	return base, err
}

// dropped are the blocks above base on the branch of the head that was last told,
// oldest first, as many as an Update holds: a pool takes their transactions back.
func (c *Chain) dropped(base *SignedHeader) []*Block {
	var branch []*SignedHeader
	var err error
	for sh := c.told; sh != nil && !c.onBranch(&entry{SignedHeader: sh}, base); {
		branch = append(branch, sh)
		if sh, err = c.signedHeader(sh.Parent()); err != nil {
			break
		}
	}
	slices.Reverse(branch)
	out, readErr := c.firstOf(branch, nil)
	c.note(errors.Join(err, readErr)) // a damaged block must not keep us from leaving its branch
	return out
}

// dropAbove deletes the canonical blocks above base, which are on another branch, and
// returns the open unit up to base.
func (c *Chain) dropAbove(batch *leveldb.Batch, base *SignedHeader) (unit, error) {
	open := *c.unit.Load()
	for n := c.Weight(); n > base.Number(); n-- {
		id, err := c.store.canonical(n)
		if err != nil {
			return unit{}, err
		}
		sh, err := c.store.header(n, id)
		if err != nil {
			return unit{}, err
		}
		if sh == nil {
			return unit{}, fmt.Errorf("%w: header of block %d %s is missing", ErrCorrupt, n, id)
		}
		dropCanonical(batch, sh)
		dropBlock(batch, &entry{SignedHeader: sh})
		if open, err = c.store.rewind(batch, open, n); err != nil {
			return unit{}, err
		}
	}
	return open, nil
}

// onBranch tells whether a stored block of the index is canonical and not above base.
func (c *Chain) onBranch(e *entry, base *SignedHeader) bool {
	if e.Number() > base.Number() {
		return false
	}
	id, err := c.store.canonical(e.Number())
	c.note(err)
	return id == e.id
}

// below lists what leaves the index when nothing but invalid blocks above a number
// stays in it, and those.
func (x *index) below(number uint64) (leaving, kept []*entry) {
	for _, e := range x.byID {
		if e.status == invalid && e.Number() > number {
			kept = append(kept, e)
		} else {
			leaving = append(leaving, e)
		}
	}
	return leaving, kept
}
