package devnet

import (
	"slices"
	"testing"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestFloorLeavesOutTheDead: the least way of a block leads over nodes that ran as it was sealed, of one
// that came back over it again. All hops of the ring take the same.
func TestFloorLeavesOutTheDead(t *testing.T) {
	s := virtualSpec(5, 1, "uniform:50ms:0ms")
	s.Resolve()
	cfg, err := s.LinkConfig(1)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(b byte, at int64) trace.Event {
		return trace.Event{At: at, Kind: trace.BlockSealed, Hash: [32]byte{b}}
	}
	nodes := make([]recorder.Node, 5)
	nodes[0].Events = []trace.Event{seal('a', 100), seal('b', 200), seal('c', 300), seal('d', 400)}
	nodes[1].Lives = []recorder.Span{{From: 0, To: 150}, {From: 250, To: 1000}}
	nodes[4].Lives = []recorder.Span{{From: 0, To: 350}}
	ring := topology.Graph{{1, 4}, {0, 2}, {1, 3}, {2, 4}, {3, 0}}
	floors := floorsOf(cfg, 0, ring, nodes)
	hop := floors[[32]byte{'a'}].Direct[2]
	for block, want := range map[byte][]float64{
		'a': {0, 1, 2, 2, 1},
		'b': {0, 1, 3, 2, 1}, // 1 is down: its own way is the direct one
		'c': {0, 1, 2, 2, 1},
		'd': {0, 1, 2, 3, 1},
	} {
		var got []float64
		for _, ms := range floors[[32]byte{block}].Over {
			got = append(got, ms/hop)
		}
		if got[0] = 0; !slices.Equal(got, want) {
			t.Errorf("block %c: floors of %v hops, want %v", block, got, want)
		}
	}
}
