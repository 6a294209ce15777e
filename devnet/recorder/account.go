package recorder

import "github.com/pheme-net/pheme/p2p/trace"

// account splits the bytes that one node received by kind. The kinds add up to what was read, in every
// slot, and none is ever negative.
type account struct {
	load  *Load
	slots []Slot            // of all nodes
	kinds [][NumKinds]int64 // the node's part of theirs
	// needed is what a block that came in pieces still lacks of its size; 0 of one that came whole.
	needed    map[[32]byte]int64
	batches   map[int64]int64      // when the node first read a batch of transactions
	published map[[32]byte][]int64 // the batches of each transaction
}

func newAccount(l *Load, slots []Slot, events []trace.Event, published map[[32]byte][]int64) *account {
	a := &account{load: l, slots: slots, kinds: make([][NumKinds]int64, len(slots)), needed: map[[32]byte]int64{}, batches: map[int64]int64{}, published: published}
	for _, e := range events {
		switch {
		case e.Kind == trace.BlockReceived:
			if _, again := a.needed[e.Hash]; !again {
				if a.needed[e.Hash] = 0; inPieces(pathOf(e)) {
					a.needed[e.Hash] = int64(e.Size)
				}
			}
		case e.Kind == trace.MsgRead && e.Class == trace.ClassTx:
			tag := trace.BatchAux(e.Hash)
			first := a.batches[tag]
			earlier(&first, e.At)
			a.batches[tag] = first
		}
	}
	return a
}

func pathOf(e trace.Event) int64 {
	path, _ := trace.PathOf(e.Aux)
	return path
}

// publications are the batches in which transactions were handed to gossip.
func (j *join) publications() map[[32]byte][]int64 {
	out := map[[32]byte][]int64{}
	for i := range j.in.Nodes {
		for _, e := range j.in.Nodes[i].Events {
			if e.Kind == trace.TxPublished {
				out[e.Hash] = append(out[e.Hash], e.Aux)
			}
		}
	}
	return out
}

// count adds one event of a slot.
func (a *account) count(e trace.Event, slot int) {
	size := int64(e.Size)
	switch e.Kind {
	case trace.MsgRead:
		a.load.In += size
		a.slots[slot].In += size
		a.read(e, slot)
	case trace.MsgWritten:
		a.load.Out += size
		a.slots[slot].Out += size
	case trace.MsgDropped:
		a.load.Dropped++
	case trace.CopyDuplicate:
		a.carve(kindOf(e.Class), Again, size, slot)
	case trace.BlockReceived:
		if path := pathOf(e); path == trace.PathGossip || path == trace.PathHeld {
			a.carve(Other, First, size, slot)
		}
	case trace.TxAdmitted:
		if e.Peer != 0 && a.gossiped(e) {
			a.carve(Other, First, size, slot)
		}
	}
}

// read adds what came, of a piece of a block what it still lacked and what it did not.
func (a *account) read(e trace.Event, slot int) {
	size := int64(e.Size)
	if e.Class == trace.ClassRelay {
		_, piece := trace.PieceOf(e.Aux)
		if needed, came := a.needed[e.Hash]; came && piece != trace.PieceNone {
			first := min(size, needed)
			a.needed[e.Hash] = needed - first
			a.add(First, first, slot)
			a.add(Again, size-first, slot)
			return
		}
	}
	a.add(kindOf(e.Class), size, slot)
}

// gossiped says whether a transaction that was admitted had come in a batch. In a session of repair it
// is of the class of that. Of one that nobody here published it is taken for granted.
func (a *account) gossiped(e trace.Event) bool {
	tags := a.published[e.Hash]
	for _, tag := range tags {
		if at, ok := a.batches[tag]; ok && at <= e.At {
			return true
		}
	}
	return len(tags) == 0
}

func (a *account) add(k Kind, n int64, slot int) {
	a.load.Kinds[k] += n
	a.slots[slot].Kinds[k] += n
	a.kinds[slot][k] += n
}

// carve moves payload out of the class under which it was added when it was read, which may have been
// in a slot before, or before the window. It never takes more than there is.
func (a *account) carve(from, to Kind, n int64, slot int) {
	for ; n > 0 && slot >= 0; slot-- {
		part := min(n, a.kinds[slot][from])
		a.add(from, -part, slot)
		a.add(to, part, slot)
		n -= part
	}
}

// kindOf maps a wire class to the kind it is counted under before payload is carved out.
func kindOf(c trace.Class) Kind {
	switch c {
	case trace.ClassControl:
		return Control
	case trace.ClassRelay:
		return Relay
	case trace.ClassSync:
		return Sync
	case trace.ClassRepair:
		return Repair
	case trace.ClassMember:
		return Member
	}
	return Other
}
