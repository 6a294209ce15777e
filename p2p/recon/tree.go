package recon

import (
	"errors"
	"fmt"
)

// Digest commits to a subtree; the zero Digest to an empty one.
type Digest [32]byte

// Node names a subtree: the Index-th of those at a Depth, from the left. Depth 0
// is the whole tree.
type Node struct {
	Depth int
	Index uint32
}

// Child is the i-th of the parts of n.
func (n Node) Child(i, fanout int) Node { return Node{n.Depth + 1, n.Index*uint32(fanout) + uint32(i)} }

// ErrTree is an answer that was not asked for or does not fit the tree.
var ErrTree = errors.New("recon: answer does not fit the tree")

// Shape is the form of a tree: every node but the leaves at Depth has Fanout
// children. A subtree at depth Whole or below that is empty on our side is
// yielded whole, since looking into it would only cost time.
type Shape struct {
	Depth, Fanout, Whole int
}

// Branch is a node with what their side holds there.
type Branch struct {
	Node
	Theirs Digest
}

// Diff compares our tree with theirs, level by level.
//
//	NewDiff(roots) --> Ask: nodes --> Answer: both sides' children --> Ask ...
//	                                      \--> Take: subtrees that differ
//
// A node is waiting, asked for, or gone. Lost puts one that was asked for back.
type Diff struct {
	shape   Shape
	waiting []Branch // a stack: depth first, so that it stays short
	asked   map[Node]Digest
	differ  []Branch
}

// NewDiff begins a comparison of two trees with these roots.
func NewDiff(s Shape, ours, theirs Digest) *Diff {
	d := &Diff{shape: s, asked: make(map[Node]Digest)}
	d.compare(Node{}, ours, theirs)
	return d
}

func (d *Diff) compare(n Node, ours, theirs Digest) {
	switch {
	case ours == theirs:
	case n.Depth == d.shape.Depth, theirs == Digest{}, ours == (Digest{}) && n.Depth >= d.shape.Whole:
		d.differ = append(d.differ, Branch{n, theirs})
	default:
		d.waiting = append(d.waiting, Branch{n, theirs})
	}
}

// Ask returns at most limit nodes whose children on their side are needed.
func (d *Diff) Ask(limit int) []Branch {
	n := len(d.waiting) - min(limit, len(d.waiting))
	out := append([]Branch(nil), d.waiting[n:]...)
	d.waiting = d.waiting[:n]
	for _, b := range out {
		d.asked[b.Node] = b.Theirs
	}
	return out
}

// Answer takes the digests of the children of a node that was asked for, on both
// sides. Errors wrap ErrTree; the caller has checked that theirs hash to what the
// parent said.
func (d *Diff) Answer(n Node, ours, theirs []Digest) error {
	if _, ok := d.asked[n]; !ok {
		return fmt.Errorf("%w: depth %d, index %d was not asked for", ErrTree, n.Depth, n.Index)
	}
	if len(ours) != d.shape.Fanout || len(theirs) != d.shape.Fanout {
		return fmt.Errorf("%w: %d and %d children, want %d", ErrTree, len(ours), len(theirs), d.shape.Fanout)
	}
	delete(d.asked, n)
	for i := range ours {
		d.compare(n.Child(i, d.shape.Fanout), ours[i], theirs[i])
	}
	return nil
}

// Lost takes back that a node was asked for: no answer came.
func (d *Diff) Lost(n Node) {
	if theirs, ok := d.asked[n]; ok {
		delete(d.asked, n)
		d.waiting = append(d.waiting, Branch{n, theirs})
	}
}

// Ready is how many subtrees that differ are to be taken, and Waiting how many nodes
// are to be asked for.
func (d *Diff) Ready() int   { return len(d.differ) }
func (d *Diff) Waiting() int { return len(d.waiting) }

// Take returns at most limit subtrees that differ, and forgets them.
func (d *Diff) Take(limit int) []Branch {
	n := len(d.differ) - min(limit, len(d.differ))
	out := append([]Branch(nil), d.differ[n:]...)
	d.differ = d.differ[:n]
	return out
}

// Done tells whether nothing waits, was asked for or is to be taken.
func (d *Diff) Done() bool { return len(d.waiting) == 0 && len(d.asked) == 0 && len(d.differ) == 0 }
