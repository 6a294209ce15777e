package chain

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestBuild(t *testing.T) {
	w := newWorld(2, 3)
	c := openChain(t, w, Config{Extra: "pheme"}, "")
	add(t, c, w.next(w.genesis(), 1, w.transfer(0, 0, w.user(1), 1)))
	ok0, ok1 := w.transfer(0, 1, w.user(1), 1), w.transfer(0, 2, w.user(1), 1)
	low := w.transfer(0, 0, w.user(1), 2)
	gap := w.transfer(1, 5, w.user(1), 1)
	big := w.transfer(2, 0, w.user(1), 1, make([]byte, 5000)...)
	poor := &world{g: w.g, signer: w.signer, users: append(slices.Clone(w.users), keyOf("poor"))}
	broke := poor.transfer(3, 0, w.user(1), 1)
	b, left, err := c.Build(2, w.proposers[0], []*Tx{ok0, low, gap, big, broke, ok1}, 2000)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Txs(), []*Tx{ok0, ok1}) || !slices.Equal(left, []*Tx{low, broke}) {
		t.Fatalf("Build took %d and left %d", len(b.Txs()), len(left))
	}
	if string(b.Header().Extra) != "pheme" || b.BodySize() > 2000 || c.Weight() != 1 {
		t.Fatalf("Build made %+v", b.Header())
	}
	got := fresh(t, b)
	if err := c.Check(got, time.Now()); err != nil {
		t.Fatal(err)
	}
	if u, err := c.Add(got); err != nil || !u.Moved {
		t.Fatalf("Add of a built block = %+v, %v", u, err)
	}
	if _, _, err := c.Build(3, w.proposers[0], nil, 0); !errors.Is(err, ErrNotProposer) {
		t.Fatalf("Build in another's slot: %v", err)
	}
	if _, _, err := c.Build(2, w.proposers[0], nil, 0); !errors.Is(err, ErrSlotUsed) {
		t.Fatalf("Build in the slot of the head: %v", err)
	}
}

// TestBuildFills fills blocks to exact limits of bytes and of gas.
func TestBuildFills(t *testing.T) {
	w := newWorld(1, 1)
	w.g.MaxBlockBytes, w.g.GasLimit = 1024, 5*21000
	c := openChain(t, w, Config{}, "")
	var txs []*Tx
	for i := range 20 {
		txs = append(txs, w.transfer(0, uint64(i), w.user(0), 1))
	}
	b, left, err := c.Build(1, w.proposers[0], txs, 0)
	if err != nil || len(left) != 0 || len(b.Txs()) != 5 {
		t.Fatalf("by gas: %d, %d left, %v", len(b.Txs()), len(left), err)
	}
	for limit := 100; limit < 600; limit += 7 {
		b, _, err := c.Build(1, w.proposers[0], txs, limit)
		if err != nil || b.BodySize() > limit || b.BodySize() < limit-txs[0].Size()-6 && len(b.Txs()) < 5 {
			t.Fatalf("limit %d: %d bytes, %v", limit, b.BodySize(), err)
		}
	}
}

func TestSlotGuard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slot")
	g, err := OpenSlotGuard(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		slot uint64
		ok   bool
	}{{5, true}, {5, false}, {4, false}, {9, true}, {0, false}} {
		if err := g.Claim(tc.slot); tc.ok != (err == nil) || !tc.ok && !errors.Is(err, ErrSlotUsed) {
			t.Fatalf("Claim(%d) = %v", tc.slot, err)
		}
	}
	g, err = OpenSlotGuard(path)
	if err != nil || g.Last() != 9 || g.Claim(9) == nil || g.Claim(10) != nil {
		t.Fatalf("after reopening: %+v, %v", g, err)
	}
	for at := range len(encodeSlot(10)) {
		raw := encodeSlot(10)
		raw[at] ^= 1
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSlotGuard(path); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("flipped byte %d: %v", at, err)
		}
	}
	memory, err := OpenSlotGuard("")
	if err != nil || memory.Claim(1) != nil || memory.Claim(1) == nil {
		t.Fatal("a guard without a file does not guard")
	}
}

// TestSlotGuardFailing: a slot whose file could not be written is not signed.
func TestSlotGuardFailing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	g, err := OpenSlotGuard(filepath.Join(dir, "slot"))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Claim(3); err == nil {
		t.Fatal("Claim succeeds without a folder to write to")
	}
	if err := g.Claim(3); !errors.Is(err, ErrSlotUsed) {
		t.Fatalf("Claim again = %v", err)
	}
}
