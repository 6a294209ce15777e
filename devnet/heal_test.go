package devnet

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/p2p/trace"
)

// healing is what a heal looked like from inside the bubble.
type healing struct {
	run     *virtualRun
	known   map[common.Hash]int // bytes of what anybody had pooled when the cut ended
	lacking int                 // bytes of known that nodes lacked then, over all nodes
	apart   int                 // different heads then
	before  uint64              // bytes of repair received by all nodes until then
	took    time.Duration       // until heads, roots and pools agreed; 0: never
	repair  uint64              // bytes of repair received meanwhile
	pooled  int                 // of known, pooled everywhere at the end
}

func (h *healing) repaired() (sum uint64) {
	for _, m := range h.run.members {
		sum += m.node.Network().In[trace.ClassRepair]
	}
	return sum
}

// begin looks at the network in the moment the cut ends.
func (h *healing) begin() {
	h.known = make(map[common.Hash]int)
	heads := make(map[common.Hash]bool)
	for _, m := range h.run.members {
		heads[m.chain.HeadID()] = true
		for _, tx := range m.pool.All() {
			h.known[tx.Hash()] = tx.Size()
		}
	}
	h.apart, h.before = len(heads), h.repaired()
	for _, m := range h.run.members {
		for hash, size := range h.known {
			if _, _, placed := m.chain.Lookup(hash); !placed && m.pool.Get(hash) == nil {
				h.lacking += size
			}
		}
	}
}

// agreed tells whether all have one head, one root and, of what was known at the
// heal, one pool.
func (h *healing) agreed() bool {
	first := h.run.members[0]
	head, root := first.chain.HeadID(), first.chain.State().Root()
	for _, m := range h.run.members {
		if m.chain.HeadID() != head || m.chain.State().Root() != root {
			return false
		}
	}
	h.pooled = 0
	for hash := range h.known {
		have := first.pool.Get(hash) != nil
		for _, m := range h.run.members {
			if (m.pool.Get(hash) != nil) != have {
				return false
			}
		}
		if have {
			h.pooled++
		}
	}
	return true
}

// watch looks every 20 ms, for half a minute.
func (h *healing) watch(ctx context.Context) error {
	h.begin()
	start := time.Now()
	for time.Since(start) < 30*time.Second {
		if err := until(ctx, time.Now().Add(20*time.Millisecond)); err != nil {
			return err
		}
		if h.agreed() {
			h.took, h.repair = time.Since(start), h.repaired()-h.before
			break
		}
	}
	return nil
}

// healed runs nodes under a load of twice what their blocks hold, cuts them into
// halves for a while and watches the heal.
func healed(t testing.TB, nodes int, cut time.Duration, rate float64) *healing {
	t.Helper()
	at := 3 * time.Second
	s := experiment.Spec{Engine: "virtual", Seeds: []int64{1}}
	s.Net.Nodes, s.Net.Latency, s.Load.Blocks = nodes, "world", int((at+cut)/time.Second)+15
	s.Load.TxSize, s.Load.TxRate = 512, rate
	s.Chain.BlockSize = max(4<<10, experiment.Bytes(rate*512/2))
	s.Fault = []experiment.Fault{{At: experiment.Duration(at), For: experiment.Duration(cut), Partition: []experiment.Nodes{experiment.Nodes(fmt.Sprintf("0-%d", nodes/2-1))}}}
	s.Resolve()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	h := &healing{}
	last := fmt.Sprintf("counted slot %d of", int((at+cut)/time.Second)+1)
	r, err := newVirtualRun(virtualTask{Spec: s, Seed: 1, Dir: t.TempDir()}, func(format string, args ...any) {
		if strings.Contains(fmt.Sprintf(format, args...), last) {
			h.run.running.Go(func() error { return h.watch(h.run.nodes) }) // it ends before the load does
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	h.run = r
	if _, err := r.run(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *healing) report(t testing.TB) {
	t.Helper()
	t.Logf("%d heads at the heal, %d transactions pooled somewhere; agreed after %v, %d of them pooled everywhere; %d bytes of repair for %d of difference",
		h.apart, len(h.known), h.took, h.pooled, h.repair, h.lacking)
}

// TestPoolsAgreeAfterAHeal: nothing published during a partition is missing
// anywhere soon after it, and repair moves little more than the difference.
func TestPoolsAgreeAfterAHeal(t *testing.T) {
	h := healed(t, 8, 15*time.Second, 12)
	h.report(t)
	if h.apart < 2 || h.lacking == 0 {
		t.Fatal("the halves did not part")
	}
	if h.took == 0 || h.took > 10*time.Second {
		t.Errorf("agreed after %v, want at most 10s", h.took)
	}
	if limit := uint64(2*h.lacking + 8*healConstant); h.repair > limit {
		t.Errorf("%d bytes of repair, want at most %d", h.repair, limit)
	}
}

// healConstant is what a node's repair costs in the time of a heal whatever the
// difference: sessions with each neighbour and in ten seconds of rounds, with
// sketches of what is under way at that moment.
const healConstant = 16 << 10

// BenchmarkHeal is the heal of fifty nodes after a minute apart.
func BenchmarkHeal(b *testing.B) {
	for b.Loop() {
		h := healed(b, 50, time.Minute, 16)
		h.report(b)
		b.ReportMetric(h.took.Seconds(), "s-to-agree")
		b.ReportMetric(float64(h.repair)/float64(h.lacking), "repair/difference")
	}
}
