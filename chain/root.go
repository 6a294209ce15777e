package chain

import (
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
)

// deriveRoot is Ethereum's root of a list of n values: of the Merkle Patricia trie
// (yellow paper, appendix D) of each value under the RLP encoding of its index, as
// types.DeriveSha with a stack trie has it. The keys of a list are dense and known
// beforehand, so the trie is hashed from the root down and back without ever being
// built; the permutations of keccak are nearly all it costs.
//
// value is called once for each index; what it returns is read before the next call.
func deriveRoot(n int, value func(i int) []byte) common.Hash { return newListRoot().of(n, value) }

// listDepth bounds the nodes on the way to a leaf: four bytes of key, a nibble each,
// and the leaf.
const listDepth = 2*4 + 1

// listRoot is deriveRoot with buffers that serve list after list. A place is an
// index's rank in the order of the keys.
type listRoot struct {
	n      int
	value  func(i int) []byte
	hasher crypto.KeccakState
	nodes  [listDepth][]byte // the node at work at each depth
}

func newListRoot() *listRoot { return &listRoot{hasher: crypto.NewKeccakState()} }

// of is deriveRoot.
func (r *listRoot) of(n int, value func(i int) []byte) (root common.Hash) {
	if n == 0 {
		return types.EmptyRootHash
	}
	r.n, r.value = n, value
	r.hash(r.node(0, n, 0), root[:])
	r.value = nil
	return root
}

// index is the index at a place: its key is one byte up to 127, where 0 is 0x80, and
// longer keys begin with a higher byte.
func (r *listRoot) index(place int) int {
	last := min(r.n, 128) - 1
	switch {
	case place < last:
		return place + 1
	case place == last:
		return 0
	}
	return place
}

// key is the nibbles of an index's key.
func key(i int) (nibbles [listDepth - 1]byte, n int) {
	var buf [4]byte
	for _, b := range rlp.AppendUint64(buf[:0], uint64(i)) {
		nibbles[n], nibbles[n+1] = b>>4, b&15
		n += 2
	}
	return nibbles, n
}

// node encodes the node over the places from lo to hi, whose keys share depth
// nibbles. The result is good until the next node at that depth.
func (r *listRoot) node(lo, hi, depth int) []byte {
	out := r.nodes[depth][:0]
	first, size := key(r.index(lo))
	if hi-lo == 1 {
		out = appendPath(append(out, 0, 0, 0, 0), first[depth:size], 0x20)
		out = appendBytes(out, r.value(r.index(lo)))
		return r.keep(depth, out)
	}
	last, _ := key(r.index(hi - 1))
	same := depth
	for first[same] == last[same] {
		same++
	}
	out = append(out, 0, 0, 0, 0)
	if same > depth {
		out = r.reference(appendPath(out, first[depth:same], 0), lo, hi, same)
		return r.keep(depth, out)
	}
	for nibble := range byte(treeFanout) {
		end := lo
		for end < hi {
			if k, _ := key(r.index(end)); k[depth] != nibble {
				break
			}
			end++
		}
		if end == lo {
			out = append(out, 0x80)
			continue
		}
		out = r.reference(out, lo, end, depth+1)
		lo = end
	}
	return r.keep(depth, append(out, 0x80)) // no key ends within another one
}

// keep puts the head of a list before its content, for which node left four bytes.
func (r *listRoot) keep(depth int, out []byte) []byte {
	r.nodes[depth] = out
	payload := len(out) - 4
	at := 4 - listHeadSize(payload)
	appendListHead(out[at:at], payload)
	return out[at:]
}

// reference appends what stands for a node in its parent: itself, or its hash if it
// is not shorter.
func (r *listRoot) reference(out []byte, lo, hi, depth int) []byte {
	node := r.node(lo, hi, depth)
	if len(node) < common.HashLength {
		return append(out, node...)
	}
	out = append(out, 0x80+common.HashLength)
	at := len(out)
	out = append(out, make([]byte, common.HashLength)...)
	r.hash(node, out[at:])
	return out
}

func (r *listRoot) hash(node, to []byte) {
	r.hasher.Reset()
	_, _ = r.hasher.Write(node)
	_, _ = r.hasher.Read(to)
}

// appendPath appends nibbles in hex-prefix encoding (yellow paper, appendix C), as an
// RLP string. kind is 0x20 for a leaf, 0 for an extension.
func appendPath(out, nibbles []byte, kind byte) []byte {
	var buf [listDepth]byte
	path := append(buf[:0], kind)
	if len(nibbles)%2 == 1 {
		path[0] |= 0x10 | nibbles[0]
		nibbles = nibbles[1:]
	}
	for ; len(nibbles) > 0; nibbles = nibbles[2:] {
		path = append(path, nibbles[0]<<4|nibbles[1])
	}
	return appendBytes(out, path)
}

// appendBytes appends an RLP string of any length.
func appendBytes(out, s []byte) []byte {
	if len(s) == 1 && s[0] < 0x80 {
		return append(out, s[0])
	}
	return appendString(out, s)
}
