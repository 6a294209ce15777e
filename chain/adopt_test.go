package chain

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
)

// branch makes n blocks on p that spread money over new accounts.
func (w *world) spread(p tip, n int, name string) []tip {
	var out []tip
	for i := range n {
		to := common.BytesToAddress([]byte(fmt.Sprint(name, i)))
		p = w.next(p, p.Slot()+1, w.transfer(0, p.state.Nonce(w.user(0)), to, 1000))
		out = append(out, p)
	}
	return out
}

func headersOf(tips []tip) (out []*SignedHeader) {
	for _, p := range tips {
		out = append(out, p.SignedHeader)
	}
	return out
}

// copyState stages all of a state, depth 1 part by part.
func copyState(t testing.TB, s *Staging, from State) {
	t.Helper()
	for i := range treeFanout {
		part := Subtree{}.Child(i)
		if s.State().Digest(part) == from.Digest(part) {
			continue
		}
		putPart(t, s, from, part)
	}
	if s.State().Root() != from.Root() {
		t.Fatalf("staged %s, want %s", s.State().Root(), from.Root())
	}
}

// putPart stages one subtree of a state.
func putPart(t testing.TB, s *Staging, from State, part Subtree) {
	t.Helper()
	checked, err := CheckPart(Part{part, from.Part(part, 1<<20)}, from.Digest(part))
	if err == nil {
		err = s.Put([]*CheckedPart{checked})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func stage(t testing.TB, c *Chain) *Staging {
	t.Helper()
	s, err := c.Stage()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAdopt: a chain that took a state over is as one that executed every block,
// but for the bodies; it goes on, reorganises, closes and opens like any other.
func TestAdopt(t *testing.T) {
	w := newWorld(2, 2)
	dir := t.TempDir()
	tips := w.spread(w.genesis(), 150, "a")
	full := openChain(t, w, Config{}, "")
	add(t, full, tips...)
	at := int(w.g.PivotEvery()) * 2
	if st, ok := full.PivotState(tips[at-1].ID()); !ok || st.Root() != tips[at-1].header.Root {
		t.Fatalf("the state of block %d is not kept", at)
	}
	for _, n := range []int{at - 2, at, 149} {
		if _, ok := full.PivotState(tips[n].ID()); ok {
			t.Errorf("the state of block %d is kept", n+1)
		}
	}
	c := openChain(t, w, Config{UndoBlocks: 16, unitTxs: 20}, dir)
	add(t, c, tips[:5]...)
	s := stage(t, c)
	pivot := tips[at-1]
	path := headersOf(tips[5:at])
	if _, err := s.Adopt(path, pivot.Block); !errors.Is(err, ErrInvalidProof) {
		t.Errorf("Adopt with another state: %v", err)
	}
	copyState(t, s, pivot.state)
	if _, err := s.Adopt(path[1:], pivot.Block); !errors.Is(err, ErrUnknownParent) {
		t.Errorf("Adopt with a gap: %v", err)
	}
	if _, err := s.Adopt(path[:3], pivot.Block); !errors.Is(err, ErrUnknownParent) {
		t.Errorf("Adopt with a short path: %v", err)
	}
	watch, end := c.Watch(1)
	defer end()
	u, err := s.Adopt(path, pivot.Block)
	if err != nil || !u.Moved || u.Head.Hash() != pivot.ID() || u.Old.Hash() != tips[4].ID() || len(u.Applied) != 1 || len(u.Reverted) != 0 {
		t.Fatalf("Adopt = %+v, %v", u, err)
	}
	if got := <-watch; got.Head.Hash() != pivot.ID() {
		t.Error("watchers are not told")
	}
	if _, err := s.Adopt(path, pivot.Block); !errors.Is(err, ErrTooOld) {
		t.Errorf("Adopt again: %v", err)
	}
	for range 2 { // before and after it is closed and opened
		if c.HeadID() != pivot.ID() || c.State().Root() != pivot.header.Root || c.Low() != uint64(at) {
			t.Fatalf("head %d, low %d", c.Weight(), c.Low())
		}
		if c.BlockByNumber(uint64(at)) == nil || c.BlockByNumber(3) == nil || c.BlockByNumber(50) != nil || c.HeaderByNumber(50) == nil || c.Damage() != nil {
			t.Errorf("blocks at the pivot, before and between; damage %v", c.Damage())
		}
		if _, _, ok := c.Lookup(pivot.Txs()[0].Hash()); !ok {
			t.Error("a transaction of the pivot is not found")
		}
		if _, err := c.Verify(context.Background()); err != nil {
			t.Fatalf("Verify: %v", err)
		}
		user := w.user(0)
		if _, _, err := c.AccountAt(uint64(at)-1, user); !errors.Is(err, ErrPruned) {
			t.Errorf("AccountAt below the pivot: %v, want ErrPruned", err)
		}
		if a, id, err := c.AccountAt(uint64(at), user); err != nil || id != pivot.ID() || a != pivot.state.Account(user) {
			t.Errorf("AccountAt of the pivot = %+v of %s, %v", a, id, err)
		}
		if left := stage(t, c); left.State().Root() != pivot.header.Root {
			t.Error("something is staged still")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openChain(t, w, Config{UndoBlocks: 16, unitTxs: 20}, dir)
	}
	if _, ok := c.PivotState(pivot.ID()); ok {
		t.Error("states of pivots outlive the process")
	}
	add(t, c, tips[at:]...)
	other := w.spread(tips[at+10], 30, "b") // a reorg inside the window that began at the pivot
	add(t, c, other...)
	if c.HeadID() != other[29].ID() || c.State().Root() != other[29].header.Root {
		t.Error("no reorg after the state was taken over")
	}
	if _, err := c.Add(w.next(tips[at-2], 999).Block); !errors.Is(err, ErrTooOld) && !errors.Is(err, ErrUnknownParent) {
		t.Errorf("a branch from below the pivot: %v", err)
	}
	if _, err := c.Verify(context.Background()); err != nil {
		t.Fatalf("Verify: %v", err)
	}
}

// TestAdoptABranchFromBelowTheWindow: nothing of the old branch is left.
func TestAdoptABranchFromBelowTheWindow(t *testing.T) {
	w := newWorld(2, 2)
	dir := t.TempDir()
	cfg := Config{UndoBlocks: 8, unitTxs: 20}
	trunk := w.spread(w.genesis(), 10, "trunk")
	old := w.spread(trunk[9], 60, "old")
	better := w.spread(w.next(trunk[9], 500), 120, "new")
	branch := append([]tip{w.next(trunk[9], 500)}, better...)
	c := openChain(t, w, cfg, dir)
	add(t, c, trunk...)
	add(t, c, old...)
	if _, err := c.Add(branch[0].Block); !errors.Is(err, ErrTooOld) {
		t.Fatalf("Add = %v, want ErrTooOld", err)
	}
	bad := w.bent(old[59], old[59].Slot()+1, nil, func(h *types.Header) { h.Root[0]++ })
	if _, err := c.Add(bad.Block); !errors.Is(err, ErrBadBlock) {
		t.Fatal(err)
	}
	at := 128 - 10 // index in branch of block 128
	s := stage(t, c)
	copyState(t, s, branch[at-1].state)
	u, err := s.Adopt(headersOf(branch[:at]), branch[at-1].Block)
	if err != nil {
		t.Fatal(err)
	}
	checkReorgUpdate(t, u, old, branch[at-1:at]) // else the pool would lose what they had
	for range 2 {
		if c.HeadID() != branch[at-1].ID() || c.State().Root() != branch[at-1].header.Root {
			t.Fatalf("head %d", c.Weight())
		}
		for _, o := range old {
			if c.Has(o.ID()) {
				t.Fatalf("block %d of the old branch is there", o.Number())
			}
			if _, _, ok := c.Lookup(o.Txs()[0].Hash()); ok {
				t.Fatalf("a transaction of block %d of the old branch is found", o.Number())
			}
		}
		if _, _, ok := c.Lookup(trunk[3].Txs()[0].Hash()); !ok {
			t.Error("a transaction of the trunk is lost")
		}
		if _, err := c.Verify(context.Background()); err != nil {
			t.Fatalf("Verify: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openChain(t, w, cfg, dir)
	}
	add(t, c, branch[at:]...)
}

// TestPruneAfterAdoption: the bodies from before a state was taken over are pruned too,
// in steps, by a chain that was closed meanwhile as well.
func TestPruneAfterAdoption(t *testing.T) {
	w := newWorld(1, 2)
	dir := t.TempDir()
	cfg := Config{UndoBlocks: 8, PruneBodies: 70, unitTxs: 4}
	tips := w.spread(w.genesis(), 330, "a")
	c := openChain(t, w, cfg, dir)
	add(t, c, tips[:160]...) // bodies from 90 on
	s := stage(t, c)
	at := 256
	copyState(t, s, tips[at-1].state)
	if _, err := s.Adopt(headersOf(tips[160:at]), tips[at-1].Block); err != nil {
		t.Fatal(err)
	}
	bodies := func() (below int) {
		for key := range dump(t, c, tableBody) {
			if n := binary.BigEndian.Uint64([]byte(key)[1:]); n > 0 && n < uint64(at) {
				below++
			}
		}
		return below
	}
	if n := bodies(); n != 71 {
		t.Fatalf("%d bodies from before the adoption, want those of 90 to 160", n)
	}
	for i, b := range tips[at:] {
		add(t, c, b)
		if i == 0 {
			if n := bodies(); n == 0 {
				t.Fatal("pruned in one step")
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			c = openChain(t, w, cfg, dir)
		}
	}
	if n := bodies(); n != 0 {
		t.Errorf("%d bodies from before the adoption stay", n)
	}
	for _, b := range tips {
		if kept := b.Number() >= 330-70; (c.BlockByNumber(b.Number()) != nil) != kept {
			t.Errorf("the body of block %d is there: %v", b.Number(), !kept)
		}
	}
	if raw, err := c.store.get(sweptKey()); raw != nil || err != nil {
		t.Errorf("the sweep has no end: %x, %v", raw, err)
	}
	if _, err := c.Verify(context.Background()); err != nil || c.Damage() != nil {
		t.Fatalf("Verify: %v, damage %v", err, c.Damage())
	}
}

// TestStagingResumes: what was put before a crash is there after it.
func TestStagingResumes(t *testing.T) {
	w := newWorld(1, 2)
	dir := t.TempDir()
	tips := w.spread(w.genesis(), 64, "a")
	target := tips[63].state
	c := openChain(t, w, Config{}, dir)
	half := stage(t, c)
	for i := range treeFanout / 2 {
		putPart(t, half, target, Subtree{}.Child(i))
	}
	if err := c.Close(); err != nil { // a crash leaves the same: every Put is synced
		t.Fatal(err)
	}
	c = openChain(t, w, Config{}, dir)
	if _, err := c.Verify(context.Background()); err != nil {
		t.Fatalf("Verify: %v", err)
	}
	s := stage(t, c)
	for i := range treeFanout / 2 {
		if part := (Subtree{}).Child(i); s.State().Digest(part) != target.Digest(part) {
			t.Errorf("part %d is lost", i)
		}
	}
	copyState(t, s, target)
	if _, err := s.Adopt(headersOf(tips), tips[63].Block); err != nil {
		t.Fatal(err)
	}
}

// TestAdoptIsOneStep: what a process that ends at any step of the takeover leaves
// on disk opens by itself, at the old head or at the pivot, and verifies.
func TestAdoptIsOneStep(t *testing.T) {
	w := newWorld(1, 2)
	tips := w.spread(w.genesis(), 64, "a")
	dir := t.TempDir()
	armed := false
	left := map[string]string{} // step: folder as it was then
	c := openChain(t, w, Config{failpoint: func(step string) {
		if !armed {
			return
		}
		left[step] = t.TempDir()
		if err := os.CopyFS(left[step], os.DirFS(dir)); err != nil {
			t.Error(err)
		}
	}}, dir)
	add(t, c, tips[:3]...)
	s := stage(t, c)
	copyState(t, s, tips[63].state)
	armed = true
	if _, err := s.Adopt(headersOf(tips[3:]), tips[63].Block); err != nil {
		t.Fatal(err)
	}
	armed = false
	heads := map[common.Hash]int{}
	for step, folder := range left {
		again := openChain(t, w, Config{}, folder)
		if _, err := again.Verify(context.Background()); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		heads[again.HeadID()]++
		if again.HeadID() == tips[2].ID() { // nothing is lost: it can be taken over still
			if _, err := stage(t, again).Adopt(headersOf(tips[3:]), tips[63].Block); err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
	}
	if len(heads) != 2 || heads[tips[2].ID()] == 0 || heads[tips[63].ID()] == 0 {
		t.Errorf("heads after %d steps: %v", len(left), heads)
	}
}
