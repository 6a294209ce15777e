package chain

import (
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
)

// sameAsLinear compares c with a chain that never saw another branch than the
// one that ends at head: every table but the commit records and side blocks.
func sameAsLinear(t testing.TB, w *world, cfg Config, c *Chain, branch []tip) {
	t.Helper()
	linear := openChain(t, w, cfg, "")
	add(t, linear, branch...)
	sameTables(t, c, tables(t, linear))
	if err := linear.Close(); err != nil {
		t.Fatal(err)
	}
	if v := c.view.Load(); v.head.id != branch[len(branch)-1].id || v.state.Root() != branch[len(branch)-1].state.Root() {
		t.Fatalf("head %d %s", c.Weight(), c.HeadID())
	}
}

// tables is the content of every table that does not depend on a chain's history,
// and the accounts, which are in theirs at different times.
func tables(t testing.TB, c *Chain) map[byte]map[string]string {
	out := map[byte]map[string]string{}
	for _, table := range []byte{tableCanonical, tableTx, tableUnit, tableUndo, tableHeader, tableBody, tableNumber} {
		out[table] = dump(t, c, table)
	}
	out[tableBucket] = accounts(t, c)
	return out
}

// accounts is the buckets that opening c would find.
func accounts(t testing.TB, c *Chain) map[string]string {
	t.Helper()
	h, err := c.store.handle()
	if err != nil {
		t.Fatal(err)
	}
	disk, st, _, err := readState(h, c.Weight())
	if err != nil || st.Root() != c.State().Root() {
		t.Fatalf("accounts on disk hash to %s, want %s: %v", st.Root(), c.State().Root(), err)
	}
	if disk.state.Root() != c.disk.state.Root() || disk.as != c.disk.as {
		t.Fatalf("table of buckets is %s from %d, want %s from %d", disk.state.Root(), disk.redo(), c.disk.state.Root(), c.disk.redo())
	}
	out := map[string]string{}
	for index, bucket := range st.buckets() {
		out[string(bucketKey(index))] = string(bucket)
	}
	return out
}

// sameTables compares all tables; side blocks may be there beside the others.
func sameTables(t testing.TB, c *Chain, want map[byte]map[string]string) {
	t.Helper()
	for table, entries := range want {
		got := dump(t, c, table)
		if table == tableBucket {
			got = accounts(t, c)
		}
		for k, v := range entries {
			if got[k] != v {
				t.Fatalf("table %c, key %x: %.40x, want %.40x", table, k, got[k], v)
			}
		}
		if sides := table == tableHeader || table == tableBody || table == tableNumber; !sides && len(got) != len(entries) {
			t.Fatalf("table %c has %d entries, want %d", table, len(got), len(entries))
		}
	}
}

func dump(t testing.TB, c *Chain, table byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := c.store.iterate([]byte{table}, nil, func(k, v []byte) error {
		out[string(k)] = string(v)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReorg(t *testing.T) {
	w := newWorld(2, 3)
	for name, tc := range map[string]struct{ shared, lose, win int }{
		"one for two":        {3, 1, 2},
		"from genesis":       {0, 4, 5},
		"whole window":       {2, 30, 31},
		"much longer":        {1, 2, 20},
		"equal, by the slot": {2, 3, 3},
		"equal, one block":   {0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{UndoBlocks: 32, unitTxs: 16}
			dir := t.TempDir()
			c := openChain(t, w, cfg, dir)
			base := w.genesis()
			shared := w.run(base, tc.shared, 3, 3)
			if len(shared) > 0 {
				base = shared[len(shared)-1]
			}
			lose, win := w.run(base, tc.lose, 3, 3), w.run(base, tc.win, 4, 2)
			add(t, c, shared...)
			add(t, c, lose...)
			updates, stop := c.Watch(100)
			defer stop()
			var u Update
			for i, b := range win {
				var err error
				if u, err = c.Add(fresh(t, b.Block)); err != nil {
					t.Fatal(err)
				}
				if want := better(b.SignedHeader, lose[len(lose)-1].SignedHeader); u.Moved != want {
					t.Fatalf("block %d of the other branch: moved %v, want %v", i, u.Moved, want)
				}
				if u.Moved && len(u.Reverted) > 0 {
					checkReorgUpdate(t, u, lose, win[:i+1])
				}
			}
			if first := <-updates; len(first.Reverted) != len(lose) {
				t.Fatalf("Watch saw %d reverted blocks first, want %d", len(first.Reverted), len(lose))
			}
			sameAsLinear(t, w, cfg, c, append(shared, win...))
			for _, b := range lose {
				if !c.Has(b.ID()) || c.BlockByID(b.ID()) == nil {
					t.Fatalf("the losing branch is gone")
				}
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			sameAsLinear(t, w, cfg, openChain(t, w, cfg, dir), append(shared, win...))
		})
	}
}

func checkReorgUpdate(t *testing.T, u Update, reverted, applied []tip) {
	t.Helper()
	same := func(what string, got []*Block, want []tip) {
		if len(got) != len(want) {
			t.Fatalf("%s %d blocks, want %d", what, len(got), len(want))
		}
		for i, b := range got {
			if b.ID() != want[i].ID() || len(b.Txs()) != len(want[i].txs) {
				t.Fatalf("%s[%d] is block %d", what, i, b.Number())
			}
		}
	}
	same("Reverted", u.Reverted, reverted)
	same("Applied", u.Applied, applied)
}

// TestDeepReorgIsToldInPart: a reorg of more than an Update holds has the oldest
// reverted and the newest applied blocks, keeps none of the others in memory, and the
// numbers tell that some are missing, even where both sides lack equally many.
func TestDeepReorgIsToldInPart(t *testing.T) {
	w := newWorld(2, 3)
	for name, tc := range map[string]struct {
		lose, win int
		step      uint64 // between the winner's slots; the loser's are 3
		reverted  int
		applied   int
	}{
		"both, and the reverted leave the window": {20, 21, 4, 5, 5},
		"equally many": {20, 20, 2, 4, 5},
		"applied":      {3, 20, 2, 3, 5},
	} {
		t.Run(name, func(t *testing.T) {
			lose, win := w.run(w.genesis(), tc.lose, 3, 3), w.run(w.genesis(), tc.win, 3, tc.step)
			limit := 0 // five blocks on either side reach it, not four
			for _, b := range append(lose, win...) {
				limit = max(limit, 4*b.BodySize()+1)
			}
			c := openChain(t, w, Config{UndoBlocks: 20, maxTold: limit}, "")
			add(t, c, lose...)
			add(t, c, win[:tc.lose-1]...)
			var u Update
			for _, b := range win[tc.lose-1:] {
				var err error
				if u, err = c.Add(fresh(t, b.Block)); err != nil {
					t.Fatal(err)
				}
				if u.Moved && len(u.Reverted) > 0 {
					break
				}
			}
			if !u.Moved || u.Head.Number.Uint64() < uint64(tc.lose) {
				t.Fatalf("no reorg: %+v", u)
			}
			n := int(u.Head.Number.Uint64())
			applied := min(tc.applied, n)
			checkReorgUpdate(t, u, lose[:tc.reverted], win[n-applied:n])
			jump := n-len(u.Applied) != tc.lose-len(u.Reverted)
			if all := len(u.Applied) == n && len(u.Reverted) == tc.lose; jump == all {
				t.Errorf("a jump is seen: %v, all is told: %v", jump, all)
			}
			add(t, c, win[n:]...)
		})
	}
}

// TestMemoryOfAReorg: a deep reorg keeps neither the states nor the blocks of all
// that it takes back and applies.
func TestMemoryOfAReorg(t *testing.T) {
	const depth, txs = 24, 150
	w := newWorld(1, 10)
	branch := func(name string, step uint64) (out []tip) {
		p := w.genesis()
		for i := range depth {
			var body []*Tx
			for k := range txs {
				u := k % len(w.users)
				to := common.BytesToAddress(fmt.Append(nil, name, i, k))
				body = append(body, w.transfer(u, p.state.Nonce(w.user(u))+uint64(k/len(w.users)), to, 1))
			}
			p = w.next(p, p.Slot()+step, body...)
			out = append(out, p)
		}
		return out
	}
	lose, win := branch("lose", 3), branch("win", 2)
	var heap []uint64 // at the begin of each commit
	c := openChain(t, w, Config{maxTold: 1, failpoint: func(step string) {
		if step == failCommitBegin {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			heap = append(heap, m.HeapAlloc)
		}
	}}, "")
	add(t, c, lose...)
	add(t, c, win[:depth-1]...)
	u, err := c.Add(win[depth-1].Block)
	if err != nil {
		t.Fatal(err)
	}
	checkReorgUpdate(t, u, lose[:0], win[depth-1:]) // one of each would not tell that any are missing
	grown := int64(heap[len(heap)-1]) - int64(heap[len(heap)-2])
	if grown > 3<<20 {
		t.Errorf("%d KiB more for a reorg of %d blocks", grown>>10, depth)
	}
}

// TestBackAndForth moves the head between two growing branches.
func TestBackAndForth(t *testing.T) {
	w := newWorld(1, 3)
	cfg := Config{unitTxs: 7}
	c := openChain(t, w, cfg, "")
	a, b := w.run(w.genesis(), 12, 2, 2), w.run(w.genesis(), 12, 3, 3)
	var ia, ib int
	for ia < len(a) && ib < len(b) {
		for range 2 {
			if ia <= ib {
				add(t, c, a[ia])
				ia++
			} else {
				add(t, c, b[ib])
				ib++
			}
		}
	}
	add(t, c, a[ia:]...)
	sameAsLinear(t, w, cfg, c, a)
}

// badBlocks are blocks whose body matches the header and which break the full rules.
func badBlocks(w *world, p tip, slot uint64) map[string]tip {
	poor := keyOf("poor")
	w.users = append(w.users[:len(w.users):len(w.users)], poor)
	last := len(w.users) - 1
	nonce := p.state.Nonce(w.user(0))
	good := w.transfer(0, nonce, w.user(1), 1)
	foreign := *w.g
	foreign.ChainID++
	other := &world{g: &foreign, users: w.users, signer: types.NewLondonSigner(new(big.Int).SetUint64(foreign.ChainID))}
	return map[string]tip{
		"overdrawn":       w.next(p, slot, good, w.transfer(last, 0, w.user(1), 1)),
		"nonce too high":  w.next(p, slot, w.transfer(0, nonce+1, w.user(1), 1)),
		"nonce too low":   w.next(p, slot, good, good),
		"gas used":        w.bent(p, slot, []*Tx{good}, func(h *types.Header) { h.GasUsed++ }),
		"receipts":        w.bent(p, slot, []*Tx{good}, func(h *types.Header) { h.ReceiptHash[0]++ }),
		"state root":      w.bent(p, slot, []*Tx{good}, func(h *types.Header) { h.Root[0]++ }),
		"foreign chain":   w.next(p, slot, other.transfer(0, nonce, w.user(1), 1)),
		"no state change": w.bent(p, slot, []*Tx{good}, func(h *types.Header) { h.Root = p.header.Root }),
	}
}

// TestBadBlock: executed once, on the invalid list for ever, and nobody but the
// proposer is blamed.
func TestBadBlock(t *testing.T) {
	w := newWorld(2, 3)
	parent := w.next(w.genesis(), 1, w.transfer(0, 0, w.user(1), 5))
	for name, bad := range badBlocks(w, parent, 3) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := openChain(t, w, Config{}, dir)
			add(t, c, parent)
			if err := c.Check(bad.Block, time.Now()); err != nil {
				t.Fatalf("Check sees more than it can: %v", err)
			}
			child := w.next(bad, 4)
			if err := c.Check(child.Block, time.Now()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Add(fresh(t, bad.Block)); !errors.Is(err, ErrBadBlock) || errors.Is(err, ErrInvalid) {
				t.Fatalf("Add = %v, want ErrBadBlock", err)
			}
			for range 2 {
				grandchild := w.next(child, 5)
				for _, b := range []tip{bad, child, grandchild} {
					if err := c.Check(b.Block, time.Now()); !errors.Is(err, ErrInvalidAncestor) || errors.Is(err, ErrInvalid) {
						t.Fatalf("Check again = %v, want ErrInvalidAncestor", err)
					}
					if _, err := c.Add(b.Block); !errors.Is(err, ErrInvalidAncestor) {
						t.Fatalf("Add again = %v, want ErrInvalidAncestor", err)
					}
				}
				if list := c.Invalid(); len(list) < 2 || list[0].Header.ID() != bad.ID() || list[0].Reason == "" {
					t.Fatalf("Invalid() = %+v", list)
				}
				if c.HeadID() != parent.ID() || c.State().Root() != parent.state.Root() {
					t.Fatalf("head moved to %s", c.HeadID())
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				c = openChain(t, w, Config{}, dir)
			}
			add(t, c, w.next(parent, 6))
		})
	}
}

// TestBadBranch: a side branch is executed when it becomes the better one. If a
// block inside it is bad, the head stays and the branch is never tried again.
func TestBadBranch(t *testing.T) {
	w := newWorld(1, 3)
	dir := t.TempDir()
	c := openChain(t, w, Config{}, dir)
	main := w.run(w.genesis(), 3, 2, 1)
	add(t, c, main...)
	good := w.next(w.genesis(), 10, w.transfer(0, 0, w.user(1), 1))
	bad := w.bent(good, 11, nil, func(h *types.Header) { h.Root[0]++ })
	above := w.next(bad, 12)
	final := w.next(above, 13)
	add(t, c, good, bad, above)
	if _, err := c.Add(final.Block); !errors.Is(err, ErrInvalidAncestor) {
		t.Fatalf("Add = %v, want ErrInvalidAncestor", err)
	}
	for range 2 {
		if c.HeadID() != main[2].ID() || c.Has(bad.ID()) || c.Has(above.ID()) || c.Has(final.ID()) || !c.Has(good.ID()) {
			t.Fatal("the bad branch is not cut at the bad block")
		}
		if n := len(c.Invalid()); n != 3 {
			t.Fatalf("%d blocks on the invalid list, want 3", n)
		}
		if err := c.Check(w.next(final, 14).Block, time.Now()); !errors.Is(err, ErrInvalidAncestor) {
			t.Fatalf("Check above it = %v", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openChain(t, w, Config{}, dir)
	}
	// The good part of the branch may still win another way.
	win := w.run(good, 4, 1, 20)
	add(t, c, win...)
	sameAsLinear(t, w, Config{}, c, append([]tip{good}, win...))
}
