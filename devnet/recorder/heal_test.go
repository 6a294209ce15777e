package recorder

import (
	"testing"
	"time"

	"github.com/pheme-net/pheme/p2p/trace"
)

func TestHeal(t *testing.T) {
	s := script(4)
	s.in.Horizon = time.Second
	s.in.Nodes[3].Up = []Span{{From: ms(0), To: ms(900)}} // down, and lacks nothing
	took := func(node int, at float64, tx byte, k trace.Kind, size uint32) {
		s.on(node, at, k, trace.Event{Hash: id(tx), Size: size})
	}
	repaired := func(node int, at float64, size uint32) {
		s.on(node, at, trace.MsgRead, trace.Event{Class: trace.ClassRepair, Size: size})
	}
	for node := range 4 {
		took(node, 100+float64(node), 'a', trace.TxAdmitted, 50) // everywhere before the end
	}
	took(0, 500, 'b', trace.TxAdmitted, 200)
	took(1, 600, 'c', trace.TxAdmitted, 300)
	took(1, 999, 'd', trace.TxAdmitted, 1000)
	took(2, 800, 'b', trace.TxPlaced, 0) // in a block counts
	took(0, 1100, 'c', trace.TxAdmitted, 300)
	took(0, 1200, 'd', trace.TxAdmitted, 1000)
	took(1, 1300, 'b', trace.TxPlaced, 0)
	took(2, 1400, 'c', trace.TxAdmitted, 300)
	took(2, 1450, 'd', trace.TxAdmitted, 1000)
	took(2, 1900, 'd', trace.TxPlaced, 0) // had it
	took(0, 1950, 'e', trace.TxAdmitted, 80)
	repaired(0, 900, 7)
	repaired(0, 1100, 1500)
	repaired(2, 1990, 1600)
	repaired(2, 2100, 9)
	want := Healing{Lacking: 300 + 1000 + 200 + 300 + 1000, Repair: 3100, Equal: ms(1450), Whole: true}
	if got := Heal(s.in, ms(1000)); got != want {
		t.Errorf("Heal = %+v, want %+v", got, want)
	}
	want = Healing{Lacking: 80 + 80, Repair: 9, Equal: ms(2000)}
	if got := Heal(s.in, ms(2000)); got != want {
		t.Errorf("what never comes: Heal = %+v, want %+v", got, want)
	}
	if got := Heal(s.in, ms(300)); got != (Healing{Equal: ms(300), Whole: true, Repair: 1507}) {
		t.Errorf("nothing lacks: Heal = %+v", got)
	}
}
