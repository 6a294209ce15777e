package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"math/bits"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// Shape of the state tree: 16^4 buckets of accounts by hash prefix. A bucket
// holds accounts / 65,536 entries, so the cost of a touched account is flat to
// about a million accounts.
const (
	treeDepth  = 4
	treeFanout = 16
	Buckets    = 1 << 16
)

// Account is what the chain knows of an address. The zero Account is the same as
// none: it is not stored and not hashed.
type Account struct {
	Nonce   uint64
	Balance uint256.Int // wei
}

// Change is the new Account of an address.
type Change struct {
	Addr    common.Address
	Account Account
}

// State is every account after one block. It is an immutable value: With gives a
// new State that shares what did not change, so a view at an old head stays
// whole while the chain moves on. The zero State is empty.
//
//	depth 0          root = SHA-256(1, bitmap, digests of the present children)
//	depth 1..3       nodes of 16 children; an empty subtree is nil, digest zero
//	depth 4          bucket = SHA-256(0, entries by ascending address)
type State struct {
	root *node
}

// node is one inner node or one bucket. It never changes once reachable. Beside
// its children an inner node keeps what its digest covers, so that a change
// below it reads none of the other children.
type node struct {
	digest common.Hash
	kids   *[treeFanout]*node // inner nodes
	data   []byte             // what digest covers: a byte for the kind, then children or entries
	marks  *wideMarks         // wide buckets
}

// wideMarks are those of bucketMarks. Few buckets are wide, so a node holds no more
// than a pointer to them.
type wideMarks struct{ at []uint32 }

// Kinds of node, the first byte of what is hashed: as in RFC 6962, no bucket can
// pass for an inner node.
const (
	kindBucket = 0
	kindInner  = 1
)

// BucketOf is the bucket an address lives in: the first 16 bits of SHA-256(addr).
func BucketOf(addr common.Address) uint16 {
	h := sha256.Sum256(addr[:])
	return binary.BigEndian.Uint16(h[:])
}

// Root commits to every account; zero for no accounts.
func (s State) Root() common.Hash { return s.root.hash() }

// Account is the account of addr, the zero Account if there is none.
func (s State) Account(addr common.Address) Account {
	n := s.bucket(BucketOf(addr))
	if n == nil || n.marks == nil {
		return bucketGet(n.entries(), nil, addr)
	}
	return bucketGet(n.entries(), n.marks.at, addr)
}

// Nonce is the next nonce of addr.
func (s State) Nonce(addr common.Address) uint64 { return s.Account(addr).Nonce }

// Balance is the balance of addr in wei, a copy.
func (s State) Balance(addr common.Address) *uint256.Int {
	a := s.Account(addr)
	return &a.Balance
}

// Bucket is the encoded bucket with this index, nil if empty. The caller must
// not change it.
func (s State) Bucket(index uint16) []byte { return s.bucket(index).entries() }

func (s State) bucket(index uint16) *node { return s.find(Subtree{treeDepth, index}) }

// All yields every account, by bucket and address.
func (s State) All() iter.Seq2[common.Address, Account] {
	return func(yield func(common.Address, Account) bool) {
		for _, bucket := range s.buckets() {
			for len(bucket) > 0 {
				var c Change
				c, bucket = nextEntry(bucket)
				if !yield(c.Addr, c.Account) {
					return
				}
			}
		}
	}
}

// buckets yields every bucket that is not empty, in order.
func (s State) buckets() iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) { s.root.walk(0, 0, yield) }
}

func (n *node) walk(index uint16, depth int, yield func(uint16, []byte) bool) bool {
	if n == nil {
		return true
	}
	if depth == treeDepth {
		return yield(index, n.entries())
	}
	for i, kid := range n.kids {
		if !kid.walk(index<<4|uint16(i), depth+1, yield) {
			return false
		}
	}
	return true
}

// bucketChange is a Change beside the bucket it falls in.
type bucketChange struct {
	index uint16
	Change
}

// With is the state after changes, in any order, at most one an address. Cost a
// change: its bucket and its path of four nodes, shared between changes.
func (s State) With(changes []Change) State {
	order := make([]uint64, len(changes)) // bucket, then position
	for i, c := range changes {
		order[i] = uint64(BucketOf(c.Addr))<<32 | uint64(i)
	}
	slices.Sort(order)
	sorted := make([]bucketChange, len(changes))
	for i, o := range order {
		sorted[i] = bucketChange{uint16(o >> 32), changes[uint32(o)]}
	}
	return State{s.root.with(0, sorted)}
}

// with is the subtree n at depth after changes, which all fall in it; nil when
// nothing is left in it.
func (n *node) with(depth int, changes []bucketChange) *node {
	if depth == treeDepth {
		slices.SortFunc(changes, func(a, b bucketChange) int { return a.Addr.Cmp(b.Addr) })
		return newBucket(mergeBucket(n.entries(), changes))
	}
	kids, sums := n.children()
	for len(changes) > 0 {
		i := nibble(changes[0].index, depth)
		end := 1
		for end < len(changes) && nibble(changes[end].index, depth) == i {
			end++
		}
		kids[i] = kids[i].with(depth+1, changes[:end])
		sums[i] = kids[i].hash()
		changes = changes[end:]
	}
	return newInner(kids, &sums)
}

// indexed is a bucket beside its index, as newBucket takes it.
type indexed struct {
	index uint16
	data  []byte
}

// stateOf builds a state from checked buckets in ascending order, which it keeps.
func stateOf(buckets []indexed) State { return State{buildNode(0, buckets)} }

func buildNode(depth int, buckets []indexed) *node {
	if len(buckets) == 0 {
		return nil
	}
	if depth == treeDepth {
		return newBucket(buckets[0].data)
	}
	var none *node
	kids, sums := none.children()
	for len(buckets) > 0 {
		i := nibble(buckets[0].index, depth)
		end := 1
		for end < len(buckets) && nibble(buckets[end].index, depth) == i {
			end++
		}
		kids[i] = buildNode(depth+1, buckets[:end])
		sums[i] = kids[i].hash()
		buckets = buckets[end:]
	}
	return newInner(kids, &sums)
}

// newBucket takes ownership of data: the kind, then the entries.
func newBucket(data []byte) *node {
	if len(data) <= 1 {
		return nil
	}
	n := &node{digest: sha256.Sum256(data), data: data}
	if len(data) > wideBytes {
		n.marks = &wideMarks{bucketMarks(n.entries())}
	}
	return n
}

// entries are the encoded accounts of a bucket.
func (n *node) entries() []byte {
	if n == nil {
		return nil
	}
	return n.data[1:]
}

// newInner makes the node over kids, whose digests are sums; nil over none.
func newInner(kids *[treeFanout]*node, sums *[treeFanout]common.Hash) *node {
	var bitmap uint16
	for i, kid := range kids {
		if kid != nil {
			bitmap |= 1 << i
		}
	}
	if bitmap == 0 {
		return nil
	}
	data := make([]byte, 0, 3+bits.OnesCount16(bitmap)*common.HashLength)
	data = binary.BigEndian.AppendUint16(append(data, kindInner), bitmap)
	for i, kid := range kids {
		if kid != nil {
			data = append(data, sums[i][:]...)
		}
	}
	return &node{digest: sha256.Sum256(data), kids: kids, data: data}
}

// children copies the children of an inner node, and their digests.
func (n *node) children() (kids *[treeFanout]*node, sums [treeFanout]common.Hash) {
	kids = new([treeFanout]*node)
	if n == nil {
		return kids, sums
	}
	*kids = *n.kids
	at := 3
	for i, kid := range kids {
		if kid != nil {
			copy(sums[i][:], n.data[at:])
			at += common.HashLength
		}
	}
	return kids, sums
}

func (n *node) hash() common.Hash {
	if n == nil {
		return common.Hash{}
	}
	return n.digest
}

// nibble is the child that a bucket is below at depth.
func nibble(index uint16, depth int) int { return int(index>>(12-4*depth)) & 15 }

// diff lists the buckets that differ between two states, in order.
func diff(a, b State) []uint16 {
	var out []uint16
	diffNodes(a.root, b.root, 0, 0, &out)
	return out
}

func diffNodes(a, b *node, depth int, index uint16, out *[]uint16) {
	if a == b || a.hash() == b.hash() {
		return
	}
	if depth == treeDepth {
		*out = append(*out, index)
		return
	}
	var none [treeFanout]*node
	ka, kb := &none, &none
	if a != nil {
		ka = a.kids
	}
	if b != nil {
		kb = b.kids
	}
	for i := range treeFanout {
		diffNodes(ka[i], kb[i], depth+1, index<<4|uint16(i), out)
	}
}
