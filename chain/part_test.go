package chain

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// checkPart is CheckPart for its error alone.
func checkPart(t Subtree, raw []byte, digest common.Hash) error {
	_, err := CheckPart(Part{t, raw}, digest)
	return err
}

// TestPartsAreChecked: each way of bending a part is refused.
func TestPartsAreChecked(t *testing.T) {
	w := newWorld(1, 2)
	st := w.spread(w.genesis(), 64, "a")[63].state
	whole := Subtree{}
	good := st.Part(whole, 1<<20)
	if err := checkPart(whole, good, st.Root()); err != nil {
		t.Fatal(err)
	}
	if st.Part(whole, 100) != nil {
		t.Error("a part longer than the limit")
	}
	if err := checkPart(whole, nil, common.Hash{}); err != nil {
		t.Errorf("an empty part: %v", err)
	}
	_, rest, _ := nextPartEntry(nil, good)
	size := len(good) - len(rest)
	var sender []byte // an account with a nonce, and what follows
	for sender = good; sender[common.AddressLength]&hasNonce == 0; _, sender, _ = nextPartEntry(nil, sender) {
	}
	nonce := len(good) - len(sender) + common.AddressLength + 1
	for name, raw := range map[string][]byte{
		"cut short":              good[:len(good)-1],
		"an address alone":       good[:common.AddressLength],
		"one left out":           rest,
		"twice":                  append(bytes.Clone(good[:size]), good...),
		"two exchanged":          append(bytes.Clone(rest), good[:size]...),
		"another amount":         flip(good, size-1),
		"another address":        flip(good, 1),
		"another length":         flip(good, common.AddressLength),
		"a nonce of no length":   append(append(bytes.Clone(good[:nonce]), 0), good[nonce+2:]...),
		"a nonce of nine bytes":  append(append(bytes.Clone(good[:nonce]), 9, 1, 2, 3, 4, 5, 6, 7, 8, 9), good[nonce+2:]...),
		"a nonce begins with 0":  append(append(bytes.Clone(good[:nonce]), 2, 0), good[nonce+1:]...),
		"a balance of 128 bytes": append(append(bytes.Clone(good[:common.AddressLength]), 128), make([]byte, 128)...),
		"an account of nothing":  append(append(bytes.Clone(good[:common.AddressLength]), 0), good[size:]...),
		"empty":                  nil,
	} {
		if err := checkPart(whole, raw, st.Root()); !errors.Is(err, ErrInvalidProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	one := Subtree{1, BucketOf(common.Address(good[:common.AddressLength])) & 0xf000}
	if err := checkPart(Subtree{1, one.Index ^ 0x1000}, st.Part(one, 1<<20), st.Digest(one)); !errors.Is(err, ErrInvalidProof) {
		t.Errorf("in another's place: %v", err)
	}
	if err := checkPart(Subtree{1, 5}, nil, common.Hash{}); !errors.Is(err, ErrInvalidProof) {
		t.Errorf("no subtree: %v", err)
	}
}

// TestPartsOfAnyState: accounts of any nonce and balance come out of their parts, and
// one that only received costs its address, its balance and a byte.
func TestPartsOfAnyState(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var changes []Change
	size := 0
	for i := range 5000 {
		var c Change
		for at := range c.Addr {
			c.Addr[at] = byte(rng.Uint32())
		}
		c.Account.Balance = *new(uint256.Int).Rsh(&uint256.Int{rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64() | 1<<63}, rng.UintN(256))
		size += common.AddressLength + 1 + c.Account.Balance.ByteLen()
		if i%3 == 0 {
			c.Account.Nonce = (rng.Uint64() | 1<<63) >> rng.UintN(64)
			size += 1 + uint256.NewInt(c.Account.Nonce).ByteLen()
		}
		changes = append(changes, c)
	}
	st := State{}.With(changes)
	got := 0
	for depth := range treeDepth + 1 {
		part := Subtree{depth, BucketOf(changes[0].Addr) &^ uint16(0xffff>>(4*depth))}
		raw := st.Part(part, 1<<20)
		checked, err := CheckPart(Part{part, raw}, st.Digest(part))
		if err != nil {
			t.Fatal(err)
		}
		if root := (State{st.root.graft(0, part, checked.node)}).Root(); root != st.Root() {
			t.Errorf("with the subtree at depth %d the root is %s, want %s", depth, root, st.Root())
		}
		if depth == 0 {
			got = len(raw)
		}
	}
	if got != size {
		t.Errorf("the state has %d bytes, want %d", got, size)
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func FuzzDecodePart(f *testing.F) {
	w := newWorld(1, 2)
	st := w.spread(w.genesis(), 3, "a")[2].state
	f.Add(uint8(0), uint16(0), st.Part(Subtree{}, 1<<20))
	f.Fuzz(func(t *testing.T, depth uint8, index uint16, raw []byte) {
		p := Part{Subtree{int(depth), index}, raw}
		if _, err := CheckPart(p, common.Hash{1}); !errors.Is(err, ErrInvalidProof) {
			t.Fatalf("CheckPart = %v", err)
		}
		buckets, err := decodePart(p)
		if err != nil {
			return
		}
		n := buildNode(p.Depth, buckets)
		for _, b := range buckets {
			if err := checkBucket(b.index, b.data[1:]); err != nil {
				t.Fatal(err)
			}
		}
		back := State{(*node)(nil).graft(0, p.Subtree, n)}.Part(p.Subtree, 1<<30)
		if !bytes.Equal(back, raw) {
			t.Fatalf("%x becomes %x", raw, back)
		}
	})
}
