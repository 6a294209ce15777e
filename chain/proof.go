package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rlp"
)

// Subtree names a part of the state tree: the buckets whose index begins with
// the first Depth hex digits of Index. Depth 0 is all of it, depth 4 one bucket.
type Subtree struct {
	Depth int
	Index uint16
}

// Valid tells whether the depth is 0..4 and the digits of Index below it are zero.
func (t Subtree) Valid() bool {
	return t.Depth >= 0 && t.Depth <= treeDepth && uint32(t.Index)<<(4*t.Depth)&0xffff == 0
}

// Child is the i-th of the 16 parts of t, which is not a bucket.
func (t Subtree) Child(i int) Subtree {
	return Subtree{t.Depth + 1, t.Index | uint16(i)<<(12-4*t.Depth)}
}

// find is the node of a valid subtree, nil if empty.
func (s State) find(t Subtree) *node {
	n := s.root
	for depth := 0; depth < t.Depth && n != nil; depth++ {
		n = n.kids[nibble(t.Index, depth)]
	}
	return n
}

// Digest commits to the accounts of a valid subtree; zero for none. Two nodes
// with equal digests hold equal accounts there.
func (s State) Digest(t Subtree) common.Hash { return s.find(t).hash() }

// Children encodes the digests of the 16 parts of a valid subtree that is not a
// bucket: a bitmap (2 bytes) of those that are not empty, then their digests.
// Nil if all are empty. Check it with CheckChildren. The caller must not change it.
func (s State) Children(t Subtree) []byte {
	if n := s.find(t); n != nil && t.Depth < treeDepth {
		return n.data[1:]
	}
	return nil
}

// CheckChildren decodes what Children gave and compares it with the digest of
// the subtree. Errors wrap ErrInvalidProof.
func CheckChildren(digest common.Hash, raw []byte) (kids [treeFanout]common.Hash, err error) {
	if len(raw) == 0 && digest == (common.Hash{}) {
		return kids, nil
	}
	if len(raw) < 2 {
		return kids, fmt.Errorf("%w: digests of %d bytes", ErrInvalidProof, len(raw))
	}
	bitmap := binary.BigEndian.Uint16(raw)
	if bitmap == 0 || len(raw) != 2+bits.OnesCount16(bitmap)*common.HashLength {
		return kids, fmt.Errorf("%w: digests of %d bytes for bitmap %04x", ErrInvalidProof, len(raw), bitmap)
	}
	if sha256.Sum256(append([]byte{kindInner}, raw...)) != digest {
		return kids, fmt.Errorf("%w: digests do not hash to %s", ErrInvalidProof, digest)
	}
	raw = raw[2:]
	for i := range kids {
		if bitmap&(1<<i) != 0 {
			kids[i], raw = common.Hash(raw[:common.HashLength]), raw[common.HashLength:]
		}
	}
	return kids, nil
}

// Proof shows that a bucket belongs to a root: the Children of its subtrees from
// the root down, as far as there are any.
type Proof struct {
	Levels [][]byte
}

// Prove makes the proof of a bucket, which may be empty.
func (s State) Prove(index uint16) Proof {
	var p Proof
	for depth := range treeDepth {
		t := Subtree{depth, index >> (16 - 4*depth) << (16 - 4*depth)}
		raw := s.Children(t)
		if raw == nil {
			break
		}
		p.Levels = append(p.Levels, raw)
	}
	return p
}

// VerifyBucket checks that the bucket with this index is bucket in the state
// with this root, such as a header's, and decodes it. Errors wrap ErrInvalidProof.
func VerifyBucket(root common.Hash, index uint16, bucket []byte, p Proof) ([]Change, error) {
	want := root
	depth := 0
	for ; depth < treeDepth && want != (common.Hash{}); depth++ {
		if depth >= len(p.Levels) {
			return nil, fmt.Errorf("%w: proof ends at depth %d", ErrInvalidProof, depth)
		}
		kids, err := CheckChildren(want, p.Levels[depth])
		if err != nil {
			return nil, err
		}
		want = kids[nibble(index, depth)]
	}
	if len(p.Levels) != depth {
		return nil, fmt.Errorf("%w: proof has %d levels, want %d", ErrInvalidProof, len(p.Levels), depth)
	}
	if newBucket(append([]byte{kindBucket}, bucket...)).hash() != want {
		return nil, fmt.Errorf("%w: bucket %04x does not hash to %s", ErrInvalidProof, index, want)
	}
	return DecodeBucket(index, bucket)
}

// maxProofBytes is four levels of 16 digests with their RLP heads.
const maxProofBytes = treeDepth*(2+treeFanout*common.HashLength+3) + 6

// Encode is the RLP of the proof.
func (p Proof) Encode() []byte { return encodeRLP(p) }

// DecodeProof reads the canonical RLP of a proof, at most about 2 KiB. Errors
// wrap ErrInvalidProof.
func DecodeProof(raw []byte) (Proof, error) {
	var p Proof
	if len(raw) > maxProofBytes {
		return p, fmt.Errorf("%w: proof of %d bytes, at most %d", ErrInvalidProof, len(raw), maxProofBytes)
	}
	if err := rlp.DecodeBytes(raw, &p); err != nil {
		return p, fmt.Errorf("%w: %w", ErrInvalidProof, err)
	}
	return p, nil
}
