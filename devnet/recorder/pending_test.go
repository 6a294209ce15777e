package recorder

import (
	"testing"

	"github.com/pheme-net/pheme/p2p/trace"
)

func TestPending(t *testing.T) {
	whole := func() *net {
		s := script(3)
		s.on(0, 1010, trace.BlockSealed, trace.Event{Hash: id('B'), Size: 1000})
		s.on(1, 1020, trace.TxSubmitted, trace.Event{Hash: id('x'), Size: 100})
		s.hop('B', 0, 1, 1012, 1013, 1020, 1025, 1026, 1030)
		s.on(0, 1030, trace.TxAdmitted, trace.Event{Hash: id('x'), Peer: tag(1), Size: 100})
		return s
	}
	block := func(s *net) { s.hop('B', 1, 2, 1031, 1032, 1035, 1040, 1041, 1042) }
	tx := func(s *net, k trace.Kind) { s.on(2, 1050, k, trace.Event{Hash: id('x'), Size: 100}) }
	for _, tt := range []struct {
		name   string
		script func(*net)
		now    float64
		want   bool
	}{
		{"all is there", func(s *net) { block(s); tx(s, trace.TxAdmitted) }, 2000, false},
		{"a block is not", func(s *net) { tx(s, trace.TxAdmitted) }, 2000, true},
		{"a transaction is not", block, 2000, true},
		{"it came in a block", func(s *net) { block(s); tx(s, trace.TxPlaced) }, 2000, false},
		{"accepted, not imported", func(s *net) {
			tx(s, trace.TxAdmitted)
			s.on(2, 1042, trace.BlockAccepted, trace.Event{Hash: id('B')})
		}, 2000, true},
		{"past the horizon", block, 11_020, false},
		{"at a node that was down", func(s *net) { s.in.Nodes[2].Up = []Span{{From: ms(1030), To: ms(20_000)}} }, 2000, false},
		{"not of the window", func(s *net) {
			block(s)
			tx(s, trace.TxAdmitted)
			s.on(0, 999, trace.TxSubmitted, trace.Event{Hash: id('w'), Size: 100})
			s.on(0, 3000, trace.BlockSealed, trace.Event{Hash: id('L'), Size: 100})
		}, 3000, false},
	} {
		s := whole()
		tt.script(s)
		if got := Pending(s.in, ms(tt.now)); got != tt.want {
			t.Errorf("%s: Pending = %v, want %v", tt.name, got, tt.want)
		}
	}
}
