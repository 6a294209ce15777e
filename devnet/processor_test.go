package devnet

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/pheme-net/pheme/chain"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/p2p/trace"
)

// TestProcessorQueues: work goes to the core that is free first, what comes before it has been done waits, and many signatures are
// spread over the cores.
func TestProcessorQueues(t *testing.T) {
	p := newProcessor(experiment.CPU{Cores: 2, SignatureUS: 100, HashUS: 10, TransferUS: 20})
	at := time.Unix(1000, 0)
	for i, c := range []struct {
		after time.Duration
		work  chain.Work
		want  time.Duration // when it is done
	}{
		{0, chain.Work{}, 0},
		{0, chain.Work{Signatures: 1, HashedBytes: 2048}, 120 * time.Microsecond},                  // core 0
		{0, chain.Work{Transfers: 5}, 100 * time.Microsecond},                                      // core 1
		{0, chain.Work{Transfers: 1}, 120 * time.Microsecond},                                      // core 1, behind it
		{50 * time.Microsecond, chain.Work{Signatures: 2}, 320 * time.Microsecond},                 // core 0, from 120
		{time.Millisecond, chain.Work{Signatures: 16}, 2600 * time.Microsecond},                    // one core
		{3 * time.Millisecond, chain.Work{Signatures: 40}, 5 * time.Millisecond},                   // 20 on each
		{6 * time.Millisecond, chain.Work{Signatures: 41, Transfers: 50}, 9100 * time.Microsecond}, // 50 transfers, then 21 and 20
	} {
		if got := p.give(at.Add(c.after), c.work).Sub(at); got != c.want {
			t.Errorf("step %d: done after %v, want %v", i, got, c.want)
		}
	}
}

// TestChargeClosedForm: between two nodes whose pools know nothing of the block, charging moves its acceptance by one signature and
// the hashing of its bytes, exactly, and its import by the recovery of the senders and the transfers.
func TestChargeClosedForm(t *testing.T) {
	s := virtualSpec(2, 4, "uniform:50ms:0ms")
	s.Net.Relay, s.Load.Pools, s.CPU = "gossip", experiment.PoolsCold, experiment.CPU{Mode: experiment.CPUOff}
	free := fastest(t, s)
	s.CPU = experiment.CPU{Mode: experiment.CPUCharge, Cores: 1, SignatureUS: 2000, HashUS: 300, TransferUS: 700}
	charged := fastest(t, s)
	judge := 2000 + 300*float64(charged.size)/1024 // microseconds
	imports := float64(charged.txs) * (2000 + 700)
	if got := float64(charged.accepted-free.accepted) / 1e3; math.Abs(got-judge) > 1 {
		t.Errorf("acceptance is %.3f us later with charge on, want %.3f", got, judge)
	}
	if got := float64(charged.imported-charged.accepted) / 1e3; math.Abs(got-imports) > 1 {
		t.Errorf("import is %.3f us after acceptance, want %.3f", got, imports)
	}
	if free.imported != free.accepted {
		t.Errorf("import is %d ns after acceptance where computing is free", free.imported-free.accepted)
	}
}

// block is the fastest block of a run: nothing else was on the link while it travelled.
type block struct {
	accepted, imported int64 // ns after it was sealed
	size, txs          int
}

func fastest(t *testing.T, s experiment.Spec) (best block) {
	t.Helper()
	s.Resolve()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	sight, err := runVirtual(virtualTask{Spec: s, Seed: 1, Dir: t.TempDir()}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	sealed := map[[32]byte]int64{}
	for _, n := range sight.Input.Nodes {
		for _, e := range n.Events {
			if e.Kind == trace.BlockSealed && sight.Input.Window.Has(e.At) {
				sealed[e.Hash] = e.At
			}
		}
	}
	best.accepted = math.MaxInt64
	for _, n := range sight.Input.Nodes {
		for i, e := range n.Events {
			at, counted := sealed[e.Hash]
			if e.Kind != trace.BlockAccepted || !counted || e.At-at >= best.accepted {
				continue
			}
			later := n.Events[i:]
			j := slices.IndexFunc(later, func(x trace.Event) bool { return x.Kind == trace.BlockImported && x.Hash == e.Hash })
			best = block{e.At - at, later[j].At - at, int(e.Size), s.TxsPerBlock()}
		}
	}
	if len(sealed) == 0 || best.accepted == math.MaxInt64 {
		t.Fatalf("%d blocks were sealed, none accepted", len(sealed))
	}
	return best
}

// TestCalibrate: every price is found, and none is beyond what any machine could need.
func TestCalibrate(t *testing.T) {
	c, err := calibrate(3)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a signature %.1f us, a KiB hashed %.2f us, a transfer imported %.1f us", c.SignatureUS, c.HashUS, c.TransferUS)
	if c.Mode != experiment.CPUCharge || c.Cores != 3 || c.SignatureUS <= 1 || c.HashUS <= .1 || c.TransferUS <= .1 {
		t.Errorf("calibrate = %+v", c)
	}
	s := virtualSpec(2, 1, "lan")
	if s.CPU = c; validate(resolved(s)) != nil {
		t.Errorf("an experiment with these prices: %v", validate(resolved(s)))
	}
}

func resolved(s experiment.Spec) experiment.Spec {
	s.Resolve()
	return s
}
