package swim

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rlp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func drawMap(t *rapid.T, label string) Map {
	m := Map{}
	for _, k := range []string{"a", "b", "c"} {
		if rapid.Bool().Draw(t, label+k) {
			m = append(m, Entry{k, rapid.Uint64Range(1, 3).Draw(t, label+k+" version"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, label+k+" value")})
		}
	}
	return m
}

// TestMapLaws: merging is commutative, associative and idempotent.
func TestMapLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawMap(t, "a"), drawMap(t, "b"), drawMap(t, "c")
		if !slices.Equal(a.Merge(b), b.Merge(a)) {
			t.Fatalf("%v and %v do not commute", a, b)
		}
		if !slices.Equal(a.Merge(b).Merge(c), a.Merge(b.Merge(c))) {
			t.Fatalf("%v, %v, %v do not associate", a, b, c)
		}
		if !slices.Equal(a.Merge(a), a) {
			t.Fatalf("%v is not idempotent", a)
		}
	})
}

// signed makes a record of simulated member i.
func signed(i int, incarnation, version uint64, entries Map) *Record {
	id := simID(i)
	r := &Record{ID: id, Incarnation: incarnation, Version: version, Port: 4001, Addrs: [][]byte{{4, 10, 0, 0, byte(i), 6, 15, 161}}, Entries: entries}
	cfg := Config{Network: "test", Sign: func(b []byte) ([]byte, error) { return fakeSign(id, b), nil }}
	if err := r.sign(&cfg); err != nil {
		panic(err)
	}
	return r
}

// lone is one member outside any simulation.
func lone(t testing.TB, bend ...func(*Config)) *Node {
	t.Helper()
	id := simID(0)
	cfg := Config{ID: id, Network: "test", Sign: func(b []byte) ([]byte, error) { return fakeSign(id, b), nil }, Verify: fakeVerify}
	for _, f := range bend {
		f(&cfg)
	}
	n, err := New(cfg, 4001, [][]byte{{4, 10, 0, 0, 0, 6, 15, 161}}, rand.New(rand.NewPCG(1, 1)), simStart)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRecordsMergeInAnyOrder: whatever the order and the repetitions in which
// records arrive, the same are kept; incarnations never fall.
func TestRecordsMergeInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := uint64(simStart.UnixMilli())
		var all []*Record
		for i := range rapid.IntRange(1, 8).Draw(t, "records") {
			all = append(all, signed(1+rapid.IntRange(0, 2).Draw(t, "member"), base+rapid.Uint64Range(0, 2).Draw(t, "incarnation"),
				base+rapid.Uint64Range(0, 2).Draw(t, "version"), Map{{"k", 1, fmt.Sprint(i)}}))
		}
		order := rapid.Permutation(append(slices.Clone(all), all...)).Draw(t, "order")
		a, b := lone(nil2{}), lone(nil2{})
		for _, r := range all {
			merge(t, a, r)
		}
		for _, r := range order {
			before := b.members[r.ID.Tag()]
			incarnation := uint64(0)
			if before != nil {
				incarnation = before.record.Incarnation
			}
			merge(t, b, r)
			if b.members[r.ID.Tag()].record.Incarnation < incarnation {
				t.Fatal("an incarnation fell")
			}
		}
		if a.root() != b.root() || len(a.members) != len(b.members) {
			t.Fatal("two orders, two outcomes")
		}
		for tag, m := range a.members {
			if !bytes.Equal(m.record.raw, b.members[tag].record.raw) {
				t.Fatal("two orders, two records")
			}
		}
	})
}

// nil2 lets lone be used where no test can fail it.
type nil2 struct{ testing.TB }

func (nil2) Helper() {}

func merge(t *rapid.T, n *Node, r *Record) {
	if err := n.merge(simStart, r, true); err != nil {
		t.Fatal(err)
	}
}

// golden compares lines with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs: run go test ./p2p/swim -update and read the diff\n%s", path, got)
	}
}

// examples are messages of every kind.
func examples() map[string][]byte {
	r := signed(1, 1767225600001, 1767225600002, Map{{"head", 3, "17"}, {"zone", 4, "eu"}})
	acc := accusation{Dead: true, Subject: 1 << 60, Incarnation: 1767225600001, Accuser: 77}
	return map[string][]byte{
		"ping":     (&message{Kind: kindPing, Seq: 7}).encode(),
		"ping-req": (&message{Kind: kindPingReq, Seq: 8, Target: 9}).encode(),
		"gossip":   (&message{Kind: kindGossip, Accusations: []accusation{acc}, Records: []rlp.RawValue{r.raw}}).encode(),
		"share":    (&message{Kind: kindShare, Seq: 1, Shares: []share{{Epoch: 5, Mass: [numParts]uint64{1}, Max: Values{1, 2, 3}}}}).encode(),
		"record":   r.raw,
		"root":     (&syncFrame{Kind: syncRoot, Root: 1}).encode(),
		"buckets":  (&syncFrame{Kind: syncBuckets, Buckets: make([]uint32, numBuckets)}).encode(),
		"vector":   (&syncFrame{Kind: syncVector, Which: 3, Vector: []version{{1, 2, 3}}}).encode(),
		"delta":    (&syncFrame{Kind: syncDelta, Records: []rlp.RawValue{r.raw}, Want: []uint64{4}, Accusations: []accusation{acc}}).encode(),
	}
}

// TestFormats holds the encodings to the golden file, and each to its decoder.
func TestFormats(t *testing.T) {
	var out strings.Builder
	all := examples()
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range all {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&out, "%s %x\n", name, all[name])
	}
	golden(t, "formats.txt", out.String())
}

// TestDecodeRefuses: what breaks a bound is refused with ErrInvalid.
func TestDecodeRefuses(t *testing.T) {
	big := signed(1, 1, 1, Map{{"k", 1, strings.Repeat("x", MaxEntries-1)}})
	if _, err := DecodeRecord(big.raw); err != nil {
		t.Fatalf("a full map: %v", err)
	}
	bend := func(f func(r *Record)) []byte {
		r := *signed(1, 1, 1, Map{{"a", 1, "1"}, {"b", 1, "2"}})
		f(&r)
		return mustEncode(&r)
	}
	for name, raw := range map[string][]byte{
		"empty":         nil,
		"oversized map": bend(func(r *Record) { r.Entries = Map{{"k", 1, strings.Repeat("x", MaxEntries)}} }),
		"keys swapped":  bend(func(r *Record) { r.Entries = Map{{"b", 1, "2"}, {"a", 1, "1"}} }),
		"key twice":     bend(func(r *Record) { r.Entries = Map{{"a", 1, "2"}, {"a", 1, "1"}} }),
		"empty key":     bend(func(r *Record) { r.Entries = Map{{"", 1, "2"}} }),
		"no id":         bend(func(r *Record) { r.ID = "" }),
		"long id":       bend(func(r *Record) { r.ID = ID(strings.Repeat("x", maxID+1)) }),
		"no signature":  bend(func(r *Record) { r.Sig = nil }),
		"addresses":     bend(func(r *Record) { r.Addrs = make([][]byte, maxAddrs+1) }),
		"empty address": bend(func(r *Record) { r.Addrs = [][]byte{{}} }),
		"tail":          append(bend(func(*Record) {}), 0),
	} {
		if _, err := DecodeRecord(raw); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, m := range map[string]*message{
		"no kind":          {},
		"kind":             {Kind: kindEnd},
		"accusations":      {Kind: kindGossip, Accusations: make([]accusation, maxAccusations+1)},
		"target":           {Kind: kindPing, Target: 4},
		"no target":        {Kind: kindPingReq},
		"share on a ping":  {Kind: kindPing, Shares: make([]share, 1)},
		"share is missing": {Kind: kindShare},
		"infinite share":   {Kind: kindShare, Shares: []share{{Mass: [numParts]uint64{0x7ff << 52}}}},
	} {
		if _, err := DecodeMessage(m.encode()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeMessage(make([]byte, MaxPacket+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("long packet: %v", err)
	}
	if _, err := DecodeSync((&syncFrame{Kind: syncBuckets}).encode()); !errors.Is(err, ErrInvalid) {
		t.Errorf("no buckets: %v", err)
	}
	if _, err := DecodeSync(make([]byte, MaxFrame+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("long frame: %v", err)
	}
}

func seeds(f *testing.F) {
	for _, b := range examples() {
		f.Add(b)
	}
}

// FuzzDecodeMessage: decoding is total, canonical, and what decodes can be taken.
func FuzzDecodeMessage(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			return
		}
		if got := m.encode(); !bytes.Equal(got, b) {
			t.Fatalf("%x decodes and encodes to %x", b, got)
		}
		n := lone(t)
		_ = n.merge(simStart, signed(1, uint64(simStart.UnixMilli()), 1, nil), true) // honest
		_ = n.Receive(simStart.Add(time.Second), simID(1), b)                        // any error
		n.Step(simStart.Add(20 * time.Second))
	})
}

// FuzzDecodeRecord: decoding is total and canonical.
func FuzzDecodeRecord(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			return
		}
		if got := mustEncode(r); !bytes.Equal(got, b) {
			t.Fatalf("%x decodes and encodes to %x", b, got)
		}
		if r.Entries.size() > MaxEntries {
			t.Fatal("an oversized map passed")
		}
	})
}

// FuzzDecodeSync: decoding is total and canonical, and an answer is a frame.
func FuzzDecodeSync(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := DecodeSync(b)
		if err != nil {
			return
		}
		if got := x.encode(); !bytes.Equal(got, b) {
			t.Fatalf("%x decodes and encodes to %x", b, got)
		}
		answer, _, err := lone(t).Sync(simStart, b)
		if err == nil && answer != nil {
			if _, err := DecodeSync(answer); err != nil {
				t.Fatalf("answers with what is no frame: %v", err)
			}
		}
	})
}

// TestForgottenAreTold: whoever keeps something for each member hears of each one that is known no more.
func TestForgottenAreTold(t *testing.T) {
	n := lone(t, func(c *Config) { c.MaxMembers = 4 })
	kept := map[ID]bool{}
	look := func() {
		for _, c := range n.Changes() {
			switch {
			case c.New:
				kept[c.ID] = true
			case c.Forgotten:
				delete(kept, c.ID)
			}
		}
	}
	for i := 1; i <= 40; i++ { // each takes the place of one that left
		r := signed(i, uint64(simStart.UnixMilli()), 1, nil)
		if err := n.merge(simStart, r, false); err != nil {
			t.Fatal(err)
		}
		n.bury(simStart, n.members[r.ID.Tag()], Left)
		look()
	}
	if len(kept) != 4 || len(n.members) != 4 {
		t.Errorf("%d kept of %d members", len(kept), len(n.members))
	}
	n.revive(simStart.Add(2 * n.cfg.DeadKeep))
	if look(); len(kept) != 0 || len(n.members) != 0 {
		t.Errorf("%d kept of %d members, long after they left", len(kept), len(n.members))
	}
}
