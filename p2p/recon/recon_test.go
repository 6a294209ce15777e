package recon

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func item(rng *rand.Rand) (out [32]byte) {
	for i := 0; i < 32; i += 8 {
		v := rng.Uint64()
		for j := range 8 {
			out[i+j] = byte(v >> (8 * j))
		}
	}
	return out
}

// sets makes two sets that share some items, and what each has alone, sorted.
func sets(seed uint64, shared, theirs, ours int) (a, b *Set, onlyA, onlyB []ID) {
	rng := rand.New(rand.NewPCG(seed, 1))
	key := Key(slices.Concat(make([]byte, 8), []byte{byte(seed), byte(seed >> 8), 0, 0, 0, 0, 0, 1}))
	a, b = NewSet(key, shared+theirs), NewSet(key, shared+ours)
	for range shared {
		x := item(rng)
		a.Add(&x)
		b.Add(&x)
	}
	for range theirs {
		x := item(rng)
		onlyA = append(onlyA, a.Add(&x))
	}
	for range ours {
		x := item(rng)
		onlyB = append(onlyB, b.Add(&x))
	}
	slices.Sort(onlyA)
	slices.Sort(onlyB)
	return a, b, onlyA, onlyB
}

// decode sends a's symbols to b, step at a time, until the difference is found.
func decode(t interface{ Fatalf(string, ...any) }, a, b *Set, step, limit int) *Decoder {
	d := NewDecoder(b)
	for !d.Done() {
		if d.Len() > limit {
			t.Fatalf("no end after %d symbols", d.Len())
		}
		n := d.Len()
		if err := d.Add(a.Symbols(n + step)[n:]); err != nil {
			t.Fatalf("Add: %v", err)
		}
	}
	return d
}

func TestDifferenceIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shared, theirs, ours := rapid.IntRange(0, 300).Draw(t, "shared"), rapid.IntRange(0, 40).Draw(t, "theirs"), rapid.IntRange(0, 40).Draw(t, "ours")
		a, b, onlyA, onlyB := sets(rapid.Uint64().Draw(t, "seed"), shared, theirs, ours)
		d := decode(t, a, b, rapid.IntRange(1, 64).Draw(t, "step"), 64+8*(theirs+ours))
		gotA, gotB := d.Difference()
		slices.Sort(gotA)
		slices.Sort(gotB)
		if !slices.Equal(gotA, onlyA) || !slices.Equal(gotB, onlyB) {
			t.Fatalf("difference %d and %d, want %d and %d", len(gotA), len(gotB), theirs, ours)
		}
	})
}

// TestSymbolsPerDifference holds the mean over 40 sessions to the bound of the design.
func TestSymbolsPerDifference(t *testing.T) {
	for _, d := range []int{10, 30, 100, 1000} {
		total := 0
		for seed := range uint64(40) {
			a, b, _, _ := sets(seed, 1000, d/2, d-d/2)
			total += decode(t, a, b, 1, 10*d).Len()
		}
		per := float64(total) / 40 / float64(d)
		t.Logf("d=%d: %.2f symbols per difference", d, per)
		if per > 1.75 {
			t.Errorf("d=%d: %.2f symbols per difference, want at most 1.75", d, per)
		}
	}
}

// TestSymbolsGrow: asking in parts gives the same symbols as asking at once.
func TestSymbolsGrow(t *testing.T) {
	a, _, _, _ := sets(1, 100, 0, 0)
	b, _, _, _ := sets(1, 100, 0, 0)
	for n := 1; n <= 300; n += 7 {
		a.Symbols(n)
	}
	if !slices.Equal(a.Symbols(300), b.Symbols(300)) {
		t.Error("symbols depend on how they are asked for")
	}
}

// TestPlacesAscend: the places of an item ascend, whatever the generator holds.
func TestPlacesAscend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := coded{state: rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, ^uint64(0), 0x9d5a5d2c5b6f5d05})).Draw(t, "state")}
		for range 100 {
			last := c.next
			if c.step(); c.next <= last && last != never {
				t.Fatalf("from %d to %d", last, c.next)
			}
		}
	})
}

func TestEstimate(t *testing.T) {
	for _, d := range []int{0, 1, 100, 1000} {
		sum := 0
		for seed := range uint64(20) {
			a, b, _, _ := sets(seed, 3000, d-d/3, d/3)
			sum += Estimate(a.Profile(), b.Profile())
		}
		if got := float64(sum) / 20; got < 0.8*float64(d) || got > 1.2*float64(d) {
			t.Errorf("estimates of %d: mean %.0f", d, got)
		}
	}
	a, _, _, _ := sets(3, 777, 0, 0)
	var want Profile
	want.Items = 777
	for _, c := range a.items {
		for b := range want.Bits {
			want.Bits[b] += int(c.id >> b & 1)
		}
	}
	if got := a.Profile(); got != want {
		t.Errorf("Profile() = %v, want %v", got, want)
	}
}

// naive is the peeling of the public Go implementation: it looks at nothing but
// count and check. It returns how many items it took out, up to a limit.
func naive(h hasher, symbols []Symbol, limit int) (items int) {
	s := slices.Clone(symbols)
	pure := func(i int) bool {
		c := s[i].Count
		return (c == 1 || c == -1) && h.code(ID(s[i].Sum)).check == s[i].Check
	}
	var queue []int
	for i := range s {
		if pure(i) {
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 && items < limit {
		i := queue[0]
		queue = queue[1:]
		if !pure(i) {
			continue
		}
		items++
		c, sign := h.code(ID(s[i].Sum)), s[i].Count
		for ; c.next < uint32(len(s)); c.step() {
			s[c.next].add(&c, -sign)
			if pure(int(c.next)) {
				queue = append(queue, int(c.next))
			}
		}
	}
	return items
}

// TestSevenSymbols: seven symbols on which the naive peeling never ends are an
// error here, after at most seven items.
func TestSevenSymbols(t *testing.T) {
	traps, refused := 0, 0
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 7))
		ours := NewSet(Key{1}, 0)
		symbols := make([]Symbol, 7)
		for i := range symbols { // each claims to hold one item that may not belong to it
			c := ours.hash.code(ID(rng.Uint64()))
			symbols[i].add(&c, 1)
		}
		if naive(ours.hash, symbols, 20_000) < 20_000 {
			continue
		}
		traps++
		d := NewDecoder(ours)
		switch err := d.Add(symbols); {
		case err == nil: // it found nothing to peel before it saw the lie, and has not found a difference either
		case !errors.Is(err, ErrSketch):
			t.Fatalf("seed %d: Add = %v, want ErrSketch", seed, err)
		case !errors.Is(d.Add(symbols), ErrSketch):
			t.Fatalf("seed %d: a failed decoder goes on", seed)
		default:
			refused++
		}
		if d.Done() || len(d.found) > 7 {
			t.Fatalf("seed %d: done %v, %d items", seed, d.Done(), len(d.found))
		}
	}
	t.Logf("%d of 100 sets of seven symbols trap the naive peeling; %d of them are refused here", traps, refused)
	if traps == 0 || refused == 0 {
		t.Error("no trap was found, or none refused: the test shows nothing")
	}
}

// TestHostileSymbols names each lie.
func TestHostileSymbols(t *testing.T) {
	a, b, onlyA, onlyB := sets(5, 50, 1, 1)
	h := b.hash
	pure := func(id ID, count int64) Symbol {
		c := h.code(id)
		return Symbol{Sum: uint64(id), Check: c.check, Count: count}
	}
	// against is what to send so that the difference at symbol i is s.
	against := func(i int, s Symbol) Symbol {
		o := b.Symbols(i + 1)[i]
		return Symbol{s.Sum ^ o.Sum, s.Check ^ o.Check, s.Count + o.Count}
	}
	for name, symbols := range map[string][]Symbol{
		"ours as theirs":   {against(0, pure(onlyB[0], 1))},
		"theirs as ours":   {against(0, pure(onlyA[0], -1))},
		"an item twice":    {against(0, pure(onlyA[0], 1)), against(1, pure(onlyA[0], 1)), against(2, pure(onlyA[0], 1)), against(3, pure(onlyA[0], 1)), against(4, pure(onlyA[0], 1))},
		"not its place":    {a.Symbols(1)[0], against(1, pure(foreign(h, 1), 1))},
		"one item, nought": {against(0, pure(onlyA[0], 1)), against(1, Symbol{}), against(2, Symbol{}), against(3, Symbol{}), against(4, Symbol{Sum: 1, Count: 1})},
	} {
		d := NewDecoder(b)
		err := d.Add(symbols)
		if name == "one item, nought" { // leaves rubbish: it must not end as done with a wrong item
			theirs, _ := d.Difference()
			if err == nil && d.Done() && !slices.Equal(theirs, onlyA) {
				t.Errorf("%s: done with %v", name, theirs)
			}
			continue
		}
		if !errors.Is(err, ErrSketch) {
			t.Errorf("%s: Add = %v, want ErrSketch", name, err)
		}
	}
}

// foreign is an ID whose places leave symbol i out.
func foreign(h hasher, i uint32) ID {
	for id := ID(1); ; id++ {
		c := h.code(id)
		for c.next < i {
			c.step()
		}
		if c.next != i {
			return id
		}
	}
}

func TestGolden(t *testing.T) {
	a, _, _, _ := sets(9, 20, 3, 0)
	var got bytes.Buffer
	fmt.Fprintf(&got, "symbols %s\n", hex.EncodeToString(AppendSymbols(nil, a.Symbols(8), 0, a.Len())))
	fmt.Fprintf(&got, "profile %s\n", hex.EncodeToString(AppendProfile(nil, a.Profile())))
	path := filepath.Join("testdata", "wire.golden")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the encoding changed:\n%s", got.String())
	}
}

func TestModes(t *testing.T) {
	for _, m := range []Mode{Push, Pull, PushPull} {
		back, err := ParseMode(m.String())
		if err != nil || back != m || !m.Valid() || !(m.Pushes() || m.Pulls()) {
			t.Errorf("%v: %v, %v", m, back, err)
		}
	}
	if _, err := ParseMode("shove"); err == nil {
		t.Error("shove is a mode")
	}
	if Push.Pulls() || Pull.Pushes() || Mode(9).Valid() {
		t.Error("modes move the wrong way")
	}
}

func FuzzDecodeSymbols(f *testing.F) {
	a, _, _, _ := sets(1, 30, 2, 2)
	f.Add(AppendSymbols(nil, a.Symbols(7), 0, a.Len()), 0, a.Len())
	f.Fuzz(func(t *testing.T, raw []byte, first, n int) {
		s, err := DecodeSymbols(raw, first, n)
		if err != nil {
			return
		}
		if again := AppendSymbols(nil, s, first, n); !bytes.Equal(again, raw) {
			t.Fatalf("%x becomes %x", raw, again)
		}
	})
}

func FuzzDecodeProfile(f *testing.F) {
	a, _, _, _ := sets(1, 30, 2, 2)
	f.Add(AppendProfile(nil, a.Profile()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := DecodeProfile(raw)
		if err != nil {
			return
		}
		if again := AppendProfile(nil, p); !bytes.Equal(again, raw) {
			t.Fatalf("%x becomes %x", raw, again)
		}
		Estimate(p, a.Profile())
	})
}

// FuzzDecoder gives the decoder any symbols: it ends, within its bounds.
func FuzzDecoder(f *testing.F) {
	a, _, _, _ := sets(1, 30, 3, 2)
	f.Add(AppendSymbols(nil, a.Symbols(20), 0, a.Len()), uint8(5))
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		_, b, _, _ := sets(1, 30, 3, 2)
		symbols, err := DecodeSymbols(raw, 0, b.Len())
		if err != nil {
			return
		}
		d := NewDecoder(b)
		for len(symbols) > 0 {
			n := min(len(symbols), 1+int(step))
			if err := d.Add(symbols[:n]); err != nil && !errors.Is(err, ErrSketch) {
				t.Fatal(err)
			}
			symbols = symbols[n:]
		}
		if len(d.found) > d.Len() || d.steps > (stepsPerSymbol+1)*(d.Len()+1) {
			t.Fatalf("%d items and %d steps from %d symbols", len(d.found), d.steps, d.Len())
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	const items = 10_000
	rng := rand.New(rand.NewPCG(1, 1))
	all := make([][32]byte, items)
	for i := range all {
		all[i] = item(rng)
	}
	for _, symbols := range []int{16, 175, 1750, MaxSymbols} {
		b.Run(fmt.Sprintf("items=%d/symbols=%d", items, symbols), func(b *testing.B) {
			b.SetBytes(32 * items)
			for range b.N {
				s := NewSet(Key{1}, items)
				for i := range all {
					s.Add(&all[i])
				}
				s.Symbols(symbols)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, d := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("items=10000/d=%d", d), func(b *testing.B) {
			one, two, _, _ := sets(1, 10_000, d/2, d-d/2)
			symbols := decode(b, one, two, 1, 10*d).Len()
			two.Symbols(symbols)
			for range b.N {
				dec := NewDecoder(two)
				if err := dec.Add(one.Symbols(symbols)); err != nil || !dec.Done() {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(symbols)/float64(d), "symbols/diff")
		})
	}
}
