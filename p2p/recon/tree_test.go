package recon

import (
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var binary16 = Shape{Depth: 4, Fanout: 2, Whole: 2}

// forest is a tree of 16 leaves, each a number; 0 is empty.
type forest [16]byte

func (f forest) digest(n Node) Digest {
	width := uint32(16 >> n.Depth)
	leaves := f[n.Index*width : (n.Index+1)*width]
	if !slices.ContainsFunc(leaves, func(b byte) bool { return b != 0 }) {
		return Digest{}
	}
	return sha256.Sum256(append([]byte{byte(n.Depth)}, leaves...))
}

func (f forest) children(n Node) []Digest {
	return []Digest{f.digest(n.Child(0, 2)), f.digest(n.Child(1, 2))}
}

// TestDiffFindsAllLeaves: the leaves under the yielded subtrees cover all that
// differ, no subtree is yielded twice or without a difference, answers may be
// lost, and only nodes on the way to a difference are asked for.
func TestDiffFindsAllLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaf := rapid.OneOf(rapid.Just(byte(0)), rapid.ByteRange(0, 2))
		a := forest(rapid.SliceOfN(leaf, 16, 16).Draw(t, "ours"))
		theirs := forest(rapid.SliceOfN(leaf, 16, 16).Draw(t, "theirs"))
		d := NewDiff(binary16, a.digest(Node{}), theirs.digest(Node{}))
		seen := make(map[uint32]bool)
		asked := 0
		for !d.Done() {
			for _, b := range d.Ask(rapid.IntRange(1, 4).Draw(t, "limit")) {
				n := b.Node
				if b.Theirs != theirs.digest(n) {
					t.Fatalf("%v has another digest", n)
				}
				if asked++; a.digest(n) == theirs.digest(n) {
					t.Fatalf("asked for %v, which does not differ", n)
				}
				if asked < 30 && rapid.Bool().Draw(t, "lost") {
					d.Lost(n)
					continue
				}
				if err := d.Answer(n, a.children(n), theirs.children(n)); err != nil {
					t.Fatal(err)
				}
			}
			for _, b := range d.Take(3) {
				n := b.Node
				if b.Theirs != theirs.digest(n) {
					t.Fatalf("%v has another digest", n)
				}
				if a.digest(n) == theirs.digest(n) {
					t.Fatalf("yielded %v, which does not differ", n)
				}
				width := uint32(16 >> n.Depth)
				for i := n.Index * width; i < (n.Index+1)*width; i++ {
					if seen[i] {
						t.Fatalf("leaf %d twice", i)
					}
					seen[i] = true
				}
			}
		}
		for i := range a {
			if a[i] != theirs[i] && !seen[uint32(i)] {
				t.Fatalf("leaf %d differs and was not found, only %v", i, slices.Sorted(maps.Keys(seen)))
			}
		}
		if a == theirs && asked > 0 {
			t.Fatal("equal trees were asked about")
		}
	})
}

func TestDiffRefusesWhatItDidNotAskFor(t *testing.T) {
	var a, b forest
	a[0], b[0], b[15] = 1, 2, 3
	d := NewDiff(binary16, a.digest(Node{}), b.digest(Node{}))
	if err := d.Answer(Node{}, a.children(Node{}), b.children(Node{})); !errors.Is(err, ErrTree) {
		t.Errorf("answer before the question: %v", err)
	}
	for _, branch := range d.Ask(1) {
		n := branch.Node
		if err := d.Answer(n, a.children(n)[:1], b.children(n)); !errors.Is(err, ErrTree) {
			t.Errorf("answer with one child: %v", err)
		}
		if err := d.Answer(n, a.children(n), b.children(n)); err != nil {
			t.Fatal(err)
		}
		if err := d.Answer(n, a.children(n), b.children(n)); !errors.Is(err, ErrTree) {
			t.Errorf("answer twice: %v", err)
		}
	}
}
