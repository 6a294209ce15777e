package devnet

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/devnet/topology"
	"github.com/pheme-net/pheme/p2p/trace"
)

// virtualSpec is a small experiment in virtual time over links of 50 ms and 50 Mbit/s,
// where computing costs nothing.
func virtualSpec(nodes, blocks int, latency string) experiment.Spec {
	s := experiment.Spec{Engine: "virtual", Seeds: []int64{1}, CPU: experiment.CPU{Mode: experiment.CPUOff}}
	s.Net.Nodes, s.Net.Latency, s.Load.Blocks = nodes, latency, blocks
	return s
}

func measureVirtual(t *testing.T, s experiment.Spec) *report.Results {
	t.Helper()
	r, err := Measure(context.Background(), MeasureConfig{Experiment: s, Out: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestVirtualClosedForm: between two nodes a block takes its bytes at the rate of the link plus the
// delay; nothing else may be in the figure. Its transactions are in the proposer's pool alone: their
// gossip would share the link with it, so that nothing has opened the windows before it either.
func TestVirtualClosedForm(t *testing.T) {
	s := virtualSpec(2, 6, "uniform:50ms:0ms")
	s.Net.Relay, s.Load.Pools, s.Net.Window = "gossip", experiment.PoolsCold, "open"
	r := measureVirtual(t, s)
	size := float64(r.Summary["block.size_bytes"].Value)
	want := size*8/50e6*1e3 + 50
	if got := float64(r.Summary["block.p50_ms"].Value); math.Abs(got-want) > want*.02 {
		t.Errorf("block p50 = %.3f ms, the formula says %.3f", got, want)
	}
	for _, name := range []string{"run.host_busy", "run.cpu_wait"} {
		if f := r.Summary[name]; f.Value.Valid() || f.Why == "" {
			t.Errorf("%s in virtual time = %+v, want none and why", name, f)
		}
	}
	if got := float64(r.Summary["block.floor_p95_ms"].Value); math.Abs(got-want) > want*.001 {
		t.Errorf("floor p95 = %.3f ms, the formula says %.3f", got, want)
	}
	if got := float64(r.Summary["block.stretch_p95"].Value); got < 1 || got > 1.02 {
		t.Errorf("stretch = %.4f, want 1 to 1.02: nothing beats the floor, and gossip between two meets it", got)
	}
}

// TestVirtualTransactionsAlone: without blocks the transactions are the messages, and nobody builds
// a block; one mesh of a lower degree sends fewer copies.
func TestVirtualTransactionsAlone(t *testing.T) {
	copies := func(d int) float64 {
		s := virtualSpec(12, 0, "uniform:25ms")
		s.Gossip.D, s.Load = d, experiment.Load{Work: experiment.WorkTxs, TxRate: 30, Duration: experiment.Duration(3 * time.Second), Warmup: 1}
		r := measureVirtual(t, s)
		if r.Block.Messages != 0 || r.Tx.Messages < 80 || r.Tx.Lost != 0 {
			t.Errorf("%d blocks, %d transactions, %d not delivered, want 0, about 90 and 0", r.Block.Messages, r.Tx.Messages, r.Tx.Lost)
		}
		return float64(r.Summary["tx.copies"].Value)
	}
	if few, many := copies(3), copies(8); few >= many {
		t.Errorf("copies with D=3: %.2f, with D=8: %.2f, want fewer", few, many)
	}
}

// TestVirtualRepeats: the same seed gives the same network, load and floors, and nearly the same
// latencies (the runtime's own dice, such as the order of a select, still fall as they like, which
// at this size is a few percent); another seed gives another network.
func TestVirtualRepeats(t *testing.T) {
	s := virtualSpec(16, 4, "world")
	figures := func() (floor, p50 float64) {
		r := measureVirtual(t, s).Summary
		return float64(r["block.floor_p95_ms"].Value), float64(r["block.p50_ms"].Value)
	}
	floor, p50 := figures()
	floorAgain, p50Again := figures()
	if floor != floorAgain {
		t.Errorf("floor p95 of one seed: %v ms and %v ms, want the same", floor, floorAgain)
	}
	if math.Abs(p50-p50Again) > .1*p50 {
		t.Errorf("block p50 of one seed: %.3f ms and %.3f ms, want within a tenth", p50, p50Again)
	}
	s.Seeds = []int64{2}
	if other, _ := figures(); other == floor {
		t.Errorf("seed 2 has the floor %v ms of seed 1", other)
	}
}

// TestVirtualChildDies: what the child wrote last stands in the error, and an interrupt ends it.
func TestVirtualChildDies(t *testing.T) {
	cfg := MeasureConfig{Experiment: virtualSpec(2, 1, "lan"), Out: t.TempDir(), Binary: "/bin/false"}
	if _, err := Measure(context.Background(), cfg, nil); err == nil || !strings.Contains(err.Error(), "virtual run") {
		t.Errorf("Measure over a child that fails = %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("enough")
	cancel(stop)
	cfg.Binary = ""
	if _, err := Measure(ctx, cfg, nil); !errors.Is(err, stop) {
		t.Errorf("Measure after an interrupt = %v, want %v", err, stop)
	}
	if err := RunVirtualChild(strings.NewReader("hello"), nil, nil); !errors.Is(err, experiment.ErrInvalid) {
		t.Errorf("RunVirtualChild of a person = %v", err)
	}
}

func TestShortest(t *testing.T) {
	// 0 -1- 1 -1- 2, and 0 -5- 2 directly; 3 hangs on 2.
	g := topology.Graph{{1, 2}, {0, 2}, {0, 1, 3}, {2}}
	delay := func(a, b int) time.Duration {
		if a+b == 2 && a != b {
			return 5
		}
		return 1
	}
	for i, want := range []time.Duration{0, 1, 2, 3} {
		if got := shortest(g, 0, []bool{true, true, true, true}, delay)[i]; got != want {
			t.Errorf("shortest way to %d = %d, want %d", i, got, want)
		}
	}
}

// TestVirtualUnfit: a network that is not whole in time, and time that comes to no end, make a run unfit to
// report in virtual time as among processes, also where a child has run it.
func TestVirtualUnfit(t *testing.T) {
	for _, topology := range []string{"", experiment.Discovery} {
		s := virtualSpec(4, 2, "uniform:1m")
		s.Net.Topology = topology
		_, err := Measure(t.Context(), MeasureConfig{Experiment: s, Out: t.TempDir()}, nil)
		if unfit := new(UnfitError); !errors.As(err, &unfit) || !strings.Contains(unfit.Reason, "mesh was not formed") {
			t.Errorf("links of a minute, topology %q: %v, want that the run is unfit", topology, err)
		}
	}
	s := virtualSpec(2, 2, "uniform:5ms")
	s.Resolve()
	r, err := newVirtualRun(virtualTask{Spec: s, Seed: 1, Dir: t.TempDir()}, func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	r.probe = func(m *member) trace.Hook {
		time.AfterFunc(0, func() { <-make(chan int) })
		return m.record
	}
	_, err = r.run()
	if unfit := new(UnfitError); !errors.As(err, &unfit) || !strings.Contains(unfit.Reason, "stalled") {
		t.Errorf("a goroutine left behind: %v, want that the run is unfit", err)
	}
}
