package recorder

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pheme-net/pheme/p2p/trace"
)

// ErrInput is wrapped by Join's errors: the recordings cannot belong to one run.
var ErrInput = errors.New("recorder")

// Span is a stretch of the run's clock, From included, To not, in nanoseconds.
type Span struct{ From, To int64 }

// Has says whether at lies in s.
func (s Span) Has(at int64) bool { return s.From <= at && at < s.To }

// Node is what one node recorded.
type Node struct {
	Name   string
	Region string // of the latency table; "" where there is none
	Tag    uint64 // trace.PeerTag of its peer id
	Events []trace.Event
	Lost   uint64 // events the ring had to drop
	// Up lists when the node was up and subscribed; nil is the whole run.
	Up []Span
	// Lives lists when the node ran, which it does before it serves; nil is the whole run.
	Lives []Span
}

// Input is one run of one seed.
type Input struct {
	Nodes []Node
	// Window is the counted stretch: blocks sealed and transactions submitted in it count. What
	// came before is warm-up.
	Window Span
	// Horizon is how long after its birth a message may be delivered.
	Horizon time.Duration
	// Slot is the width of a bucket of bytes; the window is cut into whole slots.
	Slot time.Duration
	// Foreign is set where the transactions are not ours. Of theirs, one that its origin did not take, or that a node had before,
	// was only tried or sent once more: it does not count.
	Foreign bool
}

// Run is what became of the counted messages, and what the network carried meanwhile.
type Run struct {
	From        int64      // when the window began
	Blocks, Txs []*Message // in order of birth
	Nodes       []Load     // one a node, in the input's order
	Slots       []Slot     // one a slot of the window
	Left        int        // transactions submitted in the window that do not count, see [Input.Foreign]
	Strange     bool       // a node accepted a block in the window that none of them sealed
	Lost        uint64     // events lost by any node
	ReorgDepth  int        // the most blocks that a node took off its canonical chain at once, warm-up left out
	Members     Members
	Peers       []int   // of each node that is up as the window ends
	Early       []Early // blocks accepted before they were received: a broken instrument
}

// Message is a block or a transaction.
type Message struct {
	ID         [32]byte
	Number     int64      // of the block; 0 for a transaction
	Origin     int        // the node that sealed or took it
	Size       int64      // bytes of the envelope or of the raw transaction
	Born       int64      // when it was sealed or submitted
	Admitted   int64      // when the origin's own pool took the transaction; 0: never, or a block
	Published  int64      // when the origin handed the transaction to gossip; 0: never, or a block
	Placed     int64      // when a block with the transaction was first imported anywhere; 0: never, or a block
	Wire       float64    // bytes of its class that all nodes read from the wire for it
	Deliveries []Delivery // one a node of E(m), by the node's number
}

// Delivery is m at one node of E(m).
type Delivery struct {
	Node    int
	Latency float64 // ms to acceptance or admission; +Inf when not delivered by the horizon
	Import  float64 // ms to the import of the block, or of a block with the transaction; +Inf when it was not
	Parent  int     // the node that sent the first copy; -1: unknown or not delivered
	Hops    int     // 0: unknown or not delivered
	Path    int64   // how a block came, as trace.PathGossip and its siblings
	First   int64   // bytes of the copy that completed it; of a block in pieces, what it needed of them
	Again   float64 // bytes that came besides; a shared batch is split by size
	Floor   float64 // ms, the physical floor over the open connections; 0 where links are not shaped
	Direct  float64 // ms, the floor over the direct path from the origin
	Hop     Stages  // the last hop's split, of a block in pieces that of its whole way; over all hops see Message.Split
	Steps   []Step  // of a block in pieces: the way of the one that completed it, from the origin
}

// Delivered says whether m arrived by the horizon.
func (d *Delivery) Delivered() bool { return !math.IsInf(d.Latency, 1) }

// Early is a block that a node accepted without having received it before.
type Early struct {
	Node  int
	Block [32]byte
}

// At returns the delivery of m at a node, or nil where the node is not in E(m).
func (m *Message) At(node int) *Delivery {
	i, ok := slices.BinarySearchFunc(m.Deliveries, node, func(d Delivery, n int) int { return cmp.Compare(d.Node, n) })
	if !ok {
		return nil
	}
	return &m.Deliveries[i]
}

// Latencies are those of every node in E(m).
func (m *Message) Latencies() []float64 {
	out := make([]float64, len(m.Deliveries))
	for i := range m.Deliveries {
		out[i] = m.Deliveries[i].Latency
	}
	return out
}

// Reached counts the nodes of E(m) that m was delivered to.
func (m *Message) Reached() (n int) {
	for i := range m.Deliveries {
		if m.Deliveries[i].Delivered() {
			n++
		}
	}
	return n
}

// Join puts the recordings of one run together. It fails when they cannot belong together: two
// nodes with one tag, or a block sealed twice.
func Join(in Input) (*Run, error) {
	j, err := newJoin(in)
	if err != nil {
		return nil, err
	}
	j.births()
	j.arrivals()
	j.leave()
	j.deliver()
	j.stages()
	j.hops()
	j.copies()
	j.load()
	j.heads()
	j.reorgs()
	j.members()
	j.peers()
	return j.run, nil
}

// join is the state of one Join. A message has one sighting a node, indexed by the node's number.
type join struct {
	in     Input
	run    *Run
	byTag  map[uint64]int
	blocks map[[32]byte]*subject
	txs    map[[32]byte]*subject
}

// subject is a message with what each node saw of it. Messages outside the window are followed as
// well, because bytes and anomalies of theirs matter, but they are not in the run.
type subject struct {
	Message
	counted bool
	share   float64 // of its batch, by size; 0 for a block
	seen    []sighting
}

// sighting is what one node recorded of one message; a zero time means never.
type sighting struct {
	received, accepted, imported int64  // block.received; block.accepted or tx.admitted; block.imported or tx.placed
	from                         uint64 // tag of the first copy's sender
	path                         int64
	hops                         int     // of its pieces; 0: they carried none
	first                        int64   // bytes of the first copy
	again, carried               float64 // bytes of duplicates; all that came for it
	hop                          hopMarks
	pieces                       *pieces // nil without any
}

func newJoin(in Input) (*join, error) {
	j := &join{in: in, run: &Run{From: in.Window.From}, byTag: map[uint64]int{}, blocks: map[[32]byte]*subject{}, txs: map[[32]byte]*subject{}}
	for i, n := range in.Nodes {
		if other, taken := j.byTag[n.Tag]; taken {
			return nil, fmt.Errorf("%w: nodes %d and %d share the tag %x", ErrInput, other, i, n.Tag)
		}
		j.byTag[n.Tag] = i
		j.run.Lost += n.Lost
	}
	if in.Window.To <= in.Window.From || in.Horizon <= 0 || in.Slot <= 0 {
		return nil, fmt.Errorf("%w: window %v, horizon %v, slot %v: each must be positive", ErrInput, in.Window, in.Horizon, in.Slot)
	}
	return j, nil
}

// node is the number of the node with a tag, or -1.
func (j *join) node(tag uint64) int {
	if i, ok := j.byTag[tag]; ok {
		return i
	}
	return -1
}

// expected says whether node i belongs to E of a message born at a time: up from then to the
// horizon. The origin is left out by the caller.
func (j *join) expected(i int, born int64) bool {
	up := j.in.Nodes[i].Up
	if up == nil {
		return true
	}
	for _, s := range up {
		if s.From <= born && born+int64(j.in.Horizon) <= s.To {
			return true
		}
	}
	return false
}
