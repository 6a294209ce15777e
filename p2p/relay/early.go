package relay

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// early keeps frames about blocks that are not announced yet: a chunk may overtake
// the announcement, which another stream carries. A peer that fills its share
// loses the rest of its frames, nobody else's; what is lost is asked for later. Chunks
// that are lost, or whose announcement does not come, are acknowledged all the same.
type early struct {
	by    map[peer.ID]int // bytes kept for a peer
	order []earlyFrame    // oldest first
	bytes int
}

type earlyFrame struct {
	from  peer.ID
	frame *frame
	at    time.Time
}

const (
	earlyBytes   = 4 << 20
	earlyTime    = 2 * time.Second // longer than any announcement lags behind its chunks
	earlyPerPeer = 256 << 10       // what a fast peer sends in the time an announcement may lag
	frameCost    = 256             // bytes of bookkeeping, so that empty frames are bounded too
)

func newEarly() early { return early{by: make(map[peer.ID]int)} }

func (f *frame) cost() int {
	return frameCost + len(f.bytes) + 8*(len(f.acks)+len(f.held)+len(f.asked))
}

// add keeps a frame, if its peer has room.
func (s *early) add(from peer.ID, f *frame, now time.Time) bool {
	cost := f.cost()
	if f.kind == frameTxs || s.by[from]+cost > earlyPerPeer { // transactions come only to who asked
		return false
	}
	s.order = append(s.order, earlyFrame{from, f, now})
	s.by[from] += cost
	s.bytes += cost
	return true
}

// clear takes off what is too old, and the oldest of what is too much.
func (s *early) clear(now time.Time) (off []earlyFrame) {
	n := 0
	for ; n < len(s.order) && (s.bytes > earlyBytes || now.Sub(s.order[n].at) > earlyTime); n++ {
		off = append(off, s.order[n])
		s.paid(s.order[n])
	}
	s.order = slices.Delete(s.order, 0, n)
	return off
}

// take returns the frames of a block, in the order they came.
func (s *early) take(t tag) (out []earlyFrame) {
	s.order = slices.DeleteFunc(s.order, func(f earlyFrame) bool {
		if f.frame.tag != t {
			return false
		}
		out = append(out, f)
		s.paid(f)
		return true
	})
	return out
}

// paid takes a frame's bytes out of the sums.
func (s *early) paid(f earlyFrame) {
	cost := f.frame.cost()
	s.bytes -= cost
	if s.by[f.from] -= cost; s.by[f.from] == 0 {
		delete(s.by, f.from)
	}
}
