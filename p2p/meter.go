package p2p

import (
	"sync/atomic"

	"github.com/pheme-net/pheme/p2p/trace"
)

// numDrops is one more than the largest drop reason of package trace.
const numDrops = trace.DropMembersFull + 1

// dropNames are the reasons as Stats shows them, by the drop reasons of trace.
var dropNames = [numDrops]string{
	"", "outbound queue full", "validation queue full", "validation throttled", "not delivered",
	"oversized", "hold full", "import queue full", "write failed", "membership queue full",
}

// The topics as the meter counts them.
const (
	topicBlock = iota
	topicTx
	numTopics
)

var topicNames = [numTopics]string{"block", "tx"}

// meter holds the counters of a Net. All of it is atomic.
type meter struct {
	withheld     atomic.Uint64
	sessions     atomic.Uint64 // of repair
	gained       atomic.Uint64 // transactions, by them
	moved        atomic.Uint64 // bytes, by them
	in, out, dup [trace.NumClasses]atomic.Uint64
	dropped      [numDrops]atomic.Uint64
	verdicts     [numTopics][numVerdicts]atomic.Uint64
}

// fill copies the counters into a snapshot.
func (m *meter) fill(s *Stats) {
	for c := range trace.NumClasses {
		s.In[c], s.Out[c], s.Duplicate[c] = m.in[c].Load(), m.out[c].Load(), m.dup[c].Load()
	}
	s.Repair = RepairStats{Sessions: m.sessions.Load(), Gained: m.gained.Load(), Bytes: m.moved.Load()}
	s.Dropped = make(map[string]uint64)
	for r := range m.dropped {
		if n := m.dropped[r].Load(); n > 0 {
			s.Dropped[dropNames[r]] = n
		}
	}
	s.Verdicts = make(map[string]map[string]uint64)
	for t := range m.verdicts {
		by := make(map[string]uint64)
		for v := range m.verdicts[t] {
			by[Verdict(v).String()] = m.verdicts[t][v].Load()
		}
		s.Verdicts[topicNames[t]] = by
	}
}
