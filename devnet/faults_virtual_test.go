package devnet

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/p2p/link"
	"github.com/pheme-net/pheme/p2p/trace"
)

const (
	sec = experiment.Duration(time.Second)
	ms  = experiment.Duration(time.Millisecond)
)

// faulty is a small experiment in virtual time with one fault.
func faulty(nodes, blocks int, floor float64, faults ...experiment.Fault) experiment.Spec {
	s := virtualSpec(nodes, blocks, "uniform:20ms")
	s.Chain.BlockSize, s.Load.TxSize = 16<<10, 2<<10
	s.Fault, s.Report.CoverageFloor = faults, floor
	return s
}

// happened checks that a run's faults are of the wanted kinds and have happened.
func happened(t *testing.T, r *report.Results, kinds ...string) []report.Fault {
	t.Helper()
	got := r.Runs[0].Faults
	for i, f := range got {
		t.Logf("%s of %v from %v to %v ms: %s; heads equal after %v ms", f.Kind, f.Nodes, f.AtMS, f.EndMS, f.Proof, f.HeadsEqual)
		if i < len(kinds) && f.Kind != kinds[i] || !f.Happened || f.Proof == "" {
			t.Errorf("fault %d = %+v", i, f)
		}
	}
	if len(got) != len(kinds) {
		t.Fatalf("%d faults, want %v", len(got), kinds)
	}
	return got
}

// finite wants a figure of the summary within bounds.
func within(t *testing.T, r *report.Results, name string, lo, hi float64) {
	t.Helper()
	if got := float64(r.Summary[name].Value); !(got >= lo && got <= hi) {
		t.Errorf("%s = %v, want %v to %v", name, got, lo, hi)
	}
}

// TestPartitionHeals: halves go their own ways, and soon after the heal there is one head again.
func TestPartitionHeals(t *testing.T) {
	r := measureVirtual(t, faulty(8, 20, .1, experiment.Fault{At: 4 * sec, For: 12 * sec, Partition: []experiment.Nodes{"0-3"}}))
	f := happened(t, r, "partition")
	if f[0].AtMS != 4000 || f[0].EndMS != 16000 {
		t.Errorf("from %v to %v ms, want 4000 to 16000", f[0].AtMS, f[0].EndMS)
	}
	within(t, r, "heal.heads_equal_ms", 1, 10_000)
	within(t, r, "chain.reorg_depth", 3, 20)
	within(t, r, "chain.stale_blocks", 3, 20)
	within(t, r, "block.coverage", .3, .95)
	if math.IsInf(float64(f[0].HeadsEqual), 1) {
		t.Error("heads were never equal again")
	}
}

// TestKillAndRestart: a node that comes back on its data catches up, one that does not is no longer
// expected, and what its client has goes to others.
func TestKillAndRestart(t *testing.T) {
	r := measureVirtual(t, faulty(6, 16, .9, experiment.Fault{At: 3500 * ms, For: 5 * sec, Kill: "1"}, experiment.Fault{At: 3500 * ms, Kill: "2"}))
	f := happened(t, r, "kill", "kill")
	if got := float64(f[0].HeadsEqual); !(got > 0 && got < 5000) {
		t.Errorf("heads equal %v ms after the start, want soon", got)
	}
	within(t, r, "chain.missed_slots", 2, 8)
	nodes := r.Runs[0].Nodes
	if one, two, three := nodes[1], nodes[2], nodes[3]; !(two.Expected == 0 && one.Expected > 0 && one.Expected < three.Expected) {
		t.Errorf("expected deliveries: n1 %d, n2 %d, n3 %d: want n2's none, n1's fewer than n3's", one.Expected, two.Expected, three.Expected)
	}
	if nodes[1].Sealed == 0 || nodes[2].Sealed >= 2 {
		t.Errorf("n1 sealed %d blocks and n2 %d: n1 should be back at work, n2 not", nodes[1].Sealed, nodes[2].Sealed)
	}
}

// TestKillNearTheEnd: a run does not end before the others have had the time to find out about a crash.
func TestKillNearTheEnd(t *testing.T) {
	s := faulty(5, 8, .5, experiment.Fault{At: 1940 * ms, Kill: "1"})
	s.Net.Members, s.Chain.Slot = "full", 250*ms
	r := measureVirtual(t, s)
	happened(t, r, "kill")
	if dead := r.Summary["members.dead_max_ms"]; dead.N != 4 || !(float64(dead.Value) < 10_000) {
		t.Errorf("dead after %v ms at most, of %d nodes, want less than the horizon of ten seconds, of four", dead.Value, dead.N)
	}
}

// TestPause: a paused node seals nothing and catches up.
func TestPause(t *testing.T) {
	r := measureVirtual(t, faulty(6, 16, .5, experiment.Fault{At: 3500 * ms, For: 6 * sec, Pause: "1"}))
	f := happened(t, r, "pause")
	if got := float64(f[0].HeadsEqual); !(got >= 0 && got < 9000) {
		t.Errorf("heads equal %v ms after it went on, want soon", got)
	}
	within(t, r, "chain.missed_slots", 1, 2)
	if n := r.Runs[0].Nodes[1]; n.Expected == 0 || n.Sealed == 0 {
		t.Errorf("n1 was to get %d blocks and sealed %d: a pause takes nobody out", n.Expected, n.Sealed)
	}
}

// TestPauseOverKill: a node that is killed and starts again inside its pause seals nothing before that is over, nor does one that
// joins inside it.
func TestPauseOverKill(t *testing.T) {
	r := measureVirtual(t, faulty(6, 24, .3,
		experiment.Fault{At: 2500 * ms, For: 14 * sec, Pause: "1,2"},
		experiment.Fault{At: 4500 * ms, For: 2 * sec, Kill: "1"},
		experiment.Fault{At: 6500 * ms, Join: "2"}))
	f := happened(t, r, "pause", "kill", "join")
	sealed := 0
	for _, m := range r.Runs[0].Messages {
		if m.Origin != "n1" && m.Origin != "n2" || m.BornMS < 2500 {
			continue
		}
		if sealed++; m.BornMS < 16500 {
			t.Errorf("%s sealed a block %v ms into the window, inside its pause", m.Origin, m.BornMS)
		}
	}
	if sealed == 0 || math.IsInf(float64(f[0].HeadsEqual), 1) {
		t.Errorf("after the pause n1 and n2 sealed %d blocks and heads were equal after %v ms", sealed, f[0].HeadsEqual)
	}
}

// TestLateJoin: a node that joins in the middle gets the chain and then its share.
func TestLateJoin(t *testing.T) {
	r := measureVirtual(t, faulty(6, 16, 1, experiment.Fault{At: 5500 * ms, Join: "4,5"}))
	f := happened(t, r, "join")
	if got := float64(f[0].HeadsEqual); !(got > 0 && got < 5000) {
		t.Errorf("heads equal %v ms after they joined, want soon", got)
	}
	if n, all := r.Runs[0].Nodes[4], r.Runs[0].Nodes[1]; n.Expected == 0 || n.Got != n.Expected || n.Expected >= all.Expected {
		t.Errorf("n4 got %d of %d blocks, n1 was to get %d", n.Got, n.Expected, all.Expected)
	}
}

// TestChurn: whoever is up long enough gets everything.
func TestChurn(t *testing.T) {
	s := faulty(12, 24, .9, experiment.Fault{At: 2500 * ms, For: 9 * sec, Churn: "20%", Every: 3 * sec})
	r := measureVirtual(t, s)
	happened(t, r, "churn", "churn", "churn")
	within(t, r, "block.coverage", 1, 1)
}

// TestLinkChanges: a delay that is added shows in the latencies while it is in force, a rate does,
// too, and loss is counted.
func TestLinkChanges(t *testing.T) {
	r := measureVirtual(t, faulty(4, 20, 1,
		experiment.Fault{At: 4900 * ms, For: 5 * sec, Link: []experiment.Nodes{"all", "all"}, Add: 200 * ms},
		experiment.Fault{At: 9900 * ms, For: 5 * sec, Rates: "all", Up: "1mbit", Down: "1mbit"},
		experiment.Fault{At: 14900 * ms, Link: []experiment.Nodes{"all", "all"}, Loss: .1}))
	happened(t, r, "link", "rates", "link")
	for _, m := range r.Runs[0].Messages {
		c := float64(m.C50)
		switch second := m.BornMS / 1000; {
		case second > 5 && second < 9.9 && c < 220:
			t.Errorf("block at %.1f s took %v ms over links of 220 ms", second, c)
		case second > 10 && second < 14.9 && c < 100:
			t.Errorf("block at %.1f s took %v ms at 1 Mbit/s", second, c)
		case second < 4.9 && c > 200:
			t.Errorf("block at %.1f s took %v ms before anything happened", second, c)
		}
	}
	within(t, r, "block.stretch_p95", 1, 20) // the floor knows the changes
}

// deafRig never hands its changes to the links.
type deafRig struct{ virtualRig }

func (deafRig) follow(context.Context, []link.Timed, time.Time) error { return nil }

// TestLinkFaultsAreProved: what the links were never told is not said to have happened, and what a
// partition drops is not taken for the loss of a link.
func TestLinkFaultsAreProved(t *testing.T) {
	slow := experiment.Fault{At: 1500 * ms, For: 2 * sec, Link: []experiment.Nodes{"all", "all"}, Add: 10 * ms}
	rates := experiment.Fault{At: 1500 * ms, Rates: "0", Up: "10mbit", Down: "10mbit"}
	lossy := experiment.Fault{At: 1500 * ms, For: 4 * sec, Link: []experiment.Nodes{"2", "3"}, Loss: .5}
	cut := experiment.Fault{At: 1500 * ms, For: 4 * sec, Partition: []experiment.Nodes{"0,1", "2", "3"}} // nothing passes that link
	for _, tt := range []struct {
		name  string
		deaf  bool
		loss  float64
		fault experiment.Fault
		proof string // "": it is not said to have happened
	}{
		{"a delay", false, 0, slow, "in force at 4 nodes"},
		{"a delay that nobody made", true, 0, slow, ""},
		{"rates that nobody set", true, 0, rates, ""},
		{"loss on a link that is cut", false, 0, lossy, ""},
		{"loss where all links lose packets", false, .01, lossy, "in force at 4 nodes"},
	} {
		s := faulty(4, 8, .1, tt.fault)
		if s.Net.Loss = tt.loss; tt.fault.Loss > 0 {
			s.Fault = append(s.Fault, cut)
		}
		s.Resolve()
		r, err := newVirtualRun(virtualTask{Spec: s, Seed: 1, Dir: t.TempDir()}, func(string, ...any) {})
		if err != nil {
			t.Fatal(err)
		}
		r.probe = func(m *member) trace.Hook {
			if tt.deaf {
				r.faults.rig = deafRig{virtualRig{r}}
			}
			return m.record
		}
		sight, err := r.run()
		if err != nil {
			t.Fatal(err)
		}
		if f := sight.Faults[0]; f.Happened != (tt.proof != "") || f.Happened && f.Proof != tt.proof {
			t.Errorf("%s: happened %t: %q, want %q", tt.name, f.Happened, f.Proof, tt.proof)
		}
	}
}

// TestSkew: a clock that is ahead seals before its slot, and others hold the block until it is due.
func TestSkew(t *testing.T) {
	r := measureVirtual(t, faulty(4, 16, 1, experiment.Fault{At: 1500 * ms, Skew: "1", By: 300 * ms}))
	happened(t, r, "skew")
	early := 0
	for _, m := range r.Runs[0].Messages {
		if m.BornMS < 2500 || m.Origin != "n1" {
			continue
		}
		early++
		if phase := math.Mod(m.BornMS, 1000); phase < 795 || phase > 805 { // the window begins a tenth of a slot before one
			t.Errorf("n1 sealed %v ms into the window, want 300 ms before a slot", m.BornMS)
		}
		if float64(m.C100) < 300 {
			t.Errorf("a block from the future was everywhere after %v ms: nobody held it for 300 ms", m.C100)
		}
	}
	if early == 0 {
		t.Error("n1 sealed nothing")
	}
}

// inChunks makes the blocks of an experiment go in chunks: those of faulty are so small that they go whole.
func inChunks(s experiment.Spec) experiment.Spec {
	s.Net.Relay, s.Chain.BlockSize, s.Load.TxSize = "coded", 24<<10, 6<<10
	return s
}

// wentInChunks wants that all blocks of a run came in chunks to at least a share of their nodes.
func wentInChunks(t *testing.T, r *report.Results, share float64) {
	t.Helper()
	file, err := os.Open(filepath.Join(r.Folder, report.DeliveriesFile))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	paths, all := map[string]int{}, 0
	if err := report.DecodeDeliveries(file, func(d *report.DeliveryRow) error {
		if d.Block {
			paths[d.Path]++
			all++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d blocks came by %v", all, paths)
	if all == 0 || float64(paths["chunks"]) < share*float64(all) {
		t.Errorf("blocks came by %v, want chunks", paths)
	}
}

// TestSilent: three of four neighbours that pass nothing on do not keep a block from anybody.
func TestSilent(t *testing.T) {
	s := inChunks(faulty(12, 12, 1, experiment.Fault{At: 0, Silent: "1-4"}))
	s.Net.Degree = 6
	r := measureVirtual(t, s)
	happened(t, r, "silent")
	wentInChunks(t, r, .9)
}

// TestEquivocation: of two blocks for a slot the network takes one, keeps evidence and goes on.
func TestEquivocation(t *testing.T) {
	r := measureVirtual(t, inChunks(faulty(6, 14, 1, experiment.Fault{At: 0, Equivocate: "2"})))
	happened(t, r, "equivocate")
	wentInChunks(t, r, .9)
	if got := float64(r.Summary["chain.missed_slots"].Value); got != 0 {
		t.Errorf("%v slots missed, want none", got)
	}
}

// TestFaultThatCannotHappen: a run whose fault did not happen is not fit to report.
func TestFaultThatCannotHappen(t *testing.T) {
	for _, f := range []experiment.Fault{
		{At: sec, For: sec, Partition: []experiment.Nodes{"all"}}, // one group: no link is cut
		{At: sec, Silent: "0-3"},
	} {
		s := faulty(4, 4, .01, f)
		if f.Silent != "" {
			s.Fault = append(s.Fault, experiment.Fault{At: 0, Kill: "0,1,2"})
		}
		_, err := Measure(t.Context(), MeasureConfig{Experiment: s, Out: t.TempDir()}, nil)
		var unfit *UnfitError
		if !errors.As(err, &unfit) || unfit.ExitCode() != 5 || !strings.Contains(err.Error(), "did not happen") {
			t.Errorf("%s: %v, want that it is not fit to report", f.Kind(), err)
		}
	}
}
