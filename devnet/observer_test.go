package devnet

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/bubble"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/stats"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestObserverEffectInVirtualTime: with the probe off, blocks become heads at the same instants. Both
// runs are watched from outside the probe, through the chain's own updates.
func TestObserverEffectInVirtualTime(t *testing.T) {
	s := virtualSpec(3, 6, "uniform:50ms:0ms") // a line without jitter: no dice that matter
	s.Net.Topology, s.Net.Relay, s.Chain.Slot, s.Load.Warmup = "line", "gossip", experiment.Duration(4*time.Second), 9
	s.Resolve()
	on, events := watchHeads(t, s, func(m *member) trace.Hook { return m.record })
	off, none := watchHeads(t, s, func(*member) trace.Hook { return nil })
	if events == 0 || none != 0 {
		t.Errorf("%d events with the probe on and %d with it off, want some and none", events, none)
	}
	if len(on) == 0 || len(on) != len(off) {
		t.Fatalf("%d heads with the probe on, %d with it off", len(on), len(off))
	}
	for _, q := range []float64{.5, .95} {
		a, b := stats.Percentile(on, q), stats.Percentile(off, q)
		t.Logf("slot to head, p%.0f: %.3f ms with the probe, %.3f ms without: %+.3f %%", 100*q, a, b, 100*(a/b-1))
		if math.Abs(a/b-1) > .01 {
			t.Errorf("p%.0f with the probe is %.3f ms, without %.3f: more than 1 %% apart", 100*q, a, b)
		}
	}
}

// watchHeads runs an experiment in virtual time and returns how many milliseconds after its slot
// each counted block became the head of each node, sorted, and the number of events recorded.
func watchHeads(t *testing.T, s experiment.Spec, probe func(*member) trace.Hook) (heads []float64, events int) {
	t.Helper()
	r, err := newVirtualRun(virtualTask{Spec: s, Seed: 1, Dir: t.TempDir()}, func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64][]float64{} // by slot
	err = bubble.Run(func() error {
		var mu sync.Mutex
		var watching sync.WaitGroup
		done := make(chan struct{})
		r.probe = func(m *member) trace.Hook {
			updates, stop := m.chain.Watch(16)
			watching.Go(func() {
				defer stop()
				for {
					select {
					case <-done:
						return
					case u := <-updates:
						slot := chain.SlotOf(u.Head)
						mu.Lock()
						seen[slot] = append(seen[slot], milliseconds(time.Since(r.genesis.SlotStart(slot))))
						mu.Unlock()
					}
				}
			})
			return probe(m)
		}
		sight, err := r.inside()
		close(done)
		watching.Wait()
		if err == nil {
			for _, n := range sight.Input.Nodes {
				events += len(n.Events)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Slots() {
		heads = append(heads, seen[r.first+uint64(s.Load.Warmup+i)]...)
	}
	slices.Sort(heads)
	return heads, events
}
