package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
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

// node is one inner node or one bucket. It never changes once reachable.
type node struct {
	digest common.Hash
	kids   *[treeFanout]*node // inner nodes
	bucket []byte             // buckets: encoded entries, see bucket.go
}

// BucketOf is the bucket an address lives in: the first 16 bits of SHA-256(addr).
func BucketOf(addr common.Address) uint16 {
	h := sha256.Sum256(addr[:])
	return binary.BigEndian.Uint16(h[:])
}

// Root commits to every account; zero for no accounts.
func (s State) Root() common.Hash { return s.root.hash() }

// Account is the account of addr, the zero Account if there is none.
func (s State) Account(addr common.Address) Account {
	return bucketGet(s.Bucket(BucketOf(addr)), addr)
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
func (s State) Bucket(index uint16) []byte {
	n := s.root
	for depth := 0; depth < treeDepth && n != nil; depth++ {
		n = n.kids[nibble(index, depth)]
	}
	if n == nil {
		return nil
	}
	return n.bucket
}

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
		return yield(index, n.bucket)
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
	sorted := make([]bucketChange, len(changes))
	for i, c := range changes {
		sorted[i] = bucketChange{BucketOf(c.Addr), c}
	}
	slices.SortFunc(sorted, func(a, b bucketChange) int {
		if a.index != b.index {
			return int(a.index) - int(b.index)
		}
		return a.Addr.Cmp(b.Addr)
	})
	return State{s.root.with(0, sorted)}
}

// with is the subtree n at depth after changes, which all fall in it; nil when
// nothing is left in it.
func (n *node) with(depth int, changes []bucketChange) *node {
	if len(changes) == 0 {
		return n
	}
	if depth == treeDepth {
		var old []byte
		if n != nil {
			old = n.bucket
		}
		return newBucket(mergeBucket(old, changes))
	}
	kids := new([treeFanout]*node)
	if n != nil {
		*kids = *n.kids
	}
	for len(changes) > 0 {
		i := nibble(changes[0].index, depth)
		end := 1
		for end < len(changes) && nibble(changes[end].index, depth) == i {
			end++
		}
		kids[i] = kids[i].with(depth+1, changes[:end])
		changes = changes[end:]
	}
	return newInner(kids)
}

// indexed is a bucket beside its index.
type indexed struct {
	index  uint16
	bucket []byte
}

// stateOf builds a state from checked buckets in ascending order, which it keeps.
func stateOf(buckets []indexed) State { return State{buildNode(0, buckets)} }

func buildNode(depth int, buckets []indexed) *node {
	if len(buckets) == 0 {
		return nil
	}
	if depth == treeDepth {
		return newBucket(buckets[0].bucket)
	}
	kids := new([treeFanout]*node)
	for len(buckets) > 0 {
		i := nibble(buckets[0].index, depth)
		end := 1
		for end < len(buckets) && nibble(buckets[end].index, depth) == i {
			end++
		}
		kids[i] = buildNode(depth+1, buckets[:end])
		buckets = buckets[end:]
	}
	return newInner(kids)
}

// newBucket takes ownership of the encoded entries.
func newBucket(bucket []byte) *node {
	if len(bucket) == 0 {
		return nil
	}
	return &node{digest: bucketDigest(bucket), bucket: bucket}
}

func newInner(kids *[treeFanout]*node) *node {
	if *kids == [treeFanout]*node{} {
		return nil
	}
	n := &node{kids: kids}
	var buf [2 + treeFanout*32]byte
	n.digest = innerDigest(n.appendChildren(buf[:0]))
	return n
}

// appendChildren appends what an inner node's digest covers: a bitmap of the
// present children, then their digests.
func (n *node) appendChildren(out []byte) []byte {
	at := len(out)
	out = append(out, 0, 0)
	var bitmap uint16
	for i, kid := range n.kids {
		if kid != nil {
			bitmap |= 1 << i
			out = append(out, kid.digest[:]...)
		}
	}
	binary.BigEndian.PutUint16(out[at:], bitmap)
	return out
}

func (n *node) hash() common.Hash {
	if n == nil {
		return common.Hash{}
	}
	return n.digest
}

// nibble is the child that a bucket is below at depth.
func nibble(index uint16, depth int) int { return int(index>>(12-4*depth)) & 15 }

func bucketDigest(bucket []byte) common.Hash {
	if len(bucket) == 0 {
		return common.Hash{}
	}
	return prefixedHash(0, bucket)
}

func innerDigest(children []byte) common.Hash { return prefixedHash(1, children) }

// prefixedHash keeps buckets and inner nodes apart, as RFC 6962 does.
func prefixedHash(prefix byte, data []byte) common.Hash {
	var buf [1024]byte
	return sha256.Sum256(append(append(buf[:0], prefix), data...))
}

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
