package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"pgregory.net/rapid"
)

// modelBlock is a block of the model, with what its maker knows of it.
type modelBlock struct {
	tip
	parent *modelBlock
	ok     bool // it keeps the full rules, given its parent's state
	have   bool // imported
	bad    bool // on the invalid list
	saved  bool // the invalid list has it on disk
}

// model is a chain without an index, undo or disk: it keeps every block and works
// everything out again each time.
type model struct {
	w     *world
	cfg   Config
	all   []*modelBlock
	head  *modelBlock
	low   uint64                                  // branches begin at this number or above
	built map[common.Hash]map[common.Address]bool // missing blocks, and who has built on them
}

// alive tells whether the chain still knows of b at all: it does not begin below
// the window.
func (m *model) alive(b *modelBlock) bool {
	if !b.have && !b.bad || b.Number() < m.low {
		return false
	}
	return path(b)[m.low] == path(m.head)[m.low]
}

// path lists the blocks from genesis to b.
func path(b *modelBlock) []*modelBlock {
	var out []*modelBlock
	for ; b != nil; b = b.parent {
		out = append(out, b)
	}
	slices.Reverse(out)
	return out
}

// add is what Add must do with b: the error, and whether the head moves.
func (m *model) add(b *modelBlock) error {
	same := 0
	for _, o := range m.all {
		if o != b && m.alive(o) && o.Slot() == b.Slot() {
			same++
		}
	}
	switch {
	case m.alive(b) && b.bad:
		return ErrInvalidAncestor
	case m.alive(b):
		return ErrKnown
	case b.Number() <= m.low, b.Number()+m.cfg.UndoBlocks <= m.head.Number():
		return ErrTooOld
	case !m.alive(b.parent):
		by := m.built[b.parent.id]
		if by == nil {
			by = map[common.Address]bool{}
			m.built[b.parent.id] = by
		}
		by[b.Proposer()] = true
		return ErrUnknownParent
	case same >= perSlot && !m.built[b.id][m.w.g.Proposer(b.Slot()+1)]:
		return ErrEquivocation
	case b.parent.bad:
		b.bad, b.saved = true, false
		return ErrInvalidAncestor
	}
	b.have = true
	if !better(b.SignedHeader, m.head.SignedHeader) {
		return nil
	}
	for _, p := range path(b) {
		if !p.ok {
			m.condemn(p)
			if p == b {
				return ErrBadBlock
			}
			return ErrInvalidAncestor
		}
	}
	m.head = b
	m.low = max(m.low, b.Number()-min(b.Number(), m.cfg.UndoBlocks))
	return nil
}

// condemn puts p and every known descendant on the invalid list.
func (m *model) condemn(p *modelBlock) {
	for _, o := range m.all {
		if m.alive(o) && slices.Contains(path(o), p) {
			o.have, o.bad, o.saved = false, true, true
		}
	}
}

// restart forgets what is only in memory.
func (m *model) restart() {
	for _, b := range m.all {
		if b.bad && !b.saved {
			b.bad = false
		}
	}
	m.built = map[common.Hash]map[common.Address]bool{}
}

// modelRun drives a chain and its model side by side.
type modelRun struct {
	model
	c  *Chain
	st storage.Storage
}

func (r *modelRun) open(t *rapid.T) {
	var err error
	if r.c, err = Open(r.cfg, r.w.g, "", r.st); err != nil {
		t.Fatal(err)
	}
}

// Grow makes a block on any block there ever was and offers it.
func (r *modelRun) Grow(t *rapid.T) { r.offer(t, r.make(t)) }

// Chain makes a few blocks in a row, so that branches get long enough to win.
func (r *modelRun) Chain(t *rapid.T) {
	b := r.make(t)
	r.offer(t, b)
	for range rapid.IntRange(1, 4).Draw(t, "more") {
		b = r.child(t, b)
		r.offer(t, b)
	}
}

// Late makes a block and its child and offers the child first.
func (r *modelRun) Late(t *rapid.T) {
	b := r.make(t)
	child := r.child(t, b)
	r.offer(t, child)
	r.offer(t, b)
	r.offer(t, child)
}

// Again offers a block that was offered before.
func (r *modelRun) Again(t *rapid.T) {
	if len(r.all) > 1 {
		r.offer(t, rapid.SampledFrom(r.all[1:]).Draw(t, "again"))
	}
}

// Restart closes and opens, perhaps with pruning or another window.
func (r *modelRun) Restart(t *rapid.T) {
	if err := r.c.Close(); err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "reconfigure") {
		r.cfg.UndoBlocks = uint64(rapid.SampledFrom([]int{2, 3, 4, 5, 6, 7, 8, 40}).Draw(t, "window"))
	}
	r.cfg.PruneBodies = rapid.SampledFrom([]uint64{0, r.cfg.UndoBlocks, r.cfg.UndoBlocks + 5}).Draw(t, "prune")
	t.Logf("restart, window %d, prune %d", r.cfg.UndoBlocks, r.cfg.PruneBodies)
	r.restart()
	r.open(t)
}

// make draws a parent, mostly near the head, and makes its child.
func (r *modelRun) make(t *rapid.T) *modelBlock {
	from := max(0, len(r.all)-12)
	parent := rapid.SampledFrom(r.all[from:]).Draw(t, "parent")
	if rapid.IntRange(0, 2).Draw(t, "on head") == 0 {
		parent = r.head
	}
	return r.child(t, parent)
}

func (r *modelRun) child(t *rapid.T, parent *modelBlock) *modelBlock {
	var txs []*Tx
	nonces := map[int]uint64{}
	for range rapid.IntRange(0, 3).Draw(t, "txs") {
		u := rapid.IntRange(0, len(r.w.users)-1).Draw(t, "user")
		txs = append(txs, r.w.transfer(u, parent.state.Nonce(r.w.user(u))+nonces[u], r.w.user(0), rapid.Uint64Range(0, 5).Draw(t, "wei")))
		nonces[u]++
	}
	b := &modelBlock{parent: parent, ok: rapid.IntRange(0, 9).Draw(t, "bad") > 0}
	b.tip = r.w.bent(parent.tip, parent.Slot()+rapid.Uint64Range(1, 3).Draw(t, "slot"), txs, func(h *types.Header) {
		if !b.ok {
			h.Root[31]++
		}
	})
	for _, o := range r.all {
		if o.id == b.id {
			return o
		}
	}
	r.all = append(r.all, b)
	return b
}

// offer gives a block to both and compares everything.
func (r *modelRun) offer(t *rapid.T, b *modelBlock) {
	old := r.head
	if rapid.Bool().Draw(t, "check") {
		// Check must never refuse for good what Add takes, nor hide anything from it.
		if err := r.c.Check(b.Block, time.Now()); errors.Is(err, ErrInvalid) {
			t.Fatalf("Check(%s) = %v", b.id, err)
		}
		defer r.c.Forget(b.id)
	}
	u, err := r.c.Add(b.Block)
	want := r.add(b)
	t.Logf("offer %d/%d %.4x on %d/%.4x ok %v: %v", b.Number(), b.Slot(), b.id, b.parent.Number(), b.parent.id, b.ok, want)
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("Add(%d %s) = %v, model says %v", b.Number(), b.id, err, want)
	}
	if err == nil {
		r.compareUpdate(t, u, old)
	}
	if r.c.HeadID() != r.head.id {
		t.Fatalf("head %d %s, model says %d %s", r.c.Weight(), r.c.HeadID(), r.head.Number(), r.head.id)
	}
}

func (r *modelRun) compareUpdate(t *rapid.T, u Update, old *modelBlock) {
	from, to := path(old), path(r.head)
	shared := 0
	for shared < len(from) && shared < len(to) && from[shared] == to[shared] {
		shared++
	}
	same := func(what string, got []*Block, want []*modelBlock) {
		if len(got) != len(want) {
			t.Fatalf("%s %d blocks, want %d", what, len(got), len(want))
		}
		for i := range got {
			if got[i].id != want[i].id {
				t.Fatalf("%s[%d] = %s, want %s", what, i, got[i].id, want[i].id)
			}
		}
	}
	same("Reverted", u.Reverted, from[shared:])
	same("Applied", u.Applied, to[shared:])
	if u.Moved != (old != r.head) || u.Head.Hash() != r.head.id || u.Old.Hash() != old.id {
		t.Fatalf("Update = %+v", u)
	}
}

// check compares every view on the chain with the model.
func (r *modelRun) check(t *rapid.T) {
	canonical := path(r.head)
	pruned := r.c.store.pruned.Load()
	where := map[common.Hash][2]uint64{}
	for _, b := range canonical {
		if got := r.c.HeaderByNumber(b.Number()); got == nil || got.Hash() != b.id {
			t.Fatalf("HeaderByNumber(%d) = %v", b.Number(), got)
		}
		kept := b.Number() == 0 || b.Number() >= pruned
		if got := r.c.BlockByNumber(b.Number()); (got != nil) != kept {
			t.Fatalf("BlockByNumber(%d) is there: %v, pruned below %d", b.Number(), got != nil, pruned)
		}
		for i, tx := range b.txs {
			if kept {
				where[tx.hash] = [2]uint64{b.Number(), uint64(i)}
			}
		}
	}
	if r.c.HeaderByNumber(uint64(len(canonical))) != nil {
		t.Fatal("a canonical block above the head")
	}
	for _, b := range r.all {
		for _, tx := range b.txs {
			in, at, ok := r.c.Lookup(tx.hash)
			want, there := where[tx.hash]
			if ok != there || ok && (in.Number() != want[0] || uint64(at) != want[1]) {
				t.Fatalf("Lookup(%s) = %v %d %v, want %v %v", tx.hash, in, at, ok, want, there)
			}
		}
		if want := b.have && (r.alive(b) || slices.Contains(canonical, b)); r.c.Has(b.id) != want {
			t.Fatalf("Has(%d %s) = %v, want %v", b.Number(), b.id, !want, want)
		}
	}
	if r.c.State().Root() != r.head.state.Root() || r.c.Damage() != nil {
		t.Fatalf("root %s, want %s; damage %v", r.c.State().Root(), r.head.state.Root(), r.c.Damage())
	}
	r.past(t, canonical)
	r.conserve(t, canonical)
}

// past compares the accounts after every canonical block with what they were then.
func (r *modelRun) past(t *rapid.T, canonical []*modelBlock) {
	low := max(r.low, r.head.Number()-min(r.head.Number(), r.cfg.UndoBlocks))
	addrs := slices.Clone(r.w.g.Proposers)
	for i := range r.w.users {
		addrs = append(addrs, r.w.user(i))
	}
	for _, b := range canonical {
		for _, addr := range addrs {
			got, id, err := r.c.AccountAt(b.Number(), addr)
			if b.Number() < low {
				if !errors.Is(err, ErrPruned) {
					t.Fatalf("AccountAt(%d) = %v, want ErrPruned below %d", b.Number(), err, low)
				}
				continue
			}
			if err != nil || id != b.id || got != b.state.Account(addr) {
				t.Fatalf("AccountAt(%d, %s) = %+v of %s, %v, want %+v of %s", b.Number(), addr, got, id, err, b.state.Account(addr), b.id)
			}
		}
	}
}

// conserve adds up all balances and what was burned: nothing is made or lost.
func (r *modelRun) conserve(t *rapid.T, canonical []*modelBlock) {
	have := supply(r.c.State())
	for _, b := range canonical {
		have.Add(have, burned(b.header))
	}
	if want := supply(r.w.g.state()); !have.Eq(want) {
		t.Fatalf("balances and burned fees are %s, genesis had %s", have.Dec(), want.Dec())
	}
}

// TestChainModel runs random streams of blocks on every branch, good and bad, in
// and out of order, with restarts and pruning.
func TestChainModel(t *testing.T) { rapid.Check(t, chainModel) }

func chainModel(t *rapid.T) {
	w := newWorld(2, 3)
	window := uint64(rapid.IntRange(2, 8).Draw(t, "window"))
	g := &modelBlock{tip: w.genesis(), ok: true, have: true}
	r := &modelRun{
		model: model{w: w, cfg: Config{UndoBlocks: window, unitTxs: rapid.IntRange(1, 8).Draw(t, "unit")}, all: []*modelBlock{g}, head: g, built: map[common.Hash]map[common.Address]bool{}},
		st:    storage.NewMemStorage(),
	}
	r.open(t)
	defer func() { _ = r.c.Close() }()
	t.Repeat(map[string]func(*rapid.T){
		"": r.check, "grow": r.Grow, "chain": r.Chain, "late": r.Late, "again": r.Again, "restart": r.Restart,
	})
	if _, err := r.c.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (b *modelBlock) String() string { return fmt.Sprintf("%d/%d %s", b.Number(), b.Slot(), b.id) }
