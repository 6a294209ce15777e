package p2p

import (
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/p2p/recon"
)

// The state protocol. A client writes one request and closes its side. The server
// writes one frame for each node it asks about, in order, as far as one answer
// goes, and closes; a server that has not got the state of the block closes at once.
// Of a subtree that is longer than a frame it writes tooLong and nothing more: a client
// asks for its children then, and goes by blocks where it is a bucket.

// Bounds of the state protocol, the same for every node.
const (
	maxStateNodes    = 256       // in one request
	maxStateRequest  = 16 << 10  // encoded
	maxChildrenBytes = 2 + 16*32 // the digests of one node's children
	maxPartBytes     = 4 << 20   // one subtree: at depth 3, 16 buckets of 256 KiB
	maxStateAnswer   = 4 << 20   // in one answer, but always at least one node
)

// tooLong is the frame in the place of a subtree that is longer than one. No subtree
// has this encoding.
const tooLong = "\x00"

// What a state request asks for.
const (
	askChildren = 0 // the digests of the nodes' children
	askParts    = 1 // the nodes' subtrees whole
)

// treeShape is the state tree as recon sees it. From depth 3 on a subtree that is
// empty here is fetched whole: at a million accounts that is 8 KiB.
var treeShape = recon.Shape{Depth: 4, Fanout: 16, Whole: 3}

// treeNode is a node on the wire.
type treeNode struct{ Depth, Index uint64 }

// stateRequest is the one frame a client writes on a state stream.
type stateRequest struct {
	Block common.Hash // the pivot after which the state is meant
	Kind  uint64
	Nodes []treeNode
}

func (r stateRequest) encode() []byte { return mustEncode(r) }

// decodeStateRequest reads a state request. Errors wrap ErrProtocol.
func decodeStateRequest(b []byte) (r stateRequest, trees []chain.Subtree, err error) {
	if err := decodeRLP(b, maxStateRequest, &r); err != nil {
		return r, nil, err
	}
	deepest := map[uint64]uint64{askChildren: 3, askParts: 4}[r.Kind]
	if deepest == 0 || len(r.Nodes) == 0 || len(r.Nodes) > maxStateNodes {
		return r, nil, fmt.Errorf("%w: state request of kind %d for %d nodes", ErrProtocol, r.Kind, len(r.Nodes))
	}
	for _, n := range r.Nodes {
		if n.Depth > deepest || n.Index >= 1<<(4*n.Depth) {
			return r, nil, fmt.Errorf("%w: state request for node %d at depth %d", ErrProtocol, n.Index, n.Depth)
		}
		trees = append(trees, subtree(recon.Node{Depth: int(n.Depth), Index: uint32(n.Index)}))
	}
	return r, trees, nil
}

// subtree is a node as package chain names it.
func subtree(n recon.Node) chain.Subtree {
	return chain.Subtree{Depth: n.Depth, Index: uint16(n.Index << (16 - 4*n.Depth))}
}
