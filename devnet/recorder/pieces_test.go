package recorder

import (
	"math"
	"slices"
	"testing"

	"github.com/pheme-net/pheme/p2p/trace"
)

// chunk records how a chunk of a block went from one node to another.
func (s *net) chunk(b byte, number, from, to int, begun, written, read float64) {
	e := trace.Event{Class: trace.ClassRelay, Hash: id(b), Size: 210, Peer: tag(to), Aux: trace.PieceAux(ms(written-begun), number)}
	s.on(from, written, trace.MsgWritten, e)
	e.Peer, e.Aux = tag(from), trace.PieceAux(ms(0.5), number)
	s.on(to, read, trace.MsgRead, e)
}

// announce records the way of an announcement.
func (s *net) announce(b byte, from, to int, queued, begun, written, read float64) {
	e := trace.Event{Class: trace.ClassBlock, Hash: id(b), Size: 100, Peer: tag(to)}
	s.on(from, queued, trace.MsgQueued, e)
	e.Aux = ms(written - begun)
	s.on(from, written, trace.MsgWritten, e)
	e.Peer, e.Aux = tag(from), ms(0.5)
	s.on(to, read, trace.MsgRead, e)
}

func (s *net) got(b byte, from, to int, path int64, received, accepted float64) {
	e := trace.Event{Hash: id(b), Peer: tag(from), Size: 1000, Aux: trace.PathAux(path, 2)}
	s.on(to, received, trace.BlockReceived, e)
	s.on(to, accepted, trace.BlockAccepted, e)
}

// swarmed is a block of two chunks sealed by node 0 at 1,010 ms. Node 1 passes chunk 0 on to node 2
// before it has chunk 1 itself, so that node 2 is complete before it; node 3 has what it needs of node
// 2 once that is complete, a chunk that node 2 never got; node 4 has the block from its pool but for
// one answer of node 1; node 5 hears of it whole from node 1.
func swarmed() *net {
	s := script(6)
	s.on(0, 1010, trace.BlockSealed, trace.Event{Hash: id('B'), Size: 1000, Aux: 7})
	for i, to := range []int{1, 2, 4} {
		s.announce('B', 0, to, 1011, 1011+float64(i), 1012+float64(i), 1022+float64(i))
	}
	s.announce('B', 2, 3, 1024, 1024, 1025, 1035)
	s.chunk('B', 0, 0, 1, 1012, 1016, 1027)
	s.chunk('B', 1, 0, 2, 1016, 1020, 1031)
	s.chunk('B', 0, 1, 2, 1028, 1032, 1043)
	s.got('B', 1, 2, trace.PathChunks, 1044, 1045)
	s.chunk('B', 1, 0, 1, 1020, 1040, 1051)
	s.chunk('B', 1, 2, 1, 1033, 1052, 1060) // again
	s.got('B', 0, 1, trace.PathChunks, 1052, 1053)
	s.chunk('B', 0, 2, 3, 1044, 1048, 1059)
	s.chunk('B', 2, 2, 3, 1048, 1052, 1063)
	s.got('B', 2, 3, trace.PathChunks, 1064, 1065)
	s.chunk('B', trace.PieceAnswers, 1, 4, 1060, 1061, 1071)
	s.got('B', 1, 4, trace.PathCompact, 1072, 1074)
	s.hop('B', 1, 5, 1054, 1055, 1060, 1070, 1071, 1073)
	return s
}

// TestWayOfPieces: the time is split along the piece that completed the block and those that let it be
// sent, on which a sender may be complete later than who got it from it. No part is negative, and they
// add up to the latency.
func TestWayOfPieces(t *testing.T) {
	b := join1(t, swarmed().in).Blocks[0]
	for node, want := range map[int][]Step{
		1: {{0, 1, 0, Stages{10, 0, 20, 11, 2}}},
		2: {{0, 1, 0, Stages{2, 0, 4, 11, 0}}, {1, 2, 17, Stages{1, 0, 4, 11, 2}}},
		3: {{0, 1, 0, Stages{2, 0, 4, 11, 0}}, {1, 2, 17, Stages{1, 0, 4, 11, 0}}, {2, 3, 33, Stages{5, 0, 4, 11, 2}}},
		4: {{0, 1, 0, Stages{1, 0, 1, 10, 0}}, {1, 4, 12, Stages{38, 0, 1, 10, 3}}},
	} {
		d := b.At(node)
		if !slices.Equal(d.Steps, want) {
			t.Errorf("node %d: steps %v, want %v", node, d.Steps, want)
		}
		if split, ok := b.Split(node); !ok || split != d.Hop || math.Abs(split.Total()-d.Latency) > 1e-9 {
			t.Errorf("node %d: split %v, %v: together %v, the latency is %v", node, split, ok, split.Total(), d.Latency)
		}
	}
	// What a complete node sends on whole goes on from there.
	way := b.Way(5)
	if split, ok := b.Split(5); !ok || len(way) != 2 || way[0].Node != 1 || way[1].Start != b.At(1).Latency || math.Abs(split.Total()-b.At(5).Latency) > 1e-9 {
		t.Errorf("node 5: way %v, split %v, %v", way, split, ok)
	}
	if hops := b.At(5).Hops; hops != 3 {
		t.Errorf("node 5 is %d hops away, want the two of node 1's pieces and one", hops)
	}
}

// TestHopsOfPools: a block put together from a pool carries no count, so the steps of its way are the
// hops, for the node and for who has it whole from there.
func TestHopsOfPools(t *testing.T) {
	s := script(4)
	s.on(0, 1010, trace.BlockSealed, trace.Event{Hash: id('B'), Size: 1000, Aux: 7})
	for from, at := range []float64{1011, 1024} {
		s.announce('B', from, from+1, at, at, at+1, at+10)
		e := trace.Event{Hash: id('B'), Peer: tag(from), Size: 1000, Aux: trace.PathAux(trace.PathCompact, 0)}
		s.on(from+1, at+11, trace.BlockReceived, e)
		s.on(from+1, at+12, trace.BlockAccepted, e)
	}
	s.hop('B', 2, 3, 1037, 1038, 1039, 1049, 1050, 1051)
	b := join1(t, s.in).Blocks[0]
	for node := 1; node < 4; node++ {
		if hops := b.At(node).Hops; hops != node {
			t.Errorf("node %d is %d hops away, want %d", node, hops, node)
		}
	}
}

// TestWayOfPiecesWithoutRecords: what is not recorded was waiting, and the sum holds.
func TestWayOfPiecesWithoutRecords(t *testing.T) {
	s := swarmed()
	for i := range s.in.Nodes {
		s.in.Nodes[i].Events = slices.DeleteFunc(s.in.Nodes[i].Events, func(e trace.Event) bool {
			return e.Kind == trace.MsgWritten && i == 1 || e.Kind == trace.MsgRead && i == 3
		})
	}
	b := join1(t, s.in).Blocks[0]
	for node := 1; node < 5; node++ {
		d := b.At(node)
		if split, ok := b.Split(node); !ok || math.Abs(split.Total()-d.Latency) > 1e-9 || slices.Min(split[:]) < 0 {
			t.Errorf("node %d: split %v, %v, the latency is %v", node, split, ok, d.Latency)
		}
	}
	if d := b.At(3); len(d.Steps) != 1 || d.Steps[0].Parts != (Stages{54, 0, 0, 0, 1}) {
		t.Errorf("node 3 without records: %v", d.Steps)
	}
}
