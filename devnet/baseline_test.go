package devnet

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/report"
)

func TestBaselineIsLaidOver(t *testing.T) {
	out := filepath.Join(t.TempDir(), "runs")
	cfg := MeasureConfig{Experiment: smallSpec(), Out: out, engine: scriptedEngine(nil)}
	first, err := Measure(t.Context(), cfg, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	later := scriptedEngine(func(o *observation) {
		for i := range o.input.Nodes {
			for k := range o.input.Nodes[i].Events {
				if e := &o.input.Nodes[i].Events[k]; e.Peer != 0 {
					e.At += 5e6 // everything that came from another node 5 ms later
				}
			}
		}
	})
	var table bytes.Buffer
	cfg.Experiment.Seeds, cfg.Baseline, cfg.Table, cfg.engine = []int64{7}, filepath.Join(out, report.LatestLink), &table, later
	second, err := Measure(t.Context(), cfg, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Overlays) != 1 || second.Overlays[0].Digest != first.Digest {
		t.Fatalf("overlays %+v, want the first run's", second.Overlays)
	}
	o := second.Overlays[0]
	if want := second.Summary["block.p50_ms"].Value / first.Summary["block.p50_ms"].Value; o.Block.P50 != want || want <= 1 || o.Block.KS <= 0 {
		t.Errorf("p50 ratio %v and KS distance %v, want %v and more than nothing", o.Block.P50, o.Block.KS, want)
	}
	if !strings.Contains(table.String(), "beside default "+first.Digest) {
		t.Errorf("the table does not name the run beside:\n%s", table.String())
	}
	page, err := os.ReadFile(filepath.Join(out, report.LatestLink, report.PageFile))
	if err != nil || !bytes.Contains(page, []byte("Against default "+first.Digest)) {
		t.Errorf("the page does not lay the first run over: %v", err)
	}
}

func TestBaselineOfAnotherRelayIsFound(t *testing.T) {
	out := filepath.Join(t.TempDir(), "runs")
	gossip := smallSpec()
	gossip.Net.Relay = "gossip"
	cfg := MeasureConfig{Experiment: gossip, Out: out, engine: scriptedEngine(nil)}
	spec := smallSpec()
	spec.Resolve()
	spec.Net.Relay = "compact"
	if r, err := baselineOf(cfg, spec); r != nil || err != nil {
		t.Errorf("baseline %v, %v before gossip was measured", r, err)
	}
	for range 2 {
		if _, err := Measure(t.Context(), cfg, &bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := baselineOf(cfg, spec)
	if err != nil || r == nil || r.Experiment.Net.Relay != "gossip" || r.Experiment.Net.Nodes != 4 {
		t.Errorf("baseline %+v, %v, want the gossip run", r, err)
	}
	if want := filepath.Join(out, "default-"+r.Digest+"-2"); report.Latest(out, r.Experiment) != want {
		t.Errorf("Latest = %s, want %s", report.Latest(out, r.Experiment), want)
	}
	spec.Net.Relay = "gossip"
	if r, err := baselineOf(cfg, spec); r != nil || err != nil {
		t.Errorf("gossip has the baseline %v, %v", r, err)
	}
}

func TestBaselineMustBeARun(t *testing.T) {
	cfg := MeasureConfig{Experiment: smallSpec(), Out: t.TempDir(), Baseline: t.TempDir()}
	cfg.engine = scriptedEngine(func(*observation) { t.Error("the run began") })
	if _, err := Measure(t.Context(), cfg, &bytes.Buffer{}); !errors.Is(err, experiment.ErrInvalid) {
		t.Errorf("a baseline that is no run: %v", err)
	}
}
