package recorder

import (
	"slices"
	"testing"

	"github.com/pheme-net/pheme/p2p/trace"
)

// TestAccount: what a node read is split without anything counted twice or left negative, in each slot
// of a second.
func TestAccount(t *testing.T) {
	read := func(s *net, at float64, c trace.Class, hash byte, size uint32, piece int) {
		e := trace.Event{Class: c, Hash: id(hash), Peer: tag(0), Size: size}
		if c == trace.ClassRelay {
			e.Aux = trace.PieceAux(1, piece)
		}
		s.on(1, at, trace.MsgRead, e)
	}
	block := func(s *net, at, received float64, path int64) {
		s.on(0, at, trace.BlockSealed, trace.Event{Hash: id('B'), Size: 1000})
		s.on(1, received, trace.BlockReceived, trace.Event{Hash: id('B'), Peer: tag(0), Size: 1000, Aux: trace.PathAux(path, 1)})
	}
	tx := func(s *net, admitted float64) {
		s.on(0, 1100, trace.TxSubmitted, trace.Event{Hash: id('x'), Size: 300})
		s.on(0, 1105, trace.TxPublished, trace.Event{Hash: id('x'), Size: 300, Aux: trace.BatchAux(id('T'))})
		s.on(1, admitted, trace.TxAdmitted, trace.Event{Hash: id('x'), Peer: tag(0), Size: 300})
	}
	for _, tt := range []struct {
		name   string
		script func(*net)
		want   [2][NumKinds]int64 // of both slots
	}{
		{"chunks, some of them again", func(s *net) {
			for i := range 4 {
				read(s, 1020+float64(i), trace.ClassRelay, 'B', 400, i%3)
			}
			read(s, 1030, trace.ClassRelay, 'B', 30, trace.PieceNone)
			block(s, 1010, 1025, trace.PathChunks)
			read(s, 2040, trace.ClassRelay, 'B', 400, 2)
		}, [2][NumKinds]int64{{First: 1000, Again: 600, Relay: 30}, {Again: 400}}},
		{"fewer chunks than bytes of the block", func(s *net) {
			read(s, 1020, trace.ClassRelay, 'B', 400, 0)
			block(s, 1010, 1025, trace.PathChunks)
		}, [2][NumKinds]int64{{First: 400}, {}}},
		{"from the pool but for some answers", func(s *net) {
			read(s, 1015, trace.ClassBlock, 'B', 80, 0)
			read(s, 1020, trace.ClassRelay, 'B', 50, trace.PieceAnswers)
			block(s, 1010, 1025, trace.PathCompact)
		}, [2][NumKinds]int64{{First: 50, Other: 80}, {}}},
		{"chunks of a block that came whole", func(s *net) {
			read(s, 1020, trace.ClassRelay, 'B', 400, 0)
			read(s, 1024, trace.ClassBlock, 'B', 1010, 0)
			block(s, 1010, 1025, trace.PathGossip)
		}, [2][NumKinds]int64{{First: 1000, Again: 400, Other: 10}, {}}},
		{"read in the slot before", func(s *net) {
			read(s, 1999, trace.ClassBlock, 'B', 1010, 0)
			block(s, 1990, 2001, trace.PathGossip)
		}, [2][NumKinds]int64{{First: 1000, Other: 10}, {}}},
		{"read before the window", func(s *net) {
			read(s, 999, trace.ClassBlock, 'B', 1010, 0)
			block(s, 990, 1001, trace.PathGossip)
		}, [2][NumKinds]int64{}},
		{"a transaction in a batch", func(s *net) {
			read(s, 1120, trace.ClassTx, 'T', 310, 0)
			tx(s, 1121)
		}, [2][NumKinds]int64{{First: 300, Other: 10}, {}}},
		{"a transaction by repair, later in a batch", func(s *net) {
			read(s, 1110, trace.ClassTx, 'U', 700, 0)
			read(s, 1120, trace.ClassRepair, 0, 310, 0)
			tx(s, 1121)
			read(s, 2120, trace.ClassTx, 'T', 310, 0)
			s.on(1, 2121, trace.CopyDuplicate, trace.Event{Class: trace.ClassTx, Hash: id('T'), Peer: tag(0), Size: 300})
		}, [2][NumKinds]int64{{Repair: 310, Other: 700}, {Again: 300, Other: 10}}},
	} {
		s := script(2)
		tt.script(s)
		run := join1(t, s.in)
		var sum [NumKinds]int64
		for k, slot := range run.Slots {
			in := int64(0)
			for kind, n := range slot.Kinds {
				sum[kind] += n
				in += n
			}
			if slot.Kinds != tt.want[k] || slot.In != in || slices.Min(slot.Kinds[:]) < 0 {
				t.Errorf("%s: slot %d has %v of %d bytes, want %v", tt.name, k, slot.Kinds, slot.In, tt.want[k])
			}
		}
		if l := run.Nodes[1]; l.Kinds != sum {
			t.Errorf("%s: the node has %v, its slots together %v", tt.name, l.Kinds, sum)
		}
	}
}
