package recorder

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/pheme-net/pheme/p2p/trace"
)

// births finds every message: the node that sealed a block or first took a transaction is its
// origin.
func (j *join) births() {
	for i := range j.in.Nodes {
		for _, e := range j.in.Nodes[i].Events {
			switch e.Kind {
			case trace.BlockSealed:
				j.born(j.blocks, i, e)
			case trace.TxSubmitted:
				j.born(j.txs, i, e)
			}
		}
	}
	j.run.Blocks, j.run.Txs = counted(j.blocks), counted(j.txs)
}

// born notes a birth; a transaction given to two nodes is born at the first.
func (j *join) born(all map[[32]byte]*subject, node int, e trace.Event) {
	s := all[e.Hash]
	if s == nil {
		s = &subject{seen: make([]sighting, len(j.in.Nodes))}
		all[e.Hash] = s
	} else if s.Born <= e.At {
		return
	}
	s.Message = Message{ID: e.Hash, Number: e.Aux, Origin: node, Size: int64(e.Size), Born: e.At}
	s.counted = j.in.Window.Has(e.At)
}

// counted lists the messages of the window in order of birth.
func counted(all map[[32]byte]*subject) (out []*Message) {
	for _, s := range all {
		if s.counted {
			out = append(out, &s.Message)
		}
	}
	slices.SortFunc(out, func(a, b *Message) int {
		return cmp.Or(cmp.Compare(a.Born, b.Born), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return out
}

// arrivals notes when each node had what. Events of one node may stand a little out of order, so
// the earliest of a kind counts, not the first.
func (j *join) arrivals() {
	for i := range j.in.Nodes {
		for _, e := range j.in.Nodes[i].Events {
			switch e.Kind {
			case trace.BlockReceived:
				if s := j.blocks[e.Hash]; s != nil && earlier(&s.seen[i].received, e.At) {
					s.seen[i].from, s.seen[i].first = e.Peer, int64(e.Size)
					s.seen[i].path, s.seen[i].hops = trace.PathOf(e.Aux)
				}
			case trace.BlockAccepted:
				if s := j.blocks[e.Hash]; s != nil {
					earlier(&s.seen[i].accepted, e.At)
				} else if j.in.Window.Has(e.At) {
					j.run.Strange = true
				}
			case trace.BlockImported:
				if s := j.blocks[e.Hash]; s != nil {
					earlier(&s.seen[i].imported, e.At)
				}
			case trace.TxAdmitted:
				if s := j.txs[e.Hash]; s != nil && earlier(&s.seen[i].accepted, e.At) {
					s.seen[i].from, s.seen[i].first = e.Peer, int64(e.Size)
				}
				if s := j.txs[e.Hash]; s != nil && i == s.Origin {
					earlier(&s.Admitted, e.At)
				}
			case trace.TxPublished:
				if s := j.txs[e.Hash]; s != nil && i == s.Origin {
					earlier(&s.Published, e.At)
				}
			case trace.TxPlaced:
				if s := j.txs[e.Hash]; s != nil {
					earlier(&s.Placed, e.At)
					earlier(&s.seen[i].imported, e.At)
				}
			}
		}
	}
}

// leave takes those transactions out that were not published when they were submitted.
func (j *join) leave() {
	if !j.in.Foreign {
		return
	}
	for _, s := range j.txs {
		if s.counted && !s.fresh() {
			s.counted = false
			j.run.Left++
		}
	}
	j.run.Txs = counted(j.txs)
}

// fresh says whether the origin took a transaction from who submitted it, and no node had it before.
func (s *subject) fresh() bool {
	if own := &s.seen[s.Origin]; own.accepted == 0 || own.from != 0 {
		return false
	}
	return !slices.ContainsFunc(s.seen, func(v sighting) bool {
		return v.accepted != 0 && v.accepted < s.Born || v.imported != 0 && v.imported < s.Born
	})
}

// earlier keeps the smaller time and says whether it was the new one.
func earlier(kept *int64, at int64) bool {
	if *kept != 0 && *kept <= at {
		return false
	}
	*kept = at
	return true
}

// deliver makes the deliveries of every counted message and finds acceptances without receipt,
// counted or not.
func (j *join) deliver() {
	for id, s := range j.blocks {
		for i := range s.seen {
			v := &s.seen[i]
			if i != s.Origin && v.accepted != 0 && (v.received == 0 || v.accepted < v.received) {
				j.run.Early = append(j.run.Early, Early{Node: i, Block: id})
			}
		}
		j.deliverOne(s)
	}
	for _, s := range j.txs {
		j.deliverOne(s)
	}
	slices.SortFunc(j.run.Early, func(a, b Early) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), bytes.Compare(a.Block[:], b.Block[:]))
	})
}

func (j *join) deliverOne(s *subject) {
	if !s.counted {
		return
	}
	for i := range s.seen {
		if i == s.Origin || !j.expected(i, s.Born) {
			continue
		}
		v := &s.seen[i]
		d := Delivery{Node: i, Parent: -1, Latency: j.latency(s.Born, v.accepted), Import: j.latency(s.Born, v.imported)}
		if d.Delivered() {
			d.Parent, d.Path, d.First, d.Hops = j.node(v.from), v.path, v.first, v.hops
		}
		s.Deliveries = append(s.Deliveries, d)
	}
}

// latency is the time from born to at in milliseconds, +Inf when at is never or past the horizon.
func (j *join) latency(born, at int64) float64 {
	if at == 0 || at-born > int64(j.in.Horizon) {
		return math.Inf(1)
	}
	return float64(at-born) / 1e6
}

// hops counts along the parents where the pieces of a message did not carry their
// own count, and of a block in pieces the steps of its way. A chain that does not reach the origin, because a sender is not
// of the run or did not record the message itself, has an unknown length.
func (j *join) hops() {
	for _, m := range slices.Concat(j.run.Blocks, j.run.Txs) {
		for i := range m.Deliveries {
			d := &m.Deliveries[i]
			if trail := m.Trail(d.Node); d.Hops == 0 && trail != nil {
				base := trail[0].Hops
				if base == 0 {
					base = max(1, len(trail[0].Steps))
				}
				d.Hops = base + len(trail) - 1
			}
		}
	}
}

// Trail is the way m took to a node: its deliveries from the origin's neighbour to the node, each
// the parent of the next. A delivery that came in pieces stands first: they came from the origin on
// ways of their own, see [Delivery.Steps]. It is nil when m was not delivered there or the way is not
// known whole.
func (m *Message) Trail(node int) []*Delivery {
	var trail []*Delivery
	for node != m.Origin {
		d := m.At(node)
		if d != nil && d.Delivered() && inPieces(d.Path) {
			trail = append(trail, d)
			break
		}
		if d == nil || !d.Delivered() || d.Parent < 0 || len(trail) > len(m.Deliveries) {
			return nil
		}
		trail = append(trail, d)
		node = d.Parent
	}
	slices.Reverse(trail)
	return trail
}
