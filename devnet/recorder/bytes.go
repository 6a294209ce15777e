package recorder

import (
	"math"

	"github.com/pheme-net/pheme/p2p/trace"
)

// Kind of bytes as the report splits them: payload that completed a message, payload that came
// again, then the classes of the trace.
type Kind int

// The kinds, in the report's order. Control to Other are whole classes; the two payload kinds are
// cut from the classes of blocks and transactions, whose remainder (framing, refused copies) goes
// to Other, and from the chunks and answers of the relay. What the streams themselves cost (handshakes, security, muxing) is in no event.
const (
	First Kind = iota
	Again
	Control
	Relay
	Sync
	Repair
	Member
	Other
	NumKinds
)

var kindNames = [NumKinds]string{"payload, first copy", "payload, duplicate", "gossip control", "relay control", "sync", "repair", "membership", "framing and rest"}

// String is the kind's name in a report.
func (k Kind) String() string { return kindNames[k] }

// Load is what one node carried in the window.
type Load struct {
	Name     string
	Region   string
	In, Out  int64           // bytes received and sent
	Kinds    [NumKinds]int64 // of In
	Dropped  int             // messages given up (msg.dropped)
	Duration float64         // seconds of the window
}

// Slot is what all nodes together carried in one slot of the window, a cluster for intervals of
// rates, and what their chains were at its end.
type Slot struct {
	In, Out int64
	Kinds   [NumKinds]int64 // of In
	// Origin is the node that sealed the slot's block, -1 where there is none; of two the later.
	Origin    int
	OriginOut int64 // that node's part of Out
	Up        int   // nodes that are up as the slot ends
	Heads     int   // different heads among them
}

// copies attributes the bytes that came again, and all bytes on the wire, to their messages. A
// transaction batch is one message on the wire; its bytes are split over its transactions by size.
func (j *join) copies() {
	batches, broken := j.batches(), j.broken()
	for i := range j.in.Nodes {
		for _, e := range j.in.Nodes[i].Events {
			if e.Kind != trace.CopyDuplicate && e.Kind != trace.MsgRead {
				continue
			}
			if e.Class == trace.ClassBlock && e.Hash == ([32]byte{}) {
				e.Hash = nearest(broken[[2]int{j.node(e.Peer), i}], e.At)
			}
			if s := j.blocks[e.Hash]; s != nil {
				s.carry(i, e, 1)
			} else if e.Class == trace.ClassTx {
				for _, s := range batches[trace.BatchAux(e.Hash)] {
					s.carry(i, e, s.share)
				}
			}
		}
	}
	for _, s := range j.txs {
		for i := range s.Deliveries {
			d := &s.Deliveries[i]
			d.Again = s.seen[d.Node].again
		}
	}
	for _, s := range j.blocks { // all that came for one counts: in pieces, in copies, whole or broken off
		for i := range s.Deliveries {
			d := &s.Deliveries[i]
			carried := s.seen[d.Node].carried
			d.First = min(d.First, int64(carried))
			d.Again = carried - float64(d.First)
		}
	}
}

// broken finds the blocks whose sender gave up writing them, by sender and receiver.
func (j *join) broken() map[[2]int][]trace.Event {
	out := map[[2]int][]trace.Event{}
	for i := range j.in.Nodes {
		for _, e := range j.in.Nodes[i].Events {
			if e.Kind == trace.MsgDropped && e.Aux == trace.DropWriteFailed && e.Class == trace.ClassBlock {
				way := [2]int{i, j.node(e.Peer)}
				out[way] = append(out[way], e)
			}
		}
	}
	return out
}

// nearest is the block of the event that is nearest to a time, zeros without one.
func nearest(events []trace.Event, at int64) (hash [32]byte) {
	best := int64(math.MaxInt64)
	for _, e := range events {
		if far := max(e.At-at, at-e.At); far < best {
			best, hash = far, e.Hash
		}
	}
	return hash
}

// carry adds the message's share of an event's bytes.
func (s *subject) carry(node int, e trace.Event, share float64) {
	if e.Kind == trace.CopyDuplicate {
		s.seen[node].again += float64(e.Size) * share
	} else {
		s.Wire += float64(e.Size) * share
		s.seen[node].carried += float64(e.Size) * share
	}
}

// batches finds which transactions travelled together, from tx.published, and what part of their
// batch each is.
func (j *join) batches() map[int64][]*subject {
	out, sizes := map[int64][]*subject{}, map[int64]int64{}
	for i := range j.in.Nodes {
		for _, e := range j.in.Nodes[i].Events {
			if s := j.txs[e.Hash]; s != nil && e.Kind == trace.TxPublished && s.share == 0 {
				s.share = float64(s.Size)
				out[e.Aux] = append(out[e.Aux], s)
				sizes[e.Aux] += s.Size
			}
		}
	}
	for tag, txs := range out {
		for _, s := range txs {
			s.share /= float64(max(1, sizes[tag]))
		}
	}
	return out
}

// load sums the bytes of the window by node, by slot and by kind.
func (j *join) load() {
	w := j.in.Window
	slots := max(1, int((w.To-w.From)/int64(j.in.Slot)))
	j.run.Slots = make([]Slot, slots)
	for k := range j.run.Slots {
		j.run.Slots[k].Origin = -1
	}
	for _, m := range j.run.Blocks {
		j.run.Slots[j.slotOf(m.Born)].Origin = m.Origin
	}
	published := j.publications()
	for i := range j.in.Nodes {
		l := Load{Name: j.in.Nodes[i].Name, Region: j.in.Nodes[i].Region, Duration: float64(w.To-w.From) / 1e9}
		a := newAccount(&l, j.run.Slots, j.in.Nodes[i].Events, published)
		for _, e := range j.in.Nodes[i].Events {
			if !w.Has(e.At) {
				continue
			}
			k := j.slotOf(e.At)
			before := l.Out
			a.count(e, k)
			if slot := &j.run.Slots[k]; slot.Origin == i {
				slot.OriginOut += l.Out - before
			}
		}
		j.run.Nodes = append(j.run.Nodes, l)
	}
}

// slotOf is the number of the slot of the window that a time within it lies in.
func (j *join) slotOf(at int64) int {
	return min(len(j.run.Slots)-1, int((at-j.in.Window.From)/int64(j.in.Slot)))
}
