package recorder

import "github.com/pheme-net/pheme/p2p/trace"

// Stage is a part of the way from one node's readiness to pass a block on to the next node's
// acceptance.
type Stage int

// The stages in the order in which a hop goes through them. Their bounds are events; beside each,
// the event that ends it.
const (
	Wait      Stage = iota // until the copy is put on the peer's queue: publishing, the event loop, a missing parent (msg.queued)
	Queue                  // behind other messages to that peer (begin of msg.written)
	Serialise              // handing the bytes to the transport, congestion included (msg.written)
	Wire                   // until the last byte is read there (msg.read)
	Validate               // decode and the cheap check (block.accepted)
	NumStages
)

var stageNames = [NumStages]string{"wait", "queue", "serialise + congestion", "wire", "decode + validate"}

// String is the stage's name in a report.
func (s Stage) String() string { return stageNames[s] }

// Stages are milliseconds by stage. The import that follows acceptance is not among them: it is
// Delivery.Import minus Delivery.Latency.
type Stages [NumStages]float64

// Total is the sum of the parts, which is the latency they were cut from.
func (s Stages) Total() (ms float64) {
	for _, v := range s {
		ms += v
	}
	return ms
}

// Add adds the parts of o.
func (s *Stages) Add(o Stages) {
	for i := range s {
		s[i] += o[i]
	}
}

// Split is where the time of a delivery went, summed over its hops; false when the way is not
// known whole.
func (m *Message) Split(node int) (sum Stages, ok bool) {
	trail := m.Trail(node)
	for _, d := range trail {
		sum.Add(d.Hop)
	}
	return sum, trail != nil
}

// Way is Trail hop by hop, with the hops of pieces; nil where the way is not known whole.
func (m *Message) Way(node int) (steps []Step) {
	from, start := m.Origin, 0.0
	for _, d := range m.Trail(node) {
		if d.Steps != nil {
			steps = append(steps, d.Steps...)
		} else {
			steps = append(steps, Step{From: from, Node: d.Node, Start: start, Parts: d.Hop})
		}
		from, start = d.Node, d.Latency
	}
	return steps
}

// hopMarks are the moments of the first copy's last hop: put on the sender's queue, begin and end
// of its write, last byte read at the receiver.
type hopMarks struct{ queued, begun, written, read int64 }

// stages gathers the hop marks of every counted block and cuts the latencies at them.
func (j *join) stages() {
	for i := range j.in.Nodes {
		for _, e := range j.in.Nodes[i].Events {
			switch e.Class {
			case trace.ClassBlock:
				j.mark(i, e)
				j.piece(i, e)
			case trace.ClassSync:
				j.mark(i, e)
			case trace.ClassRelay:
				j.piece(i, e)
			}
		}
	}
	for _, m := range j.run.Blocks {
		s := j.blocks[m.ID]
		for i := range m.Deliveries {
			d := &m.Deliveries[i]
			if d.Delivered() && inPieces(d.Path) {
				s.along(d)
			} else if d.Delivered() && d.Parent >= 0 {
				start := s.seen[d.Parent].accepted
				if d.Parent == m.Origin {
					start = m.Born
				}
				if start != 0 { // what a node recorded last dies with it
					d.Hop = cut(start, s.seen[d.Node])
				}
			}
		}
	}
}

// mark notes a msg.* event if it belongs to the hop that delivered the message.
func (j *join) mark(node int, e trace.Event) {
	s := j.blocks[e.Hash]
	other := j.node(e.Peer)
	if s == nil || other < 0 {
		return
	}
	switch e.Kind {
	case trace.MsgQueued, trace.MsgWritten:
		if v := &s.seen[other]; v.from == j.in.Nodes[node].Tag {
			if e.Kind == trace.MsgQueued {
				earlier(&v.hop.queued, e.At)
			} else if earlier(&v.hop.written, e.At) {
				v.hop.begun = e.At - e.Aux
			}
		}
	case trace.MsgRead:
		if v := &s.seen[node]; v.from == e.Peer {
			earlier(&v.hop.read, e.At)
		}
	}
}

// cut splits the time from start, when the sender could pass the block on, to its acceptance. The
// parts always add up to it. A mark that is missing falls together with the next one that is
// there. A mark later than what it must have caused is moved before it: bytes that were read had
// been written, whatever the writer's stamp says, which was taken after its call returned.
func cut(start int64, v sighting) (out Stages) {
	read := v.hop.read
	if read == 0 || v.received != 0 && v.received < read {
		read = v.received // the last byte cannot come after the block was whole
	}
	bounds := [NumStages]int64{v.hop.queued, v.hop.begun, v.hop.written, read, v.accepted}
	switch v.path {
	case trace.PathHeld: // whole, but judged only when its parent or its slot came
		bounds[Validate] = read
	case trace.PathFetch, trace.PathSync: // asked for: what came before is not this hop's doing
		bounds = [NumStages]int64{v.received, v.received, v.received, v.received, v.accepted}
	}
	next := v.accepted
	for i := NumStages - 1; i >= 0; i-- {
		if bounds[i] == 0 || bounds[i] > next {
			bounds[i] = next
		}
		bounds[i] = max(bounds[i], start)
		next = bounds[i]
	}
	last := start
	for i, b := range bounds {
		out[i] = float64(b-last) / 1e6
		last = b
	}
	out[Wait] += float64(v.accepted-last) / 1e6 // held: the rest was waiting; below zero only if it relayed before accepting
	return out
}
