package devnet

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
)

// BenchmarkProcessesAgainstVirtual runs one experiment on shaped real processes and in virtual time,
// over the same overlay and links, and writes both coverage curves on one page: into the folder that
// PHEME_RUNS names. A busy machine can only make processes slower, so that is not held against them;
// but none may have a block before physics allows.
func BenchmarkProcessesAgainstVirtual(b *testing.B) {
	for range b.N {
		s := experiment.Spec{Name: "engines", Seeds: []int64{1}}
		s.Net.Nodes, s.Net.Relay, s.Net.Latency, s.Net.Rate, s.Load.Blocks = 8, "gossip", "uniform:50ms", "50mbit", 16
		var seen *observation
		real := measureInto(b, MeasureConfig{Experiment: s, engine: func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (_ *observation, err error) {
			seen, err = processEngine("")(ctx, s, seed, p)
			return seen, err
		}})
		s.Engine = "virtual"
		simulated := measureInto(b, MeasureConfig{Experiment: s})
		if err := real.LayOver(simulated); err != nil {
			b.Fatal(err)
		}
		dir := cmp.Or(os.Getenv("PHEME_RUNS"), b.TempDir())
		page, err := os.Create(filepath.Join(dir, "engines.html"))
		if err != nil {
			b.Fatal(err)
		}
		if err := report.Page(page, real); err != nil {
			b.Fatal(err)
		}
		if err := page.Close(); err != nil {
			b.Fatal(err)
		}
		holdFloors(b, seen)
		for name, r := range map[string]*report.Results{"real": real, "virtual": simulated} {
			b.ReportMetric(float64(r.Summary["block.p50_ms"].Value), name+"-p50-ms")
			b.ReportMetric(float64(r.Summary["block.p95_ms"].Value), name+"-p95-ms")
		}
		b.ReportMetric(float64(real.Summary["block.floor_p95_ms"].Value), "floor-p95-ms")
		b.ReportMetric(float64(real.Overlays[0].Block.KS), "ks-distance")
		b.ReportMetric(100*float64(real.Runs[0].Host.Busy), "cores-busy-%")
	}
}

func measureInto(b *testing.B, cfg MeasureConfig) *report.Results {
	b.Helper()
	cfg.Out = b.TempDir()
	r, err := Measure(context.Background(), cfg, nil)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// holdFloors fails where a block was somewhere before its bytes can have been.
func holdFloors(b *testing.B, seen *observation) {
	b.Helper()
	run, err := recorder.Join(seen.input)
	if err != nil {
		b.Fatal(err)
	}
	seen.floors.apply(run)
	held := 0
	for _, m := range run.Blocks {
		for i := range m.Deliveries {
			if d := &m.Deliveries[i]; d.Latency < d.Floor {
				b.Errorf("block %d was at node %d after %.3f ms, its floor is %.3f", m.Number, d.Node, d.Latency, d.Floor)
			} else if d.Floor > 0 {
				held++
			}
		}
	}
	if held == 0 {
		b.Error("no delivery has a floor")
	}
}
