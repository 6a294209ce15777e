package chain

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
	"pgregory.net/rapid"
)

// addresses gives a few addresses, some in one bucket with another.
func addresses(n int) []common.Address {
	out := make([]common.Address, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range out {
		for j := range out[i] {
			out[i][j] = byte(rng.Uint32())
		}
	}
	return out
}

// crowd finds n addresses that share one bucket.
func crowd(n int) []common.Address {
	byBucket := map[uint16][]common.Address{}
	for i := uint64(0); ; i++ {
		addr := common.BigToAddress(uint256.NewInt(i + 1).ToBig())
		b := BucketOf(addr)
		byBucket[b] = append(byBucket[b], addr)
		if len(byBucket[b]) == n {
			return byBucket[b]
		}
	}
}

// drawChanges draws accounts over a small set of addresses, so that they meet.
func drawChanges(t *rapid.T, addrs []common.Address) []Change {
	m := map[common.Address]Account{}
	for range rapid.IntRange(0, 40).Draw(t, "changes") {
		var a Account
		if rapid.IntRange(0, 3).Draw(t, "empty") > 0 {
			a.Nonce = rapid.Uint64().Draw(t, "nonce") >> rapid.IntRange(0, 63).Draw(t, "shift")
			a.Balance = uint256.Int{rapid.Uint64().Draw(t, "low"), 0, rapid.Uint64Range(0, 1).Draw(t, "mid"), 0}
		}
		m[rapid.SampledFrom(addrs).Draw(t, "addr")] = a
	}
	var out []Change
	for _, addr := range slices.SortedFunc(maps.Keys(m), common.Address.Cmp) {
		out = append(out, Change{addr, m[addr]})
	}
	return out
}

// TestStateLaws holds a State against a plain map: same accounts, a root that
// does not depend on order or history, and undo that restores it exactly.
func TestStateLaws(t *testing.T) {
	addrs := append(addresses(30), crowd(4)...)
	rapid.Check(t, func(t *rapid.T) {
		model := map[common.Address]Account{}
		var st State
		for range rapid.IntRange(1, 6).Draw(t, "blocks") {
			changes := drawChanges(t, addrs)
			var made []touched
			before := maps.Clone(model)
			for _, c := range changes {
				made = append(made, touched{c.Addr, st.Account(c.Addr), c.Account})
				model[c.Addr] = c.Account
				if c.Account == (Account{}) {
					delete(model, c.Addr)
				}
			}
			old := st
			st = st.With(changes)
			if got := maps.Collect(old.All()); !maps.Equal(got, before) {
				t.Fatalf("With changed the state it was called on: %v, want %v", got, before)
			}
			raw, err := decodeChanges(encodeChanges(made))
			if err != nil {
				t.Fatal(err)
			}
			if back := st.With(undo(raw)); back.Root() != old.Root() || !maps.Equal(maps.Collect(back.All()), before) {
				t.Fatalf("undo gives root %s, want %s", back.Root(), old.Root())
			}
			if again := old.with(raw); again.Root() != st.Root() {
				t.Fatalf("doing it again gives root %s, want %s", again.Root(), st.Root())
			}
		}
		if got := maps.Collect(st.All()); !maps.Equal(got, model) {
			t.Fatalf("All() = %v, want %v", got, model)
		}
		checkSameTree(t, st, rebuild(t, model))
	})
}

// rebuild makes the state of a map one account at a time, in a random order.
func rebuild(t *rapid.T, model map[common.Address]Account) State {
	keys := slices.SortedFunc(maps.Keys(model), common.Address.Cmp)
	var st State
	for _, addr := range rapid.Permutation(keys).Draw(t, "order") {
		st = st.With([]Change{{addr, model[addr]}})
	}
	return st
}

// checkSameTree compares two states by root, by diff, by every bucket and by a
// third state built from the buckets.
func checkSameTree(t *rapid.T, a, b State) {
	if a.Root() != b.Root() || len(diff(a, b)) != 0 {
		t.Fatalf("roots %s and %s, differing buckets %v", a.Root(), b.Root(), diff(a, b))
	}
	var buckets []indexed
	for i, bucket := range a.buckets() {
		if !bytes.Equal(bucket, b.Bucket(i)) {
			t.Fatalf("bucket %04x: %x and %x", i, bucket, b.Bucket(i))
		}
		if err := checkBucket(i, bucket); err != nil {
			t.Fatal(err)
		}
		buckets = append(buckets, indexed{i, append([]byte{kindBucket}, bucket...)})
	}
	if st := stateOf(buckets); st.Root() != a.Root() {
		t.Fatalf("stateOf(buckets) has root %s, want %s", st.Root(), a.Root())
	}
}

func TestStateDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addrs := addresses(12)
		a := State{}.With(drawChanges(t, addrs))
		b := a.With(drawChanges(t, addrs))
		var want []uint16
		for i := range Buckets {
			if !bytes.Equal(a.Bucket(uint16(i)), b.Bucket(uint16(i))) {
				want = append(want, uint16(i))
			}
		}
		if got := diff(a, b); !slices.Equal(got, want) {
			t.Fatalf("diff = %v, want %v", got, want)
		}
	})
}

func TestStateEmpty(t *testing.T) {
	var st State
	addr := addresses(1)[0]
	if st.Root() != (common.Hash{}) || st.Account(addr) != (Account{}) || st.Bucket(7) != nil {
		t.Fatalf("the zero State is not empty")
	}
	full := st.With([]Change{{addr, Account{Nonce: 1}}})
	if full.Root() == (common.Hash{}) || full.With([]Change{{addr, Account{}}}).root != nil {
		t.Fatalf("a removed account leaves something behind")
	}
}

// TestProofs proves every bucket, and one that is empty, against the root, and
// refuses each proof for anything else.
func TestProofs(t *testing.T) {
	var changes []Change
	for i, addr := range append(addresses(50), crowd(3)...) {
		changes = append(changes, Change{addr, Account{Nonce: uint64(i), Balance: *uint256.NewInt(uint64(i) + 1)}})
	}
	st := State{}.With(changes)
	empty := uint16(0)
	for st.Bucket(empty) != nil {
		empty++
	}
	indexes := []uint16{empty, 0xffff}
	for i := range st.buckets() {
		indexes = append(indexes, i)
	}
	for _, i := range indexes {
		p, err := DecodeProof(st.Prove(i).Encode())
		if err != nil {
			t.Fatal(err)
		}
		got, err := VerifyBucket(st.Root(), i, st.Bucket(i), p)
		if err != nil {
			t.Fatalf("bucket %04x: %v", i, err)
		}
		for _, c := range got {
			if st.Account(c.Addr) != c.Account {
				t.Fatalf("bucket %04x proves %v for %s", i, c.Account, c.Addr)
			}
		}
		for name, bad := range map[string]func() error{
			"other root":   func() error { _, err := VerifyBucket(common.Hash{1}, i, st.Bucket(i), p); return err },
			"other index":  func() error { _, err := VerifyBucket(st.Root(), i^0x1000, append(st.Bucket(i), 1), p); return err },
			"other bucket": func() error { _, err := VerifyBucket(st.Root(), i, append([]byte{1}, st.Bucket(i)...), p); return err },
			"short proof": func() error {
				_, err := VerifyBucket(st.Root(), i, st.Bucket(i), Proof{p.Levels[:len(p.Levels)-1]})
				return err
			},
			"long proof": func() error {
				_, err := VerifyBucket(st.Root(), i, st.Bucket(i), Proof{append(slices.Clone(p.Levels), p.Levels[0])})
				return err
			},
		} {
			if err := bad(); !errors.Is(err, ErrInvalidProof) {
				t.Fatalf("bucket %04x, %s: %v, want ErrInvalidProof", i, name, err)
			}
		}
	}
	if _, err := VerifyBucket(common.Hash{}, 5, nil, State{}.Prove(5)); err != nil {
		t.Fatalf("an empty bucket of the empty state: %v", err)
	}
}

// TestSubtrees walks down two states by their digests, as repair does, and finds
// exactly the buckets that differ.
func TestSubtrees(t *testing.T) {
	addrs := addresses(200)
	var changes []Change
	for i, addr := range addrs {
		changes = append(changes, Change{addr, Account{Nonce: uint64(i + 1)}})
	}
	a := State{}.With(changes)
	b := a.With([]Change{{addrs[3], Account{Nonce: 99}}, {addrs[7], Account{}}, {common.Address{9}, Account{Nonce: 4}}})
	var found []uint16
	var walk func(t Subtree)
	walk = func(s Subtree) {
		switch {
		case !s.Valid():
			t.Fatalf("%+v is not valid", s)
		case a.Digest(s) == b.Digest(s):
		case s.Depth == treeDepth:
			found = append(found, s.Index)
		default:
			kids, err := CheckChildren(b.Digest(s), b.Children(s))
			if err != nil {
				t.Fatal(err)
			}
			for i, digest := range kids {
				if digest != b.Digest(s.Child(i)) {
					t.Fatalf("child %d of %+v", i, s)
				}
				walk(s.Child(i))
			}
		}
	}
	walk(Subtree{})
	if want := diff(a, b); !slices.Equal(found, want) {
		t.Fatalf("found %v, want %v", found, want)
	}
	if (Subtree{1, 0x0100}).Valid() || (Subtree{5, 0}).Valid() || (Subtree{-1, 0}).Valid() {
		t.Fatal("Valid allows digits below the depth, or a wrong depth")
	}
}

func TestDecodeBucketRefuses(t *testing.T) {
	addrs := crowd(2)
	slices.SortFunc(addrs, common.Address.Cmp)
	index := BucketOf(addrs[0])
	entry := func(addr common.Address, tail ...byte) []byte { return append(addr.Bytes(), tail...) }
	good := append(entry(addrs[0], 1, 5, 1, 7), entry(addrs[1], 1, 5, 0)...)
	if got, err := DecodeBucket(index, good); err != nil || len(got) != 2 || got[0].Account.Nonce != 5 || got[0].Account.Balance.Uint64() != 7 {
		t.Fatalf("DecodeBucket = %v, %v", got, err)
	}
	for name, raw := range map[string][]byte{
		"cut short":       good[:len(good)-1],
		"no lengths":      addrs[0].Bytes(),
		"zero account":    entry(addrs[0], 0, 0),
		"leading zero":    entry(addrs[0], 2, 0, 5, 0),
		"zero balance":    entry(addrs[0], 1, 5, 1, 0),
		"nonce too long":  entry(addrs[0], 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0),
		"out of order":    append(entry(addrs[1], 1, 5, 0), entry(addrs[0], 1, 5, 0)...),
		"twice":           append(entry(addrs[0], 1, 5, 0), entry(addrs[0], 1, 5, 0)...),
		"foreign address": entry(common.Address{1, 2, 3}, 1, 5, 0),
	} {
		if _, err := DecodeBucket(index, raw); !errors.Is(err, ErrInvalidProof) {
			t.Errorf("%s: %v, want ErrInvalidProof", name, err)
		}
	}
}
