package devnet_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet"
	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

// faultyProcesses is a small experiment on real processes.
func faultyProcesses(nodes, blocks int, faults ...experiment.Fault) experiment.Spec {
	return experiment.Spec{
		Name: "faults", Fault: faults, Net: experiment.Net{Nodes: nodes}, Load: experiment.Load{Blocks: blocks, Warmup: 1, TxSize: 2 << 10},
		Chain: experiment.Chain{Slot: experiment.Duration(500 * time.Millisecond), BlockSize: 8 << 10}, Report: experiment.Report{CoverageFloor: .05},
	}
}

func measureFaults(t *testing.T, s experiment.Spec) *report.Results {
	t.Helper()
	r, err := devnet.Measure(t.Context(), devnet.MeasureConfig{Experiment: s, Out: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Runs[0].Faults {
		t.Logf("%s of %v from %v to %v ms: %s; heads equal after %v ms", f.Kind, f.Nodes, f.AtMS, f.EndMS, f.Proof, f.HeadsEqual)
		if !f.Happened {
			t.Errorf("the %s did not happen: %s", f.Kind, f.Proof)
		}
	}
	if len(r.Runs[0].Faults) != len(s.Fault) {
		t.Fatalf("%d faults, want %d", len(r.Runs[0].Faults), len(s.Fault))
	}
	return r
}

// TestFaultsOfProcesses kills a node and starts it again on its data, stops another for a while in
// which that is killed and starts again, and has two more deformed; all heads are one at the end.
func TestFaultsOfProcesses(t *testing.T) {
	const second = experiment.Duration(time.Second)
	r := measureFaults(t, faultyProcesses(5, 16,
		experiment.Fault{At: second, For: 2 * second, Kill: "1"},
		experiment.Fault{At: second, For: 4 * second, Pause: "2"},
		experiment.Fault{At: 2 * second, For: second, Kill: "2"}, // it stops again as soon as it runs
		experiment.Fault{At: second, Join: "4"},
		experiment.Fault{At: 0, Silent: "3"},
		experiment.Fault{At: 0, Equivocate: "0"}))
	for _, f := range r.Runs[0].Faults {
		switch want := map[string]string{"kill": "signal: killed", "pause": "stopped by SIGSTOP", "join": "up after", "silent": "not passed on", "equivocate": "second blocks"}[f.Kind]; {
		case !strings.Contains(f.Proof, want):
			t.Errorf("the proof of the %s is %q, want %q in it", f.Kind, f.Proof, want)
		case f.EndMS.Valid() && math.IsInf(float64(f.HeadsEqual), 1):
			t.Errorf("heads were never equal after the %s", f.Kind)
		}
	}
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "2 recordings end in a kill") {
		t.Errorf("notes %q: want that of two lives the end is missing", notes)
	}
}

// TestPartitionOfProcesses cuts the live connections of shaped processes in two, and they find
// together again.
func TestPartitionOfProcesses(t *testing.T) {
	const second = experiment.Duration(time.Second)
	s := faultyProcesses(4, 20, experiment.Fault{At: 2 * second, For: 4 * second, Partition: []experiment.Nodes{"0,1"}})
	s.Net.Latency, s.Net.Rate = "uniform:10ms", "50mbit"
	r := measureFaults(t, s)
	if f := r.Runs[0].Faults[0]; math.IsInf(float64(f.HeadsEqual), 1) {
		t.Error("heads were never equal after the heal")
	}
	if got := float64(r.Summary["chain.reorg_depth"].Value); got < 1 {
		t.Errorf("the longest reorganisation took off %v blocks, want at least one: both halves went on", got)
	}
}

// TestProcessesGrow: processes that are told one address find each other. The one at that address, which was told none,
// is killed, and finds the others again by the anchors it kept.
func TestProcessesGrow(t *testing.T) {
	const second = experiment.Duration(time.Second)
	s := faultyProcesses(5, 10, experiment.Fault{At: 2 * second, For: second, Kill: "0"})
	s.Net.Topology = experiment.Discovery
	r := measureFaults(t, s)
	if f := r.Runs[0].Faults[0]; math.IsInf(float64(f.HeadsEqual), 1) {
		t.Error("heads were never equal after the restart")
	}
}
