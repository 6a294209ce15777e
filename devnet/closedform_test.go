package devnet

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/stats"
)

// observe runs one seed of an experiment and joins what its nodes recorded.
func observe(t testing.TB, s experiment.Spec, run engine) *recorder.Run {
	t.Helper()
	s.Resolve()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	seen, err := run(context.Background(), s, s.Seeds[0], newProgress(nil))
	if err != nil {
		t.Fatal(err)
	}
	record, err := recorder.Join(seen.input)
	if err != nil {
		t.Fatal(err)
	}
	if err := fit(s, seen, record); err != nil {
		t.Fatal(err)
	}
	return record
}

// TestClosedForm: over links of one rate B and one delay d, without jitter, a block of S bytes over
// gossip arrives when the formula says. Gossip takes a block whole before it passes it on, so each
// hop costs S/B + d; and who sends to k peers at once shares its uplink among them and has served
// the last after k S/B. Slots are so long that transactions take less than 2 % of any uplink.
func TestClosedForm(t *testing.T) {
	for _, c := range []struct {
		topology string
		nodes    int
		size     experiment.Bytes
		slot     time.Duration
		warmup   int // blocks until the window of every connection is open both ways
		classes  func(m *recorder.Message, n int, serial float64) []measured
	}{
		{"line", 5, 128 << 10, 10 * time.Second, 15, onLine}, {"line", 3, 1 << 20, time.Minute, 3, onLine},
		{"star", 4, 128 << 10, 30 * time.Second, 24, onStar}, {"star", 4, 1 << 20, time.Minute, 4, onStar},
	} {
		t.Run(fmt.Sprintf("%s/n=%d/size=%s", c.topology, c.nodes, c.size), func(t *testing.T) {
			s := virtualSpec(c.nodes, 2*c.nodes, "uniform:50ms:0ms")
			s.Net.Topology, s.Net.Relay, s.Chain.BlockSize, s.Chain.Slot = c.topology, "gossip", c.size, experiment.Duration(c.slot)
			s.Load.Warmup = c.warmup
			ratios := map[string][]float64{}
			for _, m := range observe(t, s, virtualEngine("")).Blocks {
				for _, x := range c.classes(m, c.nodes, float64(m.Size)*8/50e6*1e3) {
					ratios[x.class] = append(ratios[x.class], x.took/x.formula)
				}
			}
			if len(ratios) != 3 {
				t.Errorf("%d classes of deliveries, want 3", len(ratios))
			}
			for class, r := range ratios {
				slices.Sort(r)
				median := stats.Percentile(r, .5)
				t.Logf("%s: measured / formula %.4f, of %d from %.4f to %.4f", class, median, len(r), r[0], r[len(r)-1])
				if math.Abs(median-1) > .02 {
					t.Errorf("%s: measured / formula = %.4f, want 1 within 2 %%", class, median)
				}
			}
		})
	}
}

// measured is a latency beside what the formula says, in milliseconds.
type measured struct {
	class         string
	took, formula float64
}

const formDelay = 50.0 // ms, d

// onLine: an end serves one peer, one in the middle two; each hop after the first costs the same.
func onLine(m *recorder.Message, n int, serial float64) (out []measured) {
	at := func(i int) float64 {
		if i == m.Origin {
			return 0
		}
		return m.At(i).Latency
	}
	switch o := m.Origin; o {
	case 0:
		out = append(out, measured{"first hop from an end", at(1), serial + formDelay})
	case n - 1:
		out = append(out, measured{"first hop from an end", at(n - 2), serial + formDelay})
	default:
		out = append(out, measured{"first hop from the middle, the later one", max(at(o-1), at(o+1)), 2*serial + formDelay})
	}
	for i := range n {
		if way := i - m.Origin; way > 1 {
			out = append(out, measured{"each further hop", at(i) - at(i-1), serial + formDelay})
		} else if way < -1 {
			out = append(out, measured{"each further hop", at(i) - at(i+1), serial + formDelay})
		}
	}
	return out
}

// onStar: the hub serves all leaves at once, but not the one it has the block from.
func onStar(m *recorder.Message, n int, serial float64) []measured {
	last := slices.Max(m.Latencies())
	if m.Origin == 0 {
		return []measured{{"hub to its last leaf", last, float64(n-1)*serial + formDelay}}
	}
	hub := m.At(0).Latency
	return []measured{{"leaf to hub", hub, serial + formDelay}, {"leaf to the last leaf", last, float64(n-1)*serial + 2*formDelay}}
}
