package chain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

// TestUnit: what is pushed is found, in memory and in the groups, and what is popped
// is not, whatever is pushed in its place.
func TestUnit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const first = 1000
	var blocks [][]uint64
	u := unit{first: first}
	old := u
	for range 300 {
		if rng.IntN(3) == 0 && len(blocks) > 0 {
			u, blocks = u.pop(), blocks[:len(blocks)-1]
			continue
		}
		var leads []uint64
		for range rng.IntN(6) {
			leads = append(leads, rng.Uint64N(50)<<40) // some of them again and again
		}
		u, blocks = u.push(leads, 10), append(blocks, leads)
	}
	want := map[uint64][]place{} // newest first
	n := 0
	for i, leads := range slices.Backward(blocks) {
		for index, l := range slices.Backward(leads) {
			want[l] = append(want[l], place{first + uint64(i), index})
			n++
		}
	}
	if len(u.leads) != n || u.bytes != 10*len(blocks) || u.next() != first+uint64(len(blocks)) || len(old.leads) != 0 {
		t.Fatalf("%d leads, %d bytes, next %d; want %d and %d blocks", len(u.leads), u.bytes, u.next(), n, len(blocks))
	}
	for l, places := range want {
		var hash common.Hash
		copy(hash[:], numberKey(0, l)[1:])
		if got := u.find(hash); !slices.Equal(got, places) {
			t.Fatalf("find(%x) = %v, want %v", l, got, places)
		}
	}
	got := map[uint64][]place{}
	for g, entries := range u.groups() {
		if len(entries) == 0 {
			continue
		}
		start, err := decodeGroup(groupKey(uint16(g), first), entries, func(l uint64, p place) { got[l] = append(got[l], p) })
		if err != nil || start != first {
			t.Fatal(start, err)
		}
	}
	for l, places := range got {
		slices.Reverse(places)
		if !slices.Equal(places, want[l]) {
			t.Fatalf("group has %x at %v, want %v", l, places, want[l])
		}
	}
	if len(got) != len(want) || n == 0 {
		t.Fatalf("%d leads in the groups, want %d", len(got), len(want))
	}
}

// TestUnitEnds: each of the three bounds ends a unit.
func TestUnitEnds(t *testing.T) {
	for name, u := range map[string]unit{
		"transactions": {leads: make([]uint64, unitTxs)},
		"bytes":        {bytes: unitBytes},
		"blocks":       {blocks: make([]unitBlock, unitBlocks)},
	} {
		if !u.full(unitTxs) {
			t.Errorf("%s: not full", name)
		}
	}
	if (unit{leads: make([]uint64, unitTxs-1), bytes: unitBytes - 1, blocks: make([]unitBlock, unitBlocks-1)}).full(unitTxs) {
		t.Error("full too early")
	}
}

// TestLookup finds every transaction, in units and in the open one, before and after
// closing, and none that is not there.
func TestLookup(t *testing.T) {
	w := newWorld(1, 3)
	cfg := Config{unitTxs: 20}
	dir := t.TempDir()
	blocks := w.run(w.genesis(), 23, 3, 1)
	c := openChain(t, w, cfg, dir)
	for i, b := range blocks {
		add(t, c, b)
		for n, b := range blocks {
			for at, tx := range b.txs {
				got, index, ok := c.Lookup(tx.hash)
				if ok != (n <= i) || ok && (got.id != b.id || index != at) {
					t.Fatalf("head %d: Lookup of transaction %d of block %d = %v %d %v", i+1, at, n+1, got, index, ok)
				}
			}
		}
		if i%5 != 2 {
			continue
		}
		open := c.unit.Load()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openChain(t, w, cfg, dir)
		if again := c.unit.Load(); again.first != open.first || again.bytes != open.bytes || !slices.Equal(again.leads, open.leads) || !slices.Equal(again.blocks, open.blocks) {
			t.Fatalf("open unit is %+v, was %+v", again, open)
		}
	}
	units, err := c.store.units()
	if want := (span{1, 7}); err != nil || len(units) != 3 || units[0] != want || c.unit.Load().first != 22 {
		t.Fatalf("units %v, open from %d: %v", units, c.unit.Load().first, err)
	}
	// A place of another transaction that begins the same decides nothing.
	tx := blocks[4].txs[1]
	for _, wrong := range []place{{5, 0}, {5, 99}, {6, 1}, {99, 0}} {
		b, index, err := c.first(tx.hash, []place{wrong, {5, 1}})
		if err != nil || b == nil || b.id != blocks[4].id || index != 1 {
			t.Errorf("after %v: %v %d, %v", wrong, b, index, err)
		}
	}
}

// TestAccountsOnDisk: the table of buckets is behind, never more than a turn, and with
// the change records it is the state of every head; after a reorg it is not behind.
func TestAccountsOnDisk(t *testing.T) {
	w := newWorld(1, 2)
	cfg := Config{UndoBlocks: 40}
	dir := t.TempDir()
	c := openChain(t, w, cfg, dir)
	tips := w.spread(w.genesis(), 50, "a")
	behind := 0
	for i, b := range tips {
		add(t, c, b)
		accounts(t, c)
		if redo := c.disk.redo(); redo+tableParts < b.Number()+1 || redo > b.Number() {
			t.Fatalf("block %d: changes from block %d on are not in the table", b.Number(), redo)
		}
		if c.disk.state.Root() != b.state.Root() {
			behind++
		}
		if i%7 == 3 {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			c = openChain(t, w, cfg, dir)
		}
	}
	if behind < 40 {
		t.Errorf("the table was behind at %d of 50 blocks: nothing is saved", behind)
	}
	reorgs := 0
	for n := range 8 { // each second one ends with the commit of a reorg
		keep := len(tips) - 1 - n*3
		fork := w.next(tips[keep-1], tips[len(tips)-1].Slot()+1)
		branch := w.spread(fork, n*3+1+n%2, fmt.Sprint("b", n))
		tips = append(append(tips[:keep:keep], fork), branch...)
		for _, b := range tips[keep:] {
			u, err := c.Add(b.Block)
			if err != nil {
				t.Fatal(err)
			}
			accounts(t, c)
			if len(u.Reverted) > 0 {
				reorgs++
				if c.disk.redo() <= c.Weight() {
					t.Fatalf("after a reorg to block %d: redo from %d", c.Weight(), c.disk.redo())
				}
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openChain(t, w, cfg, dir)
		accounts(t, c)
	}
	if reorgs < 8 {
		t.Errorf("%d reorgs, want at least 8", reorgs)
	}
}

// TestSmallWindowHasNoDebt: where blocks leave the undo window before the table has
// had its turn, every commit writes all of it; also the first one after the window
// was made smaller.
func TestSmallWindowHasNoDebt(t *testing.T) {
	w := newWorld(1, 2)
	dir := t.TempDir()
	tips := w.spread(w.genesis(), 60, "a")
	for i, window := range []uint64{40, 4, 16} {
		c := openChain(t, w, Config{UndoBlocks: window}, dir)
		for _, b := range tips[i*20 : i*20+20] {
			add(t, c, b)
			accounts(t, c)
			if debt := c.disk.redo() <= b.Number(); debt != (window != 4) {
				t.Fatalf("window %d, block %d: redo from %d", window, b.Number(), c.disk.redo())
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	accounts(t, openChain(t, w, Config{}, dir))
}
