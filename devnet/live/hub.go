package live

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/rpc"
)

const (
	maxBlocks = 32  // shown; older ones are forgotten
	maxWaits  = 256 // messages that may wait for one viewer
)

// Node is what the page shows of a node at one moment.
type Node struct {
	Name   string        `json:"name"`
	RPC    string        `json:"rpc"`
	PeerID string        `json:"id"`
	Up     bool          `json:"up"`
	Why    string        `json:"why,omitempty"` // it is not up
	Head   uint64        `json:"head"`
	HeadID common.Hash   `json:"head_id"`
	Slot   uint64        `json:"slot"`
	Pool   rpc.PoolStats `json:"pool"`
	Peers  []Link        `json:"peers"`
	// Members counts the members it knows by their state; empty where membership is off.
	Members map[string]int `json:"members"`
}

// Link is a node's connection to another.
type Link struct {
	ID   string `json:"id"`
	Mesh bool   `json:"mesh"` // in the mesh for blocks
	RTT  int64  `json:"rtt_us"`
}

// Block is one block's way: when each node accepted it, in milliseconds after it was sealed.
type Block struct {
	ID     common.Hash        `json:"id"`
	Number uint64             `json:"number"`
	Size   uint32             `json:"size"`
	Origin string             `json:"origin"`
	At     map[string]float64 `json:"at"` // by node

	sealed int64            // wall, ns
	early  map[string]int64 // accepted before we heard that it was sealed: wall, ns
}

// state is all the page needs to begin with.
type state struct {
	Nodes  []*Node  `json:"nodes"`
	Blocks []*Block `json:"blocks"`
	Lone   bool     `json:"lone"`  // one node is followed, not a network
	Sends  bool     `json:"sends"` // test transfers can be signed
}

// elsewhere is the origin of a block whose proposer is not followed: its times count from where it was first seen.
const elsewhere = "elsewhere"

// hub keeps the state and tells viewers of every change. One mutex guards it.
type hub struct {
	lone, sends bool // see state

	mu      sync.Mutex
	nodes   map[string]*Node
	blocks  map[common.Hash]*Block
	order   []common.Hash // oldest first
	viewers map[chan []byte]struct{}
}

func newHub() *hub {
	return &hub{nodes: make(map[string]*Node), blocks: make(map[common.Hash]*Block), viewers: make(map[chan []byte]struct{})}
}

// join returns the state as a message, what follows it, and a function that ends it. The channel is
// closed when the viewer lags.
func (h *hub) join() (<-chan []byte, func()) {
	ch := make(chan []byte, maxWaits)
	h.mu.Lock()
	defer h.mu.Unlock()
	s := state{Blocks: []*Block{}, Lone: h.lone, Sends: h.sends}
	for _, name := range slices.Sorted(maps.Keys(h.nodes)) {
		s.Nodes = append(s.Nodes, h.nodes[name])
	}
	for _, id := range h.order {
		if b := h.blocks[id]; b.sealed != 0 {
			s.Blocks = append(s.Blocks, b)
		}
	}
	ch <- message("state", s)
	h.viewers[ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.drop(ch)
	}
}

func (h *hub) drop(ch chan []byte) {
	if _, in := h.viewers[ch]; in {
		delete(h.viewers, ch)
		close(ch)
	}
}

// tell sends a message to every viewer. The caller holds h.mu.
func (h *hub) tell(kind string, v any) {
	text := message(kind, v)
	for ch := range h.viewers {
		select {
		case ch <- text:
		default:
			h.drop(ch)
		}
	}
}

// message is one server-sent event.
func message(kind string, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("live: " + err.Error()) // plain values only
	}
	out := append([]byte("event: "+kind+"\ndata: "), text...)
	return append(out, "\n\n"...)
}

// node notes a node's state.
func (h *hub) node(n *Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nodes[n.Name] = n
	h.tell("node", n)
}

// find returns a node by name, or nil.
func (h *hub) find(name string) *Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.nodes[name]
}

// of returns a block, new if need be. The caller holds h.mu.
func (h *hub) of(id common.Hash) *Block {
	if b := h.blocks[id]; b != nil {
		return b
	}
	if len(h.order) == maxBlocks {
		delete(h.blocks, h.order[0])
		h.order = h.order[1:]
	}
	b := &Block{ID: id, At: make(map[string]float64), early: make(map[string]int64)}
	h.blocks[id] = b
	h.order = append(h.order, id)
	return b
}

// sealed notes that a node made a block.
func (h *hub) sealed(node string, e rpc.TraceEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.of(e.Hash)
	b.Number, b.Size, b.Origin, b.sealed = uint64(e.Aux), e.Size, node, e.Wall
	b.At[node] = 0
	for other, wall := range b.early {
		b.At[other] = millis(wall - b.sealed)
	}
	b.early = nil
	h.tell("block", b)
}

// accepted notes that a block reached a node.
func (h *hub) accepted(node string, e rpc.TraceEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.of(e.Hash)
	if b.sealed == 0 { // its proposer's event is still on its way, or nobody here made it
		b.early[node] = e.Wall
		return
	}
	b.At[node] = millis(e.Wall - b.sealed)
	h.tell("got", map[string]any{"id": b.ID, "node": node, "ms": b.At[node]})
}

// imported notes that a node stored a block. Where it is the only one that is followed, this is the first that is
// known of another's block beside its acceptance.
func (h *hub) imported(node string, e rpc.TraceEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.of(e.Hash)
	if !h.lone || b.sealed != 0 {
		return
	}
	b.Number, b.Size, b.Origin, b.sealed = uint64(e.Aux), e.Size, elsewhere, e.Wall
	b.At[node], b.early = 0, nil
	h.tell("block", b)
}

func millis(ns int64) float64 { return float64(max(0, ns)) / 1e6 }
