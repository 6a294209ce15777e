package chain

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
)

// TestCheckHeaders: a branch of headers passes without a block of it at hand, and
// each way of making weight out of nothing is named.
func TestCheckHeaders(t *testing.T) {
	w := newWorld(3, 1)
	c := openChain(t, w, Config{}, "")
	tips := w.run(w.genesis(), 20, 0, 1)
	headers := func(tips ...tip) (out []*SignedHeader) {
		for _, p := range tips {
			sh, err := DecodeSignedHeader(p.SignedHeader.Encode())
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, sh)
		}
		return out
	}
	base := w.genesis().SignedHeader
	if err := c.CheckHeaders(base, headers(tips...), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := c.CheckHeaders(base, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	forged := headers(tips[0])[0]
	forged.sig[3] ^= 1
	slot := func(n uint64) tip { return w.next(w.genesis(), n) }
	far := w.g.SlotAt(time.Now()) + 1000
	for name, list := range map[string][]*SignedHeader{
		"a gap":                 headers(tips[0], tips[2]),
		"not after the base":    headers(tips[1]),
		"a forged signature":    {forged},
		"the same slot twice":   headers(tips[0], w.next(tips[0], tips[0].Slot())),
		"a number out of order": headers(w.bent(w.genesis(), 1, nil, func(h *types.Header) { h.Number.SetUint64(5) })),
		"another's slot":        headers(w.bent(w.genesis(), 1, nil, func(h *types.Header) { h.Coinbase = w.g.Proposer(2) })),
	} {
		if err := c.CheckHeaders(base, list, time.Now()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	var early ErrEarly
	if err := c.CheckHeaders(base, headers(slot(far)), time.Now()); !errors.As(err, &early) || errors.Is(err, ErrInvalid) {
		t.Errorf("a slot to come: %v", err)
	}
	bad := w.bent(w.genesis(), 1, nil, func(h *types.Header) { h.Root[0]++ })
	if _, err := c.Add(bad.Block); !errors.Is(err, ErrBadBlock) {
		t.Fatal(err)
	}
	if err := c.CheckHeaders(base, headers(bad), time.Now()); !errors.Is(err, ErrInvalidAncestor) || errors.Is(err, ErrInvalid) {
		t.Errorf("on a bad block: %v", err)
	}
	one, two := headers(tips[0])[0], headers(tips[0])[0]
	if err := one.checkSignature(); err != nil {
		t.Fatal(err)
	}
	if two.Vouch(one); two.signer.Load() == nil {
		t.Error("the same signed header is checked again")
	}
	if forged.Vouch(one); forged.signer.Load() != nil {
		t.Error("another signature is vouched for")
	}
	if !tips[1].Better(one) || one.Better(tips[1].SignedHeader) || c.HeadHeader().ID() != base.ID() || c.Low() != 0 {
		t.Error("order of headers, head or window")
	}
}

// TestBriefs: a header comes out of its brief byte for byte; one that breaks a rule
// does not, and is no header of its proposer then.
func TestBriefs(t *testing.T) {
	w := newWorld(3, 2)
	c := openChain(t, w, Config{}, "")
	base := w.genesis()
	tips := w.run(base, 12, 2, 3)
	tips = append(tips, w.bent(tips[11], tips[11].Slot()+1, nil, func(h *types.Header) { h.Extra = []byte("a label") }))
	var briefs []Brief
	for _, p := range tips {
		briefs = append(briefs, p.Brief())
	}
	if size := len(encodeRLP(briefs[5])); size > 190 {
		t.Errorf("a brief has %d bytes", size)
	}
	got, err := c.Headers(base.SignedHeader, briefs)
	if err != nil || len(got) != len(tips) {
		t.Fatalf("Headers = %d, %v", len(got), err)
	}
	for i, sh := range got {
		if !bytes.Equal(sh.Encode(), tips[i].SignedHeader.Encode()) {
			t.Fatalf("header %d is %x, want %x", i, sh.Encode(), tips[i].SignedHeader.Encode())
		}
	}
	if err := c.CheckHeaders(base.SignedHeader, got, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(*types.Header){
		"gas limit": func(h *types.Header) { h.GasLimit++ },
		"time":      func(h *types.Header) { h.Time++ },
		"mix":       func(h *types.Header) { h.MixDigest[0]++ },
		"number":    func(h *types.Header) { h.Number.SetUint64(9) },
	} {
		bad := w.bent(base, 3, nil, bend)
		got, err := c.Headers(base.SignedHeader, []Brief{bad.Brief()})
		if err != nil || got[0].id == bad.id {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.CheckHeaders(base.SignedHeader, got, time.Now()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string]Brief{
		"extra":    {Slot: 1, Extra: make([]byte, MaxExtraBytes+1)},
		"far slot": {Slot: w.g.maxSlot() + 1},
	} {
		if _, err := c.Headers(base.SignedHeader, []Brief{b}); !errors.Is(err, ErrInvalidBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
