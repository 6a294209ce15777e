package chain

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// TestShared: chains that share their blocks hold the same Block and store no
// body, and behave like any other.
func TestShared(t *testing.T) {
	w := newWorld(1, 3)
	cfg := Config{UndoBlocks: 20, unitTxs: 8, Shared: NewShared()}
	stores := []storage.Storage{storage.NewMemStorage(), storage.NewMemStorage()}
	open := func(i int) *Chain {
		c, err := Open(cfg, w.g, "", stores[i])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	chains := []*Chain{open(0), open(1)}
	lose, win := w.run(w.genesis(), 5, 3, 2), w.run(w.genesis(), 6, 3, 7)
	for _, b := range append(lose, win...) {
		var first *Block
		for _, c := range chains {
			got, err := c.DecodeBlock(bytes.Clone(b.Raw()), nil)
			if err != nil {
				t.Fatal(err)
			}
			if first != nil && got != first {
				t.Fatal("the second chain decodes a block of its own")
			}
			if err := c.Check(got, time.Now()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Add(got); err != nil {
				t.Fatal(err)
			}
			first = got
		}
	}
	for i, c := range chains {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = open(i)
		chains[i] = c
		if _, err := c.Verify(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(dump(t, c, tableBody)) != 0 {
			t.Fatal("bodies are stored")
		}
		for _, b := range append(lose, win...) {
			if !bytes.Equal(c.RawBlock(b.id), b.Raw()) {
				t.Fatalf("RawBlock(%d)", b.Number())
			}
		}
	}
	if chains[0].BlockByNumber(3) != chains[1].BlockByNumber(3) {
		t.Fatal("the chains hold two copies")
	}
	// Bytes that differ anywhere are another block's, or no block's.
	raw := bytes.Clone(win[0].Raw())
	raw[len(raw)-1] ^= 1
	if got, err := chains[0].DecodeBlock(raw, nil); err != nil || got == chains[0].BlockByNumber(1) {
		t.Fatalf("a block with another signature: %v, %v", got, err)
	}
	cfg.Shared.Drop(3)
	if chains[0].BlockByNumber(2) != nil || chains[0].BlockByNumber(3) == nil || chains[0].Damage() != nil {
		t.Fatalf("after Drop: %v, %v", chains[0].BlockByNumber(2), chains[0].Damage())
	}
}

// TestSharedExecution: chains of one process run a block once, hold one tree of states between them, and condemn the same blocks.
func TestSharedExecution(t *testing.T) {
	w := newWorld(1, 3)
	cfg := Config{Shared: NewShared()}
	var chains []*Chain
	for range 2 {
		c, err := Open(cfg, w.g, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		chains = append(chains, c)
	}
	for _, b := range w.run(w.genesis(), 5, 3, 2) {
		for _, c := range chains {
			if _, err := c.Add(b.Block); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := chains[0].State(), chains[1].State(); a.root != b.root {
			t.Fatal("equal states are two trees")
		}
	}
	if n := len(cfg.Shared.executed); n != 5 {
		t.Errorf("%d blocks were run, want 5", n)
	}
	cfg.Shared.Drop(4)
	if n := len(cfg.Shared.executed); n != 2 {
		t.Errorf("%d runs are remembered after Drop(4), want those of blocks 4 and 5", n)
	}
	if n := len(cfg.Shared.runs); n != 2 {
		t.Errorf("%d runs are in order after Drop(4), want 2", n)
	}
	if id := chains[0].GenesisID(); id != w.g.Hash() || chains[0].Network() != w.g.Network() {
		t.Errorf("genesis is %s, want %s", id, w.g.Hash())
	}
}

// TestSharedOutcomesAreBounded: of a long run only the newest outcomes stay, all blocks
// do, and a chain that comes late executes again what is forgotten, to the same states.
func TestSharedOutcomesAreBounded(t *testing.T) {
	w := newWorld(1, 3)
	cfg := Config{Shared: NewShared()}
	blocks := w.run(w.genesis(), keptOutcomes+20, 2, 2)
	add(t, openChain(t, w, cfg, ""), blocks...)
	check := func(first tip) {
		t.Helper()
		_, known := cfg.Shared.executed[execution{w.g.Header().Root, first.id}]
		if n := len(cfg.Shared.executed); n != keptOutcomes || len(cfg.Shared.runs) != n || known {
			t.Fatalf("%d outcomes, %d in order, the first among them: %v; want the newest %d", n, len(cfg.Shared.runs), known, keptOutcomes)
		}
	}
	check(blocks[0])
	late := openChain(t, w, cfg, "")
	for _, b := range blocks {
		add(t, late, b)
		if late.State().Root() != b.header.Root {
			t.Fatalf("state after block %d is %s, want %s", b.Number(), late.State().Root(), b.header.Root)
		}
		if cfg.Shared.find(b.id) == nil {
			t.Fatalf("block %d is forgotten", b.Number())
		}
	}
	check(blocks[0])
}
