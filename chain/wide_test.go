package chain

import (
	"encoding/binary"
	"math"
	"os"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// wideBucket is the bucket of the addresses in testdata/bucket-5a5a.bin.
const wideBucket = 0x5a5a

// wide reads some 17,000 addresses of one bucket, ascending. Finding them took a
// billion hashes: in the file are the distances between them as numbers, in uvarints.
func wide(t testing.TB) (out []common.Address) {
	t.Helper()
	raw, err := os.ReadFile("testdata/bucket-5a5a.bin")
	if err != nil {
		t.Fatal(err)
	}
	for number := uint64(0); len(raw) > 0; {
		step, n := binary.Uvarint(raw)
		if n <= 0 {
			t.Fatal("testdata/bucket-5a5a.bin is cut short")
		}
		raw = raw[n:]
		number += step
		out = append(out, common.BigToAddress(uint256.NewInt(number).ToBig()))
	}
	return out
}

// wideAccount is the longest account there is, another one for each i.
func wideAccount(i int) Account {
	a := Account{Nonce: math.MaxUint64}
	a.Balance.SubUint64(new(uint256.Int).SetAllOne(), uint64(i))
	return a
}

// wideState has the accounts of all of them.
func wideState(t testing.TB) ([]common.Address, State) {
	t.Helper()
	addrs := wide(t)
	changes := make([]Change, len(addrs))
	for i, addr := range addrs {
		changes[i] = Change{addr, wideAccount(i)}
	}
	return addrs, State{}.With(changes)
}

// TestWideBucket: a bucket that somebody filled is proved, sent and read like any other.
func TestWideBucket(t *testing.T) {
	addrs, st := wideState(t)
	bucket := st.Bucket(wideBucket)
	if len(bucket) <= 1<<20 {
		t.Fatalf("the bucket has %d bytes, want more than a mebibyte", len(bucket))
	}
	if got, err := VerifyBucket(st.Root(), wideBucket, bucket, st.Prove(wideBucket)); err != nil || len(got) != len(addrs) {
		t.Errorf("VerifyBucket = %d accounts, %v", len(got), err)
	}
	for depth := range treeDepth + 1 {
		part := Subtree{depth, wideBucket &^ uint16(0xffff>>(4*depth))}
		if err := checkPart(part, st.Part(part, 4<<20), st.Digest(part)); err != nil {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}

// TestWideBucketLookup: in a wide bucket what is there is found, what is not is not,
// and neither takes a walk over more than a small part of it, after changes too.
func TestWideBucketLookup(t *testing.T) {
	addrs := wide(t)
	want := map[common.Address]Account{}
	set := func(st State, from, step int, account func(int) Account) State {
		var changes []Change
		for i := from; i < len(addrs); i += step {
			want[addrs[i]] = account(i)
			changes = append(changes, Change{addrs[i], want[addrs[i]]})
		}
		return st.With(changes)
	}
	check := func(st State) {
		t.Helper()
		n := st.bucket(wideBucket)
		if n.marks == nil {
			t.Fatal("no marks")
		}
		for i, at := range n.marks.at {
			end := uint32(len(n.entries()))
			if i+1 < len(n.marks.at) {
				end = n.marks.at[i+1]
			}
			if end-at > 2*wideBytes {
				t.Fatalf("%d bytes between two marks", end-at)
			}
		}
		for _, addr := range addrs {
			if got := st.Account(addr); got != want[addr] {
				t.Fatalf("account %s = %v, want %v", addr, got, want[addr])
			}
		}
	}
	st := set(State{}, 1, 2, wideAccount) // every other one, neither the first nor the last
	check(st)
	st = set(st, 0, 3, func(int) Account { return Account{Nonce: 1} })
	check(st)
	check(set(st, 0, 5, func(int) Account { return Account{} })) // deletes
	few := State{}.With([]Change{{addrs[1], wideAccount(1)}})
	if few.bucket(wideBucket).marks != nil || few.Account(addrs[1]) != wideAccount(1) || few.Account(addrs[0]) != (Account{}) {
		t.Error("a bucket of one account")
	}
}

// BenchmarkWideBucket reads accounts of a full bucket.
func BenchmarkWideBucket(b *testing.B) {
	addrs, st := wideState(b)
	for i := 0; b.Loop(); i++ {
		if st.Nonce(addrs[i*31%len(addrs)]) == 0 {
			b.Fatal("no account")
		}
	}
}
