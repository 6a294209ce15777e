package devnet

import (
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestDrainAwaitsTransactions: a run goes on after all have one head, until the last node has the last
// transaction: here one whose pool takes them all three slots late.
func TestDrainAwaitsTransactions(t *testing.T) {
	s := virtualSpec(4, 4, "uniform:20ms")
	s.Resolve()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r, err := newVirtualRun(virtualTask{Spec: s, Seed: 1, Dir: t.TempDir()}, func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	late := 3 * s.Chain.Slot.D()
	r.probe = func(m *member) trace.Hook {
		if len(r.members) != 3 { // not the third, which is being added
			return m.record
		}
		return func(e trace.Event) {
			switch e.Kind {
			case trace.TxAdmitted:
				e.At += int64(late)
				time.AfterFunc(late, func() { m.record(e) })
			case trace.TxPlaced: // in no block, so it is still awaited
			default:
				m.record(e)
			}
		}
	}
	sight, err := r.run()
	if err != nil {
		t.Fatal(err)
	}
	run, err := recorder.Join(sight.Input)
	if err != nil {
		t.Fatal(err)
	}
	if share := coverage(run.Txs); len(run.Txs) == 0 || share != 1 {
		t.Errorf("coverage of %d transactions = %v, want all: the run ended before they came", len(run.Txs), share)
	}
}
