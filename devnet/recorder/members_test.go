package recorder

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/pheme-net/pheme/p2p/trace"
)

// TestPeers: what is connected as the window ends counts, in the life that a node is in.
func TestPeers(t *testing.T) {
	up, down := trace.PeerUp, trace.PeerDown
	run, err := Join(Input{Window: Span{0, 100}, Horizon: time.Second, Slot: 100, Nodes: []Node{
		{Tag: 1, Events: []trace.Event{{At: -5, Kind: up, Peer: 2}, {At: 1, Kind: up, Peer: 3}, {At: 2, Kind: down, Peer: 3}, {At: 200, Kind: down, Peer: 2}}},
		{Tag: 2, Events: []trace.Event{{At: -5, Kind: up, Peer: 1}, {At: 60, Kind: up, Peer: 3}}, Lives: []Span{{-100, 40}, {50, 1000}}},
		{Tag: 3, Up: []Span{{-100, 50}}},
	}})
	if err != nil || !reflect.DeepEqual(run.Peers, []int{1, 1}) {
		t.Errorf("peers %v, %v, want one each of the two that are up", run.Peers, err)
	}
}

// TestMembers: four nodes, of which n3 crashes at 1 s and is back at 9 s, and n2 is once taken for dead while it runs.
func TestMembers(t *testing.T) {
	const s = int64(time.Second)
	say := func(at int64, kind trace.Kind, of uint64) trace.Event {
		return trace.Event{At: at, Kind: kind, Peer: of}
	}
	in := Input{
		Window: Span{0, 30 * s}, Horizon: 10 * time.Second, Slot: time.Second,
		Nodes: []Node{
			{Tag: 1, Events: []trace.Event{
				say(s+s/2, trace.MemberSuspect, 4), say(2*s, trace.MemberDead, 4), say(9*s+s/10, trace.MemberAlive, 4),
				say(20*s, trace.MemberSuspect, 3), say(21*s, trace.MemberDead, 3),
			}},
			{Tag: 2, Events: []trace.Event{say(3*s, trace.MemberDead, 4), say(9*s+s/5, trace.MemberAlive, 4)}},
			// It missed the crash, and tells of it when n3 is back.
			{Tag: 3, Events: []trace.Event{say(9*s+s/4, trace.MemberDead, 4)}},
			{Tag: 4, Lives: []Span{{-100 * s, s}, {9 * s, 100 * s}}},
		},
	}
	run, err := Join(in)
	if err != nil {
		t.Fatal(err)
	}
	want := Members{
		Crashes: []Crash{{Node: 3, At: s, Suspect: 500, Dead: []float64{1000, 2000, math.Inf(1)}}},
		Rejoins: []Rejoin{{Node: 3, At: 9 * s, Alive: []float64{100, 200}}},
		False:   1, Suspicions: 2, Hours: (3*30 + 1 + 21) / 3600.0,
	}
	if !reflect.DeepEqual(run.Members, want) {
		t.Errorf("members %+v, want %+v", run.Members, want)
	}
}
