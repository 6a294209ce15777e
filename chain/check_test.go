package chain

import (
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// resign gives b's header another signature.
func resign(t *testing.T, b tip, sig []byte) *Block {
	t.Helper()
	sh, err := NewSignedHeader(b.header, [signatureBytes]byte(sig))
	if err != nil {
		t.Fatal(err)
	}
	return assemble(sh, b.txs)
}

// TestHeaderRules refuses every broken rule for ever, in Check and in Add, and
// remembers nothing of it: the good block of the same slot passes afterwards.
func TestHeaderRules(t *testing.T) {
	w := newWorld(3, 2)
	parent := w.next(w.genesis(), 4)
	word := uint64(1)
	hash := common.Hash{1}
	for name, bend := range map[string]func(*types.Header){
		"another proposer's slot": func(h *types.Header) { h.Nonce = types.EncodeNonce(9) },
		"another proposer's name": func(h *types.Header) { h.Coinbase = w.g.Proposers[0] },
		"slot of the parent":      func(h *types.Header) { h.Nonce, h.Time = types.EncodeNonce(4), w.g.slotMilli(4)/1000 },
		"slot below the parent":   func(h *types.Header) { h.Nonce, h.Time = types.EncodeNonce(2), w.g.slotMilli(2)/1000 },
		"slot 0":                  func(h *types.Header) { h.Nonce = types.EncodeNonce(0) },
		"slot beyond time":        func(h *types.Header) { h.Nonce = types.EncodeNonce(1 << 63) },
		"number skipped":          func(h *types.Header) { h.Number = big.NewInt(3) },
		"number of the parent":    func(h *types.Header) { h.Number = big.NewInt(1) },
		"number 0":                func(h *types.Header) { h.Number = big.NewInt(0) },
		"number 2^64":             func(h *types.Header) { h.Number = new(big.Int).Lsh(big.NewInt(1), 64) },
		"timestamp":               func(h *types.Header) { h.Time++ },
		"difficulty":              func(h *types.Header) { h.Difficulty = big.NewInt(1) },
		"uncles":                  func(h *types.Header) { h.UncleHash[0]++ },
		"bloom":                   func(h *types.Header) { h.Bloom[3] = 1 },
		"mixHash":                 func(h *types.Header) { h.MixDigest[0] = 1 },
		"extraData":               func(h *types.Header) { h.Extra = make([]byte, 33) },
		"gas limit":               func(h *types.Header) { h.GasLimit-- },
		"gas used":                func(h *types.Header) { h.GasUsed = h.GasLimit + 1 },
		"base fee":                func(h *types.Header) { h.BaseFee.Add(h.BaseFee, common.Big1) },
		"withdrawals":             func(h *types.Header) { h.WithdrawalsHash = &hash },
		"blob gas":                func(h *types.Header) { h.WithdrawalsHash, h.BlobGasUsed, h.ExcessBlobGas = &hash, &word, &word },
	} {
		t.Run(name, func(t *testing.T) {
			c := openChain(t, w, Config{}, "")
			add(t, c, parent)
			// The slot's own proposer signs, whatever the bent header says.
			h := newHeader(w.g, parent.header, 5, nil)
			h.TxHash, h.ReceiptHash, h.Root = types.EmptyTxsHash, types.EmptyReceiptsHash, parent.state.Root()
			bend(h)
			sh, err := SignHeader(h, w.proposers[h.Nonce.Uint64()%3])
			if err == nil {
				b := assemble(sh, nil)
				err = c.Check(b, time.Now())
				if _, addErr := c.Add(b); !errors.Is(addErr, ErrInvalidBlock) {
					t.Fatalf("Add = %v, want ErrInvalidBlock", addErr)
				}
			}
			if !errors.Is(err, ErrInvalidBlock) || !errors.Is(err, ErrInvalid) {
				t.Fatalf("Check = %v, want ErrInvalidBlock", err)
			}
			if err := c.Check(w.next(parent, 5).Block, time.Now()); err != nil {
				t.Fatalf("the good block of the slot: %v", err)
			}
		})
	}
}

func TestSignatureForm(t *testing.T) {
	w := newWorld(1, 0)
	c := openChain(t, w, Config{}, "")
	good := w.next(w.genesis(), 3)
	sig := good.Signature()
	bend := func(f func(sig []byte) []byte) *Block { return resign(t, good, f(append([]byte(nil), sig[:]...))) }
	for name, b := range map[string]*Block{
		"high s": bend(func(s []byte) []byte {
			high := new(big.Int).Sub(crypto.S256().Params().N, new(big.Int).SetBytes(s[32:64]))
			high.FillBytes(s[32:64])
			s[64] ^= 1
			return s
		}),
		"v 27":        bend(func(s []byte) []byte { s[64] += 27; return s }),
		"r 0":         bend(func(s []byte) []byte { clear(s[:32]); return s }),
		"other v":     bend(func(s []byte) []byte { s[64] ^= 1; return s }),
		"flipped bit": bend(func(s []byte) []byte { s[5] ^= 1; return s }),
	} {
		if err := c.Check(b, time.Now()); !errors.Is(err, ErrInvalidBlock) {
			t.Errorf("%s: %v, want ErrInvalidBlock", name, err)
		}
	}
	if err := c.Check(good.Block, time.Now()); err != nil {
		t.Fatal(err)
	}
	// The same header with another signature is the same block.
	other := bend(func(s []byte) []byte { s[0]++; return s })
	if err := c.Check(other, time.Now()); !errors.Is(err, ErrKnown) {
		t.Fatalf("same id, other signature: %v, want ErrKnown", err)
	}
	// But a bad signature must not get to the disk beside a header that was checked.
	if _, err := c.Add(other); !errors.Is(err, ErrInvalidBlock) {
		t.Fatalf("Add of a bad signature after Check of a good one: %v", err)
	}
	add(t, c, good)
	if sh := c.SignedHeaderByNumber(1); sh.Signature() != good.Signature() {
		t.Fatal("another signature is stored")
	}
}

func TestCheckOrder(t *testing.T) {
	w := newWorld(2, 1)
	c := openChain(t, w, Config{}, "")
	blocks := w.run(w.genesis(), 3, 2, 1)
	now := time.Now()
	if err := c.Check(blocks[1].Block, now); !errors.Is(err, ErrUnknownParent) || errors.Is(err, ErrInvalid) {
		t.Fatalf("unknown parent: %v", err)
	}
	// A child of a checked block passes before the parent is imported, but cannot be added.
	for _, b := range blocks[:2] {
		if err := c.Check(b.Block, now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Add(blocks[1].Block); !errors.Is(err, ErrUnknownParent) {
		t.Fatalf("Add before the parent: %v", err)
	}
	if err := c.Check(blocks[0].Block, now); !errors.Is(err, ErrKnown) {
		t.Fatalf("checked twice: %v", err)
	}
	c.Forget(blocks[1].ID())
	if err := c.Check(blocks[1].Block, now); err != nil {
		t.Fatalf("after Forget: %v", err)
	}
	add(t, c, blocks...)
	c.Forget(blocks[1].ID())
	if _, err := c.Add(blocks[1].Block); !errors.Is(err, ErrKnown) {
		t.Fatalf("added twice: %v", err)
	}
}

// TestBodyMismatch: a wrong body is the sender's fault and leaves the header good.
func TestBodyMismatch(t *testing.T) {
	w := newWorld(1, 2)
	c := openChain(t, w, Config{}, "")
	good := w.run(w.genesis(), 1, 2, 1)[0]
	bad := assemble(good.SignedHeader, good.txs[:1])
	for _, f := range []func() error{
		func() error { return c.Check(bad, time.Now()) },
		func() error { _, err := c.Add(bad); return err },
		func() error { _, err := NewBlock(good.SignedHeader, bad.txs); return err },
	} {
		if err := f(); !errors.Is(err, ErrBodyMismatch) || !errors.Is(err, ErrInvalid) || errors.Is(err, ErrBadBlock) {
			t.Fatalf("%v, want ErrBodyMismatch", err)
		}
	}
	if err := c.Check(fresh(t, good.Block), time.Now()); err != nil {
		t.Fatalf("the good body: %v", err)
	}
	// Nor may a bad body ride on a header that was checked.
	if _, err := c.Add(bad); !errors.Is(err, ErrBodyMismatch) {
		t.Fatalf("Add of a bad body after Check of the good one: %v", err)
	}
	add(t, c, good)
}

func TestEarly(t *testing.T) {
	for _, slotMS := range []uint64{100, 500, 2000} {
		w := newWorld(1, 0)
		w.g.SlotMS = slotMS
		b := w.next(w.genesis(), 7)
		start := w.g.SlotStart(7)
		slack := min(500*time.Millisecond, w.g.SlotDuration())
		for _, tc := range []struct {
			ahead      time.Duration
			pass, hold bool
		}{
			{-time.Hour, true, false}, {0, true, false}, {time.Millisecond, false, true},
			{slack, false, true}, {slack + 1, false, false}, {time.Hour, false, false},
		} {
			c := openChain(t, w, Config{}, "")
			err := c.Check(b.Block, start.Add(-tc.ahead))
			var early ErrEarly
			if tc.pass != (err == nil) || !tc.pass && (!errors.As(err, &early) || early.Hold != tc.hold || !early.When.Equal(start)) {
				t.Errorf("slot %d ms, %v ahead: %v", slotMS, tc.ahead, err)
			}
			if err := c.Check(b.Block, start); tc.pass != errors.Is(err, ErrKnown) {
				t.Errorf("slot %d ms, %v ahead, when due: %v", slotMS, tc.ahead, err)
			}
		}
	}
}

func TestAddRefusesTheFuture(t *testing.T) {
	w := newWorld(1, 0)
	c := openChain(t, w, Config{}, "")
	b := w.next(w.genesis(), w.g.SlotAt(time.Now())+3600)
	if _, err := c.Add(b.Block); !errors.As(err, new(ErrEarly)) {
		t.Fatalf("Add of a block an hour ahead: %v", err)
	}
}

// TestEquivocation keeps two blocks of a slot, relays the first, refuses the
// third, and lets a branch grow on the second.
func TestEquivocation(t *testing.T) {
	w := newWorld(2, 3)
	dir := t.TempDir()
	c := openChain(t, w, Config{}, dir)
	var same []tip
	for i := range 3 {
		same = append(same, w.next(w.genesis(), 5, w.transfer(i, 0, w.user(0), 1)))
	}
	for i, want := range []error{nil, ErrSecondBlock, ErrEquivocation} {
		if err := c.Check(same[i].Block, time.Now()); !errors.Is(err, want) || errors.Is(err, ErrInvalid) {
			t.Fatalf("block %d of the slot: %v, want %v", i, err, want)
		}
	}
	add(t, c, same[0], same[1])
	if _, err := c.Add(same[2].Block); !errors.Is(err, ErrEquivocation) {
		t.Fatalf("Add of the third: %v", err)
	}
	for range 2 {
		ev := c.Evidence()
		ids := map[common.Hash]bool{}
		if len(ev) == 1 {
			ids[ev[0].First.ID()], ids[ev[0].Second.ID()] = true, true
		}
		if len(ev) != 1 || ev[0].Slot != 5 || ev[0].Proposer != w.g.Proposer(5) || !ids[same[0].ID()] || !ids[same[1].ID()] {
			t.Fatalf("Evidence() = %+v", ev)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openChain(t, w, Config{}, dir)
	}
	child := w.next(same[1], 6)
	add(t, c, child)
	if c.HeadID() != child.ID() {
		t.Fatalf("head %s, want the child of the second block", c.HeadID())
	}
}

// TestEquivocationDoesNotPartUs: a part of the network may have built on a block
// that is the third of its slot here.
func TestEquivocationDoesNotPartUs(t *testing.T) {
	w := newWorld(2, 4)
	c := openChain(t, w, Config{}, "")
	var same []tip
	for i := range 4 {
		same = append(same, w.next(w.genesis(), 5, w.transfer(i, 0, w.user(0), 1)))
	}
	add(t, c, same[0], same[1])
	own := w.next(same[2], 7)     // the equivocating proposer itself builds on its third block
	another := w.next(same[3], 6) // the other proposer builds on its fourth
	for _, b := range []tip{own, another} {
		if err := c.Check(b.Block, time.Now()); !errors.Is(err, ErrUnknownParent) {
			t.Fatalf("Check of a child = %v", err)
		}
	}
	if err := c.Check(same[2].Block, time.Now()); !errors.Is(err, ErrEquivocation) {
		t.Fatalf("the third block, which only its maker built on: %v", err)
	}
	if err := c.Check(same[3].Block, time.Now()); !errors.Is(err, ErrSecondBlock) {
		t.Fatalf("the fourth block, which another built on: %v", err)
	}
	add(t, c, same[3], another)
	if c.HeadID() != another.ID() {
		t.Fatalf("head %s, want %s", c.HeadID(), another.ID())
	}
}

// TestInvalidListIsBounded condemns more blocks than it holds.
func TestInvalidListIsBounded(t *testing.T) {
	w := newWorld(1, 0)
	x := newIndex(100)
	x.head = &entry{SignedHeader: w.genesis().SignedHeader, status: stored}
	x.put(x.head)
	var left []*entry
	for slot := uint64(1); slot <= maxInvalid+10; slot++ {
		e := &entry{SignedHeader: w.next(w.genesis(), slot).SignedHeader}
		x.put(e)
		left = append(left, x.mark(e, "test")...)
	}
	if len(x.invalid) != maxInvalid || len(x.byID) != maxInvalid+1 || len(left) != 10 || left[0].Slot() != 1 {
		t.Fatalf("%d on the list, %d in the index, %d left it", len(x.invalid), len(x.byID), len(left))
	}
}

func TestUndoWindow(t *testing.T) {
	w := newWorld(1, 1)
	c := openChain(t, w, Config{UndoBlocks: 4}, "")
	main := w.run(w.genesis(), 10, 0, 2)
	add(t, c, main...)
	// Block 6 is the deepest that can be forked from: its child is number 7.
	for i, want := range []error{ErrTooOld, ErrTooOld, ErrTooOld, ErrTooOld, ErrTooOld, nil, nil} {
		b := w.next(main[i], main[i].Slot()+1)
		if err := c.Check(b.Block, time.Now()); !errors.Is(err, want) {
			t.Errorf("a block on number %d: %v, want %v", i+1, err, want)
		}
	}
	if n := len(c.index.byID); n > 7 {
		t.Errorf("index holds %d blocks, want 5 and 2 checked", n)
	}
}

// TestBounds floods Check from one proposer and looks at what is kept.
func TestBounds(t *testing.T) {
	w := newWorld(1, 0)
	c := openChain(t, w, Config{}, "")
	root := w.genesis()
	for slot := uint64(1); slot <= maxChecked+200; slot++ {
		if err := c.Check(w.next(root, slot).Block, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.index.byID); n != maxChecked+1 || len(c.index.bySlot) != n || len(c.index.checked) != maxChecked {
		t.Fatalf("index holds %d blocks, %d slots, %d checked", n, len(c.index.bySlot), len(c.index.checked))
	}
}

func TestBetter(t *testing.T) {
	sh := func(number int64, slot uint64, extra string) *SignedHeader {
		h := newHeader(newWorld(1, 0).g, &types.Header{Number: big.NewInt(number - 1)}, slot, []byte(extra))
		s, err := NewSignedHeader(h, [signatureBytes]byte{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	low, high := sh(5, 7, "a"), sh(5, 7, "b")
	if low.id.Cmp(high.id) > 0 {
		low, high = high, low
	}
	order := []*SignedHeader{sh(6, 20, ""), low, high, sh(5, 8, ""), sh(4, 1, "")}
	for i, a := range order {
		for j, b := range order {
			if got := better(a, b); got != (i < j) {
				t.Errorf("better(%d, %d) = %v", i, j, got)
			}
		}
	}
}

func ExampleErrEarly() {
	fmt.Println(ErrEarly{When: time.UnixMilli(1_700_000_000_500)})
	// Output: chain: block is early: its slot begins at 2023-11-14T22:13:20.5Z
}

// TestSkew: a clock that is ahead has slots begin earlier, and takes blocks that are early for others.
func TestSkew(t *testing.T) {
	c := openChain(t, newWorld(2, 0), Config{}, "")
	start := c.Genesis().SlotStart(7)
	for _, skew := range []time.Duration{0, 3 * time.Second, -time.Hour} {
		c.SetSkew(skew)
		if got := c.SlotStart(7); !got.Equal(start.Add(-skew)) {
			t.Errorf("skew %v: slot 7 begins at %v, want %v", skew, got, start.Add(-skew))
		}
		if got := c.SlotAt(start.Add(-skew)); got != 7 {
			t.Errorf("skew %v: SlotAt() = %d, want 7", skew, got)
		}
		if err := c.early(7, start.Add(-skew), 0); err != nil {
			t.Errorf("skew %v: a slot that has just begun: %v", skew, err)
		}
		if err := c.early(7, start.Add(-skew-1), 0); err == nil {
			t.Errorf("skew %v: a slot that has not begun passes", skew)
		}
	}
}

// TestCheckHeader: a header passes or fails as its block does, and leaves nothing behind.
func TestCheckHeader(t *testing.T) {
	w := newWorld(1, 2)
	c := openChain(t, w, Config{}, "")
	blocks := w.run(w.genesis(), 2, 1, 1)
	now := w.g.SlotStart(blocks[1].Slot())
	for range 2 {
		if err := c.CheckHeader(blocks[0].SignedHeader, now); err != nil {
			t.Fatalf("CheckHeader() = %v", err)
		}
	}
	if err := c.CheckHeader(blocks[1].SignedHeader, now); !errors.Is(err, ErrUnknownParent) {
		t.Errorf("CheckHeader() of a child = %v, want %v", err, ErrUnknownParent)
	}
	if err := c.CheckHeader(blocks[0].SignedHeader, w.g.SlotStart(0).Add(-time.Hour)); !errors.As(err, new(ErrEarly)) {
		t.Errorf("CheckHeader() long before its slot = %v", err)
	}
	if err := c.Check(blocks[0].Block, now); err != nil {
		t.Fatalf("Check() after CheckHeader() = %v", err)
	}
	if err := c.CheckHeader(blocks[0].SignedHeader, now); !errors.Is(err, ErrKnown) {
		t.Errorf("CheckHeader() of a checked block = %v, want %v", err, ErrKnown)
	}
	if err := c.CheckHeader(blocks[1].SignedHeader, now); err != nil {
		t.Errorf("CheckHeader() on a checked parent = %v", err)
	}
	forged, err := NewSignedHeader(blocks[1].Header(), blocks[0].Signature())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckHeader(forged, now); !errors.Is(err, ErrInvalid) {
		t.Errorf("CheckHeader() of a forged signature = %v", err)
	}
}
