package relay

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
)

// numbers are what peers are called in swarms. A peer keeps its number when its link ends, and
// with it what it was given: otherwise who ends it gets everything again.
type numbers struct {
	by    map[peer.ID]int
	order []peer.ID // oldest first
	next  int
}

// maxNumbers bounds them: so many other peers must come before one is forgotten.
const maxNumbers = 4 * maxLinks

func newNumbers() numbers { return numbers{by: make(map[peer.ID]int)} }

// of returns the number of a peer. Where there are too many the oldest that is not kept is
// off; -1: none is.
func (n *numbers) of(p peer.ID, kept func(peer.ID) bool) (number, off int) {
	if i, have := n.by[p]; have {
		return i, -1
	}
	off = -1
	if len(n.order) >= maxNumbers {
		if i := slices.IndexFunc(n.order, func(o peer.ID) bool { return !kept(o) }); i >= 0 {
			off = n.by[n.order[i]]
			delete(n.by, n.order[i])
			n.order = slices.Delete(n.order, i, i+1)
		}
	}
	n.by[p] = n.next
	n.order = append(n.order, p)
	n.next++
	return n.next - 1, off
}

// number is what a peer is called in swarms. The mutex is held.
func (e *engine) number(p peer.ID) int {
	number, off := e.numbers.of(p, func(o peer.ID) bool { return e.links[o] != nil })
	if off >= 0 {
		for _, t := range e.order {
			delete(t.swarm.views, off)
			delete(t.parked, off)
		}
	}
	return number
}

// leave forgets a peer, but for what it was given. The engine's mutex is held.
func (t *transfer) leave(slot int) {
	t.swarm.leave(slot)
	delete(t.news, slot)
	delete(t.knows, slot)
	if q := t.parked[slot]; q != nil {
		q.open = nil
	}
}
