package chain

import (
	"testing"
	"time"
)

func TestAddAndReopen(t *testing.T) {
	w := newWorld(2, 4)
	dir := t.TempDir()
	c := openChain(t, w, Config{}, dir)
	blocks := w.run(w.genesis(), 20, 10, 1)
	for _, b := range blocks {
		b := fresh(t, b.Block)
		if err := c.Check(b, time.Now()); err != nil {
			t.Fatal(err)
		}
		u, err := c.Add(b)
		if err != nil || !u.Moved || len(u.Applied) != 1 || u.Applied[0] != b || len(u.Reverted) != 0 {
			t.Fatalf("Add(%d) = %+v, %v", b.Number(), u, err)
		}
	}
	last := blocks[len(blocks)-1]
	for range 3 {
		if c.HeadID() != last.ID() || c.State().Root() != last.header.Root {
			t.Fatalf("head = %d %s", c.Weight(), c.HeadID())
		}
		for _, b := range blocks {
			got := c.BlockByNumber(b.Number())
			if got == nil || string(got.Raw()) != string(b.Raw()) || got.ID() != b.ID() {
				t.Fatalf("BlockByNumber(%d) = %v", b.Number(), got)
			}
			for i, tx := range b.Txs() {
				if in, at, ok := c.Lookup(tx.Hash()); !ok || at != i || in.ID() != b.ID() {
					t.Fatalf("Lookup = %v, %d, %v", in, at, ok)
				}
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openChain(t, w, Config{}, dir)
	}
}
