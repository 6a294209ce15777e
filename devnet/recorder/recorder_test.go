package recorder

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pheme-net/pheme/p2p/trace"
)

// tag is the trace tag of node i.
func tag(i int) uint64 { return uint64(1000 + i) }

func id(b byte) (h [32]byte) { h[0] = b; return h }

// net is a scripted run: on(i, ms, ...) records an event of node i.
type net struct{ in Input }

func script(n int) *net {
	s := &net{Input{
		Nodes:  make([]Node, n),
		Window: Span{From: ms(1000), To: ms(3000)}, Horizon: 10 * time.Second, Slot: time.Second,
	}}
	for i := range s.in.Nodes {
		s.in.Nodes[i] = Node{Name: string(rune('a' + i)), Tag: tag(i)}
	}
	return s
}

func ms(v float64) int64 { return int64(v * 1e6) }

func (s *net) on(node int, at float64, k trace.Kind, e trace.Event) {
	e.At, e.Kind = ms(at), k
	s.in.Nodes[node].Events = append(s.in.Nodes[node].Events, e)
}

// hop records how a block came from one node to another, with the moments of its last hop.
func (s *net) hop(b byte, from, to int, queued, begun, written, read, received, accepted float64) {
	e := trace.Event{Class: trace.ClassBlock, Hash: id(b), Size: 1010}
	if from < len(s.in.Nodes) {
		e.Peer = tag(to)
		s.on(from, queued, trace.MsgQueued, e)
		e.Aux = ms(written - begun)
		s.on(from, written, trace.MsgWritten, e)
	}
	e.Peer, e.Aux = tag(from), ms(read-begun)
	s.on(to, read, trace.MsgRead, e)
	e = trace.Event{Hash: id(b), Peer: tag(from), Size: 1000, Aux: trace.PathGossip}
	s.on(to, received, trace.BlockReceived, e)
	s.on(to, accepted, trace.BlockAccepted, e)
	s.on(to, accepted+5, trace.BlockImported, trace.Event{Hash: id(b), Size: 1000, Aux: 7})
}

// diamond is one block of 1,000 bytes sealed by node 0 at 1,010 ms:
//
//	0 -> 1 (accepted at 1,030) -> 3 (1,060)
//	0 -> 2 (1,040), which gets it from 1 again, and 300 bytes of it from 3; 4 never gets it.
func diamond() *net {
	s := script(5)
	s.on(0, 1010, trace.BlockSealed, trace.Event{Hash: id('B'), Size: 1000, Aux: 7})
	s.hop('B', 0, 1, 1012, 1013, 1020, 1025, 1026, 1030)
	s.hop('B', 0, 2, 1012, 1021, 1029, 1034, 1035, 1040)
	s.hop('B', 1, 3, 1031, 1031, 1045, 1052, 1053, 1060)
	s.on(2, 1050, trace.MsgRead, trace.Event{Class: trace.ClassBlock, Hash: id('B'), Peer: tag(1), Size: 1010})
	s.on(2, 1050, trace.CopyDuplicate, trace.Event{Class: trace.ClassBlock, Hash: id('B'), Peer: tag(1), Size: 1000})
	s.on(3, 1070, trace.MsgDropped, trace.Event{Class: trace.ClassBlock, Hash: id('B'), Peer: tag(2), Size: 1010, Aux: trace.DropWriteFailed})
	s.on(2, 1075, trace.MsgRead, trace.Event{Class: trace.ClassBlock, Peer: tag(3), Size: 300})
	return s
}

func join1(t *testing.T, in Input) *Run {
	t.Helper()
	run, err := Join(in)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestJoinDiamond(t *testing.T) {
	run := join1(t, diamond().in)
	if len(run.Blocks) != 1 || len(run.Txs) != 0 || len(run.Early) != 0 {
		t.Fatalf("%d blocks, %d transactions, %d early: want 1, 0, 0", len(run.Blocks), len(run.Txs), len(run.Early))
	}
	b := run.Blocks[0]
	if b.Origin != 0 || b.Size != 1000 || b.Number != 7 || b.Reached() != 3 || len(b.Deliveries) != 4 {
		t.Fatalf("block %+v: want origin 0, 1000 bytes, number 7, three of four reached", b)
	}
	inf := math.Inf(1)
	if got, want := b.Latencies(), []float64{20, 30, 50, inf}; !slices.Equal(got, want) {
		t.Errorf("latencies %v, want %v: the origin is left out, the lost one is inf", got, want)
	}
	for node, want := range map[int]Delivery{
		1: {Node: 1, Latency: 20, Import: 25, Parent: 0, Hops: 1, First: 1000, Again: 10, Hop: Stages{2, 1, 7, 5, 5}},
		2: {Node: 2, Latency: 30, Import: 35, Parent: 0, Hops: 1, First: 1000, Again: 1020 + 300, Hop: Stages{2, 9, 8, 5, 6}},
		3: {Node: 3, Latency: 50, Import: 55, Parent: 1, Hops: 2, First: 1000, Again: 10, Hop: Stages{1, 0, 14, 7, 8}},
		4: {Node: 4, Latency: inf, Import: inf, Parent: -1},
	} {
		if got := b.At(node); !reflect.DeepEqual(*got, want) {
			t.Errorf("node %d: %+v, want %+v", node, *got, want)
		}
	}
	if b.At(0) != nil {
		t.Error("the origin has a delivery of its own block")
	}
	if b.Wire != 4*1010+300 {
		t.Errorf("%v bytes on the wire, want four messages of 1010 and a part", b.Wire)
	}
}

func TestSplitAddsUpToTheLatency(t *testing.T) {
	b := join1(t, diamond().in).Blocks[0]
	split, ok := b.Split(3)
	if want := (Stages{3, 1, 21, 12, 13}); !ok || split != want {
		t.Fatalf("split at node 3 = %v, %v, want %v", split, ok, want)
	}
	if split.Total() != b.At(3).Latency {
		t.Errorf("the parts make %v, the latency is %v", split.Total(), b.At(3).Latency)
	}
	if _, ok := b.Split(4); ok {
		t.Error("an undelivered block has a split")
	}
}

func TestCut(t *testing.T) {
	full := hopMarks{queued: ms(12), begun: ms(13), written: ms(20), read: ms(25)}
	tests := []struct {
		name string
		v    sighting
		want Stages
	}{
		{"all marks", sighting{received: ms(26), accepted: ms(30), hop: full}, Stages{2, 1, 7, 5, 5}},
		{"no marks: received bounds the wait", sighting{received: ms(26), accepted: ms(30)}, Stages{16, 0, 0, 0, 4}},
		{"write not seen", sighting{received: ms(26), accepted: ms(30), hop: hopMarks{queued: ms(12), read: ms(25)}}, Stages{2, 13, 0, 0, 5}},
		{"writer's stamp is late: it had written what was read",
			sighting{received: ms(26), accepted: ms(30), hop: hopMarks{queued: ms(12), begun: ms(13), written: ms(40), read: ms(25)}}, Stages{2, 1, 12, 0, 5}},
		{"queued before the sender was ready", sighting{received: ms(26), accepted: ms(30), hop: hopMarks{queued: ms(4), begun: ms(13), written: ms(20), read: ms(25)}}, Stages{0, 3, 7, 5, 5}},
		{"whole before the frame ended", sighting{received: ms(22), accepted: ms(30), hop: full}, Stages{2, 1, 7, 2, 8}},
		{"held for its parent", sighting{received: ms(26), accepted: ms(90), path: trace.PathHeld, hop: full}, Stages{67, 1, 7, 5, 0}},
		{"fetched", sighting{received: ms(70), accepted: ms(90), path: trace.PathFetch, hop: full}, Stages{60, 0, 0, 0, 20}},
		{"accepted before the sender itself: the sum still holds", sighting{received: ms(5), accepted: ms(8), hop: full}, Stages{-2}},
	}
	for _, tt := range tests {
		got := cut(ms(10), tt.v)
		if got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if total := float64(tt.v.accepted-ms(10)) / 1e6; math.Abs(got.Total()-total) > 1e-9 {
			t.Errorf("%s: the parts make %v, the hop took %v", tt.name, got.Total(), total)
		}
	}
}

func TestWarmupNeverCounts(t *testing.T) {
	s := diamond()
	s.on(1, 999, trace.BlockSealed, trace.Event{Hash: id('W'), Size: 1000})
	s.on(1, 3000, trace.BlockSealed, trace.Event{Hash: id('L'), Size: 1000})
	s.on(1, 999, trace.TxSubmitted, trace.Event{Hash: id('w'), Size: 100})
	run := join1(t, s.in)
	if len(run.Blocks) != 1 || len(run.Txs) != 0 {
		t.Fatalf("%d blocks and %d transactions count, want the one block born in the window", len(run.Blocks), len(run.Txs))
	}
}

func TestPastTheHorizonIsNotDelivered(t *testing.T) {
	s := diamond()
	s.in.Horizon = 30 * time.Millisecond
	b := join1(t, s.in).Blocks[0]
	inf := math.Inf(1)
	if got, want := b.Latencies(), []float64{20, 30, inf, inf}; !slices.Equal(got, want) {
		t.Errorf("latencies %v, want %v: 50 ms is past the horizon of 30", got, want)
	}
	if d := b.At(2); !math.IsInf(d.Import, 1) {
		t.Errorf("import at node 2 = %v, want inf: it came at 35 ms", d.Import)
	}
	if d := b.At(3); d.Hops != 0 || d.Parent != -1 {
		t.Errorf("%+v: a late delivery has hops or a parent", d)
	}
}

func TestExpectedOnlyWhileUp(t *testing.T) {
	s := diamond()
	s.in.Nodes[4].Up = []Span{{From: ms(0), To: ms(5000)}}      // goes before the horizon
	s.in.Nodes[3].Up = []Span{{From: ms(1005), To: ms(20_000)}} // is there all the time
	s.in.Nodes[2].Up = []Span{{From: ms(1011), To: ms(20_000)}} // comes after the block was sealed
	b := join1(t, s.in).Blocks[0]
	if got, want := b.Latencies(), []float64{20, 50}; !slices.Equal(got, want) {
		t.Errorf("latencies %v, want %v: only nodes 1 and 3 were expected", got, want)
	}
}

func TestAcceptedBeforeReceivedIsFound(t *testing.T) {
	s := diamond()
	s.on(4, 1100, trace.BlockAccepted, trace.Event{Hash: id('B'), Peer: tag(3), Size: 1000}) // never received
	s.on(3, 999, trace.BlockSealed, trace.Event{Hash: id('W'), Size: 1000})                  // warm-up is watched too
	s.on(1, 1003, trace.BlockReceived, trace.Event{Hash: id('W'), Peer: tag(3)})
	s.on(1, 1002, trace.BlockAccepted, trace.Event{Hash: id('W'), Peer: tag(3)})
	run := join1(t, s.in)
	if want := []Early{{1, id('W')}, {4, id('B')}}; !slices.Equal(run.Early, want) {
		t.Errorf("early %v, want %v", run.Early, want)
	}
}

// A node that passed a block on and took the record of it along when it died leaves no time to split.
func TestNoSplitWithoutTheSendersRecord(t *testing.T) {
	s := diamond()
	s.in.Nodes[1].Events = nil
	b := join1(t, s.in).Blocks[0]
	if got := b.At(3); got.Hop != (Stages{}) || got.Latency != 50 || got.Parent != 1 || got.Hops != 0 {
		t.Errorf("node 3: %+v, want 50 ms from node 1 without stages", *got)
	}
	if _, ok := b.Split(3); ok {
		t.Error("a way that is not known whole has a split")
	}
}

func TestHopsNeedTheWholeWay(t *testing.T) {
	s := script(4)
	s.on(0, 1010, trace.BlockSealed, trace.Event{Hash: id('B'), Size: 1000})
	s.hop('B', 9, 1, 1012, 1013, 1020, 1025, 1026, 1030) // from a stranger
	s.hop('B', 1, 2, 1031, 1031, 1045, 1052, 1053, 1060)
	s.hop('B', 0, 3, 1012, 1013, 1020, 1025, 1026, 1030)
	b := join1(t, s.in).Blocks[0]
	for node, want := range map[int]int{1: 0, 2: 0, 3: 1} {
		if got := b.At(node).Hops; got != want {
			t.Errorf("hops at node %d = %d, want %d", node, got, want)
		}
	}
}

func TestTransactions(t *testing.T) {
	s := script(3)
	batchTag := id('T')
	for _, tx := range []struct {
		hash byte
		at   float64
		size uint32
	}{{'x', 1100, 300}, {'y', 1101, 100}} {
		s.on(1, tx.at, trace.TxSubmitted, trace.Event{Hash: id(tx.hash), Size: tx.size})
		s.on(1, tx.at+1, trace.TxAdmitted, trace.Event{Hash: id(tx.hash), Size: tx.size})
		s.on(1, tx.at+5, trace.TxPublished, trace.Event{Hash: id(tx.hash), Size: tx.size, Aux: trace.BatchAux(batchTag)})
	}
	for _, hash := range []byte{'x', 'y'} {
		s.on(0, 1120, trace.TxAdmitted, trace.Event{Hash: id(hash), Peer: tag(1), Size: 300})
		s.on(2, 1130, trace.TxAdmitted, trace.Event{Hash: id(hash), Peer: tag(0), Size: 300})
		s.on(2, 1500, trace.TxPlaced, trace.Event{Hash: id(hash), Aux: 8})
	}
	wire := trace.Event{Class: trace.ClassTx, Hash: batchTag, Size: 410}
	for node, from := range map[int]int{0: 1, 2: 0} {
		wire.Peer = tag(from)
		s.on(node, 1119, trace.MsgRead, wire)
	}
	s.on(2, 1140, trace.MsgRead, wire)
	s.on(2, 1140, trace.CopyDuplicate, trace.Event{Class: trace.ClassTx, Hash: batchTag, Peer: tag(1), Size: 400})

	run := join1(t, s.in)
	if len(run.Txs) != 2 {
		t.Fatalf("%d transactions, want 2", len(run.Txs))
	}
	x, y := run.Txs[0], run.Txs[1]
	if got, want := x.Latencies(), []float64{20, 30}; !slices.Equal(got, want) || x.Origin != 1 {
		t.Errorf("x from %d with latencies %v, want from 1 with %v", x.Origin, got, want)
	}
	if got := x.At(2); got.Hops != 2 || got.Again != 300 {
		t.Errorf("x at node 2: %+v, want two hops and 300 of the batch's 400 bytes again", *got)
	}
	if x.Admitted != ms(1101) || x.Published != ms(1105) || x.At(2).Import != 400 || !math.IsInf(x.At(0).Import, 1) {
		t.Errorf("x admitted %v, published %v, placed at node 2 after %v and at 0 after %v: want 1101, 1105, 400, inf", x.Admitted, x.Published, x.At(2).Import, x.At(0).Import)
	}
	if y.At(2).Again != 100 || x.Wire != 3*410*0.75 || x.Placed != ms(1500) {
		t.Errorf("y again %v, x wire %v placed %v: want 100, three quarters of 1230, 1500 ms", y.At(2).Again, x.Wire, x.Placed)
	}
}

// TestForeignTransactions: of transactions that are not ours, those count that were published when they were submitted.
func TestForeignTransactions(t *testing.T) {
	s := script(3)
	took := func(node int, at float64, tx byte, from uint64) {
		s.on(node, at, trace.TxAdmitted, trace.Event{Hash: id(tx), Size: 100, Peer: from})
	}
	for _, tx := range []byte("frtbp") {
		s.on(1, 1100, trace.TxSubmitted, trace.Event{Hash: id(tx), Size: 100})
	}
	took(1, 1101, 'f', 0) // fresh
	took(0, 1120, 'f', tag(1))
	took(2, 1130, 'f', tag(0))
	// r is refused; t is refused and comes from elsewhere
	took(1, 1150, 't', tag(2))
	took(2, 1140, 't', 77)
	took(0, 1050, 'b', 77) // sent before to one that we do not know
	took(1, 1101, 'b', 0)
	s.on(2, 1090, trace.TxPlaced, trace.Event{Hash: id('p')}) // in a block before
	took(1, 1101, 'p', 0)
	if run := join1(t, s.in); len(run.Txs) != 5 || run.Left != 0 {
		t.Errorf("of ours %d transactions count and %d do not, want 5 and 0: what was refused is counted elsewhere", len(run.Txs), run.Left)
	}
	s.in.Foreign = true
	run := join1(t, s.in)
	if len(run.Txs) != 1 || run.Txs[0].ID != id('f') || run.Left != 4 {
		t.Fatalf("%d transactions count and %d do not, want the first alone", len(run.Txs), run.Left)
	}
	if got, want := run.Txs[0].Latencies(), []float64{20, 30}; !slices.Equal(got, want) {
		t.Errorf("latencies %v, want %v", got, want)
	}
}

func TestLoadByKind(t *testing.T) {
	s := diamond()
	s.on(2, 900, trace.MsgRead, trace.Event{Class: trace.ClassControl, Size: 9999}) // before the window
	s.on(2, 2500, trace.MsgRead, trace.Event{Class: trace.ClassControl, Size: 40})
	s.on(2, 2500, trace.MsgWritten, trace.Event{Class: trace.ClassControl, Size: 50})
	s.on(2, 2500, trace.MsgDropped, trace.Event{Class: trace.ClassControl, Size: 50})
	run := join1(t, s.in)
	l := run.Nodes[2]
	want := [NumKinds]int64{First: 1000, Again: 1000, Control: 40, Other: 320}
	if l.Name != "c" || l.In != 2360 || l.Out != 50 || l.Dropped != 1 || l.Duration != 2 || l.Kinds != want {
		t.Errorf("load of node 2 = %+v, want 2360 in, 50 out, kinds %v", l, want)
	}
	if len(run.Slots) != 2 || run.Slots[0].In != 4*1010+300 || run.Slots[1].In != 40 || run.Slots[1].Kinds[Control] != 40 {
		t.Errorf("slots %+v, want 4340 and 40 bytes", run.Slots)
	}
}

// The origin's part of a slot's bytes is that of the node which sealed the slot's block.
func TestSlotsKnowTheOrigin(t *testing.T) {
	run := join1(t, diamond().in)
	first, second := run.Slots[0], run.Slots[1]
	if first.Origin != 0 || first.Out != 3*1010 || first.OriginOut != 2*1010 {
		t.Errorf("slot 0 = %+v, want origin 0 with two of three messages sent", first)
	}
	if second.Origin != -1 || second.OriginOut != 0 {
		t.Errorf("slot 1 = %+v, want no origin", second)
	}
}

func TestHeadsAtTheEndOfASlot(t *testing.T) {
	s := script(4)
	s.in.Nodes[3].Up = []Span{{From: 0, To: ms(1500)}}
	for _, c := range []struct {
		node int
		at   float64
		head byte
	}{{0, 500, 'a'}, {1, 500, 'a'}, {2, 500, 'a'}, {3, 500, 'z'}, {0, 1600, 'c'}, {0, 1300, 'b'}, {1, 1900, 'c'}, {2, 2000, 'c'}} {
		s.on(c.node, c.at, trace.HeadChanged, trace.Event{Hash: id(c.head)})
	}
	run := join1(t, s.in)
	for k, want := range []Slot{{Origin: -1, Up: 3, Heads: 2}, {Origin: -1, Up: 3, Heads: 1}} {
		if run.Slots[k] != want {
			t.Errorf("slot %d = %+v, want %+v", k, run.Slots[k], want)
		}
	}
}

func TestHeadsEqual(t *testing.T) {
	s := script(4)
	s.in.Nodes[2].Up = []Span{{From: ms(0), To: ms(500)}, {From: ms(1700), To: ms(9000)}}
	s.in.Nodes[3].Up = []Span{{From: ms(0), To: ms(1000)}}
	for _, c := range []struct {
		node int
		at   float64
		head byte
	}{{0, 100, 'a'}, {1, 150, 'a'}, {2, 160, 'a'}, {3, 170, 'a'}, {3, 600, 'z'}, {0, 1100, 'b'}, {1, 1200, 'b'}, {2, 1900, 'b'}, {0, 2000, 'c'}} {
		s.on(c.node, c.at, trace.HeadChanged, trace.Event{Hash: id(c.head), Size: 2})
	}
	for _, c := range []struct{ after, want float64 }{
		{0, 0},       // all have the genesis
		{100, 170},   // the last of four gets it
		{300, 300},   // nothing is under way
		{600, 1000},  // n3 is elsewhere until it goes
		{1100, 1200}, // n2 is down and does not count
		{1700, 1900}, // it is up again, behind the others
		{1950, 1950}, // until the next head
		{2000, -1},   // n1 stays behind
	} {
		got, ok := HeadsEqual(s.in, ms(c.after))
		if ok != (c.want >= 0) || ok && got != ms(c.want) {
			t.Errorf("heads are equal at %d (%t) after %v ms, want %v ms", got, ok, c.after, c.want)
		}
	}
	s.on(0, 999, trace.HeadChanged, trace.Event{Hash: id('w'), Size: 7}) // warm-up
	if run := join1(t, s.in); run.ReorgDepth != 2 {
		t.Errorf("ReorgDepth = %d, want 2", run.ReorgDepth)
	}
}

func TestStrangeBlocks(t *testing.T) {
	for _, c := range []struct {
		at   float64
		want bool
	}{{900, false}, {1500, true}, {3000, false}} {
		s := diamond()
		s.on(2, c.at, trace.BlockAccepted, trace.Event{Hash: id('S'), Peer: 77, Size: 1000})
		if run := join1(t, s.in); run.Strange != c.want {
			t.Errorf("a block of nobody's at %v ms: Strange = %v, want %v", c.at, run.Strange, c.want)
		}
	}
}

func TestJoinRefuses(t *testing.T) {
	s := script(2)
	s.in.Nodes[1].Tag = tag(0)
	if _, err := Join(s.in); !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), "share the tag") {
		t.Errorf("two nodes with one tag: %v", err)
	}
	if _, err := Join(Input{}); !errors.Is(err, ErrInput) {
		t.Errorf("an empty window: %v", err)
	}
}

// TestBlockInPieces: hops are those the pieces carried, copies all bytes that came.
func TestBlockInPieces(t *testing.T) {
	s := script(2)
	s.on(0, 1010, trace.BlockSealed, trace.Event{Hash: id('B'), Size: 1000, Aux: 7})
	for i, size := range []uint32{600, 600, 100} {
		s.on(1, 1020+float64(i), trace.MsgRead, trace.Event{Class: trace.ClassRelay, Hash: id('B'), Peer: tag(0), Size: size})
	}
	for _, k := range []trace.Kind{trace.BlockReceived, trace.BlockAccepted} {
		s.on(1, 1030, k, trace.Event{Hash: id('B'), Peer: tag(0), Size: 1000, Aux: trace.PathAux(trace.PathChunks, 4)})
	}
	d := join1(t, s.in).Blocks[0].Deliveries[0]
	if d.Hops != 4 || d.Path != trace.PathChunks || d.First != 1000 || d.Again != 300 || d.Latency != 20 {
		t.Errorf("%+v, want 4 hops, 1000 bytes and 300 again after 20 ms", d)
	}
}
