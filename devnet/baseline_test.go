package devnet

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
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
	here := environment(cfg)
	if r, _, err := baselineOf(cfg, spec, here); r != nil || err != nil {
		t.Errorf("baseline %v, %v before gossip was measured", r, err)
	}
	for range 2 {
		if _, err := Measure(t.Context(), cfg, &bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
	}
	r, _, err := baselineOf(cfg, spec, here)
	if err != nil || r == nil || r.Experiment.Net.Relay != "gossip" || r.Experiment.Net.Nodes != 4 {
		t.Errorf("baseline %+v, %v, want the gossip run", r, err)
	}
	if want := filepath.Join(out, "default-"+r.Digest+"-2"); r.Folder != want {
		t.Errorf("the baseline is %s, want %s", r.Folder, want)
	}
	spec.Net.Relay = "gossip"
	if r, _, err := baselineOf(cfg, spec, here); r != nil || err != nil {
		t.Errorf("gossip has the baseline %v, %v", r, err)
	}
}

// What another program has made, in real time another machine, or what cannot be read does not stand beside a
// run unless it is named, and then the reader is told.
func TestBaselineOfAnotherProgram(t *testing.T) {
	for _, tt := range []struct {
		name, engine string
		bend         func(*report.Environment)
		said         string // of the run that is named; "": it is found by itself
	}{
		{"the same", "process", func(*report.Environment) {}, ""},
		{"version", "virtual", func(e *report.Environment) { e.Version = "2" }, "they were made by version 1, this is 2"},
		{"revision", "process", func(e *report.Environment) { e.Revision = "def" }, "they were made by revision abc, this is def"},
		{"processor", "process", func(e *report.Environment) { e.CPU, e.Cores = "abacus", 3 }, "this is abacus, 3 cores"},
		{"processor in virtual time", "virtual", func(e *report.Environment) { e.CPU = "abacus" }, ""},
	} {
		gossip := smallSpec()
		gossip.Engine, gossip.Net.Relay, gossip.Seeds = tt.engine, "gossip", []int64{1}
		cfg := MeasureConfig{Experiment: gossip, Out: t.TempDir(), Version: "1", Revision: "abc", engine: scriptedEngine(nil)}
		made, err := Measure(t.Context(), cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		here := environment(cfg)
		tt.bend(&here)
		spec := made.Experiment
		spec.Net.Relay = "coded"
		if r, notes, err := baselineOf(cfg, spec, here); err != nil || (r != nil) != (tt.said == "") || len(notes) > 0 {
			t.Errorf("%s: found %v, %q, %v", tt.name, r != nil, notes, err)
		}
		named := cfg
		named.Baseline = made.Folder
		r, notes, err := baselineOf(named, spec, here)
		if err != nil || r == nil || (len(notes) > 0) != (tt.said != "") || !strings.Contains(strings.Join(notes, " "), tt.said) {
			t.Errorf("%s: named %v, %q, %v, want %q", tt.name, r != nil, notes, err, tt.said)
		}
		if err := os.Mkdir(made.Folder+"-2", 0o755); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "{"} { // a run that broke off as it was written
			if text != "" {
				if err := os.WriteFile(filepath.Join(made.Folder+"-2", report.ResultsFile), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if r, _, err := baselineOf(cfg, spec, here); err != nil || (r != nil) != (tt.said == "") {
				t.Errorf("%s: before a broken run %v, %v", tt.name, r != nil, err)
			}
		}
	}
}

// In virtual time plain gossip is run first and stands beside; it is run once, and what it lacks does not
// keep the other relay from being measured.
func TestTwin(t *testing.T) {
	var ran []string
	fails := error(nil)
	spec := smallSpec()
	spec.Engine, spec.Net.Relay, spec.Seeds = "virtual", "coded", []int64{1}
	spec.Expect = map[string]experiment.Expectation{"block.p50_ms": "< 0"}
	cfg := MeasureConfig{Experiment: spec, Out: filepath.Join(t.TempDir(), "runs"), Twin: true}
	cfg.engine = func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (*observation, error) {
		ran = append(ran, s.Net.Relay)
		if s.Net.Relay == "gossip" && fails != nil {
			return nil, fails
		}
		return scriptedEngine(nil)(ctx, s, seed, p)
	}
	measure := func() (*report.Results, string) {
		ran = nil
		var table bytes.Buffer
		cfg.Table = &table
		r, err := Measure(t.Context(), cfg, &bytes.Buffer{})
		var missed *MissedError
		if !errors.As(err, &missed) {
			t.Fatal(err)
		}
		return r, table.String()
	}
	r, table := measure()
	if !slices.Equal(ran, []string{"gossip", "coded"}) || len(r.Overlays) != 1 || !strings.Contains(table, "95 % interval           gossip\n") {
		t.Errorf("ran %q, %d overlays, table:\n%s", ran, len(r.Overlays), table)
	}
	if got, err := report.ReadResults(filepath.Join(cfg.Out, report.LatestLink)); err != nil || got.Experiment.Net.Relay != "coded" {
		t.Errorf("latest is %v, %v", got, err)
	}
	if r, _ = measure(); !slices.Equal(ran, []string{"coded"}) || len(r.Overlays) != 1 {
		t.Errorf("the second time it ran %q, %d overlays", ran, len(r.Overlays))
	}
	cfg.Out, fails = filepath.Join(t.TempDir(), "runs"), &UnfitError{}
	if r, table = measure(); len(r.Overlays) != 0 || !strings.Contains(table, "Plain gossip has no figures beside it") {
		t.Errorf("%d overlays beside an unfit run, table:\n%s", len(r.Overlays), table)
	}
	cfg.Experiment.Net.Nodes, cfg.Experiment.Load.Blocks = 50, 2000
	if _, table = measure(); len(ran) != 1 || !strings.Contains(table, "--relay gossip makes it") {
		t.Errorf("ran %q beside a long run, table:\n%s", ran, table)
	}
	for _, other := range []func(*experiment.Spec){
		func(s *experiment.Spec) { s.Net.Relay = "gossip" }, func(s *experiment.Spec) { s.Engine = "process" },
		func(s *experiment.Spec) { s.Load.Work = experiment.WorkTxs }, func(s *experiment.Spec) { s.Net.Mixed.Share = 0.5 },
	} {
		s := spec
		if other(&s); hasTwin(s) {
			t.Errorf("%+v has a twin", s.Net)
		}
	}
}

// Where prices are measured, plain gossip pays the same ones.
func TestTwinPaysTheSame(t *testing.T) {
	var cpus []experiment.CPU
	spec := smallSpec()
	spec.Engine, spec.Net.Relay, spec.Seeds, spec.CPU.Mode = "virtual", "coded", []int64{1}, experiment.CPUMeasure
	cfg := MeasureConfig{Experiment: spec, Out: t.TempDir(), Twin: true}
	cfg.engine = func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (*observation, error) {
		cpus = append(cpus, s.CPU)
		return scriptedEngine(nil)(ctx, s, seed, p)
	}
	r, err := Measure(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(cpus) != 2 || cpus[0] != cpus[1] || cpus[0].HashUS == 0 || len(r.Overlays) != 1 {
		t.Errorf("the runs pay %+v, want two times the same; %d overlays", cpus, len(r.Overlays))
	}
}

func TestBaselineMustBeARun(t *testing.T) {
	cfg := MeasureConfig{Experiment: smallSpec(), Out: t.TempDir(), Baseline: t.TempDir()}
	cfg.engine = scriptedEngine(func(*observation) { t.Error("the run began") })
	if _, err := Measure(t.Context(), cfg, &bytes.Buffer{}); !errors.Is(err, experiment.ErrInvalid) {
		t.Errorf("a baseline that is no run: %v", err)
	}
}
