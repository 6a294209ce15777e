package devnet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pheme-net/pheme/devnet/experiment"
	"github.com/pheme-net/pheme/devnet/recorder"
	"github.com/pheme-net/pheme/devnet/report"
	"github.com/pheme-net/pheme/p2p/trace"
)

const second = int64(time.Second)

// scripted is what four nodes would have seen of six blocks, one a second, and one transaction;
// the first block is warm-up.
func scripted() *observation {
	seen := &observation{
		input:  recorder.Input{Window: recorder.Span{From: second, To: 6 * second}, Horizon: 10 * time.Second, Slot: time.Second},
		warmup: recorder.Span{From: 0, To: second}, wall: 9 * time.Second, host: report.Host{Busy: .3, Wait: .1},
	}
	for i := range 4 {
		seen.input.Nodes = append(seen.input.Nodes, recorder.Node{Name: fmt.Sprintf("n%d", i), Tag: uint64(i + 1)})
		seen.processes = append(seen.processes, report.Process{Name: fmt.Sprintf("n%d", i), CPU: 1, MaxRSS: 50 << 20})
	}
	emit := func(node int, at int64, k trace.Kind, e trace.Event) {
		e.At, e.Kind = at, k
		seen.input.Nodes[node].Events = append(seen.input.Nodes[node].Events, e)
	}
	for k := range 6 {
		id, at, origin := [32]byte{1, byte(k)}, int64(k)*second+second/10, k%4
		emit(origin, at, trace.BlockSealed, trace.Event{Hash: id, Size: 131_000, Aux: int64(k + 1)})
		for to := range 4 {
			if to != origin {
				at := at + int64(to+k+1)*1e6
				e := trace.Event{Hash: id, Peer: uint64(origin + 1), Size: 131_000}
				emit(to, at, trace.BlockReceived, e)
				emit(to, at+1000, trace.BlockAccepted, e)
				emit(to, at+2000, trace.BlockImported, e)
			}
		}
	}
	tx := trace.Event{Hash: [32]byte{2}, Size: 16_000}
	emit(0, 2*second, trace.TxSubmitted, tx)
	for to := 1; to < 4; to++ {
		emit(to, 2*second+int64(to)*1e6, trace.TxAdmitted, trace.Event{Hash: tx.Hash, Size: tx.Size, Peer: 1})
	}
	return seen
}

func smallSpec() experiment.Spec {
	return experiment.Spec{Net: experiment.Net{Nodes: 4}, Load: experiment.Load{Blocks: 5, Warmup: 1}}
}

// scriptedEngine returns the scripted run, bent.
func scriptedEngine(bend func(*observation)) engine {
	return func(context.Context, experiment.Spec, int64, *progress) (*observation, error) {
		seen := scripted()
		if bend != nil {
			bend(seen)
		}
		return seen, nil
	}
}

func TestMeasureWritesTheRun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "runs")
	var said, table bytes.Buffer
	cfg := MeasureConfig{Experiment: smallSpec(), Out: out, Command: "pheme devnet measure --nodes 4", Version: "0.1.0", Table: &table}
	before := ""
	cfg.engine = func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (*observation, error) {
		before = said.String()
		return scriptedEngine(nil)(ctx, s, seed, p)
	}
	r, err := Measure(t.Context(), cfg, &said)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"4 nodes over tcp", "1 warm-up and 5 counted blocks of 128KiB", "links unshaped", "takes about"} {
		if !strings.Contains(before, want) {
			t.Errorf("the plan %q, printed before anything starts, lacks %q", before, want)
		}
	}
	if strings.ContainsAny(said.String()+table.String(), "\x1b\r") {
		t.Errorf("escape codes in a pipe: %q", said.String())
	}
	// Blocks 1 to 5 reach their three nodes 1 + to + k ms after sealing, and 1 us more: 15 deliveries.
	if f := r.Summary["block.coverage"]; f.Value != 1 || f.N != 15 {
		t.Errorf("block.coverage = %+v, want 1 of 15", f)
	}
	if got := r.Summary["tx.p50_ms"].Value; got != 2 {
		t.Errorf("tx.p50_ms = %v, want 2", got)
	}
	if got := r.Summary["run.warmup_blocks"].Value; got != 1 {
		t.Errorf("run.warmup_blocks = %v, want 1", got)
	}
	page := filepath.Join(out, "default-"+r.Digest, report.PageFile)
	if text := table.String(); !strings.Contains(text, "report  "+page) || !strings.Contains(text, "devnet measure --block-size 1MiB\n") {
		t.Errorf("the table does not end with the report and what to do next:\n%s", text)
	}
	text, err := os.ReadFile(filepath.Join(out, report.LatestLink, report.ResultsFile))
	if err != nil {
		t.Fatal(err)
	}
	var back report.Results
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if back.Experiment.Chain.BlockSize != 128<<10 || back.Experiment.Net.Degree != 3 || back.Summary["block.p50_ms"] != r.Summary["block.p50_ms"] {
		t.Errorf("results.json reads back %+v: want the resolved experiment and the same figures", back.Experiment)
	}
}

func TestMeasureRefusesWhatIsNotFit(t *testing.T) {
	drop := func(k trace.Kind, seen *observation) {
		events := &seen.input.Nodes[3].Events
		kept := (*events)[:0]
		for _, e := range *events {
			if e.Kind != k {
				kept = append(kept, e)
			}
		}
		*events = kept
	}
	tests := []struct {
		name   string
		bend   func(*observation)
		strict bool
		want   string
	}{
		{"a lost event", func(s *observation) { s.input.Nodes[2].Lost = 7 }, false, "7 trace events were lost"},
		{"a killed node", func(s *observation) { s.open = []string{"n2"} }, false, "the recording of n2 has no end"},
		{"accepted before received", func(s *observation) { drop(trace.BlockReceived, s) }, false, "n3 accepted block"},
		{"a block not delivered", func(s *observation) { drop(trace.BlockAccepted, s) }, false, "block coverage is 0.7333, its floor 1"},
		{"a transaction not delivered", func(s *observation) {
			drop(trace.TxAdmitted, s)
			s.refused, s.why = 1, errors.New("txpool is full")
		}, false, "transaction coverage is 0.6667, its floor 1 (1 transactions were refused, the first: txpool is full)"},
		{"no block", func(s *observation) { s.input.Window = recorder.Span{From: 20 * second, To: 30 * second} }, false, "no block was sealed"},
		{"a saturated host, strictly", func(s *observation) { s.host = report.Host{Busy: .97, Wait: .4} }, true, "CPU-bound"},
	}
	for _, tt := range tests {
		out := filepath.Join(t.TempDir(), "runs")
		spec := smallSpec()
		spec.Report.Strict = tt.strict
		_, err := Measure(t.Context(), MeasureConfig{Experiment: spec, Out: out, engine: scriptedEngine(tt.bend)}, nil)
		var unfit *UnfitError
		if !errors.As(err, &unfit) || unfit.ExitCode() != 5 || !strings.Contains(err.Error(), tt.want) || unfit.Change == "" {
			t.Errorf("%s: %v, want exit code 5 and %q with what to change", tt.name, err, tt.want)
		}
		if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a run that is not fit to report left a report", tt.name)
		}
	}
}

func TestMeasureRefusesAnExperimentByItsKey(t *testing.T) {
	_, err := Measure(t.Context(), MeasureConfig{Experiment: experiment.Spec{Net: experiment.Net{Nodes: 1}}}, nil)
	if !errors.Is(err, experiment.ErrInvalid) || !strings.Contains(err.Error(), "net.nodes = 1") {
		t.Errorf("Measure() = %v", err)
	}
}

func TestNotesSayWhatMustBeKnown(t *testing.T) {
	tests := []struct {
		name string
		bend func(*observation)
		want string
	}{
		{"saturated", func(s *observation) { s.host = report.Host{Busy: .3, Wait: .6, Waited: 4} }, "CPU-bound: while blocks counted, 30 % of all cores were busy and the nodes waited for a core 60 %"},
		{"missed slots", func(s *observation) { s.input.Window.From += 2 * second }, "2 of 5 counted slots have no block"},
		{"late load", func(s *observation) { s.late = 700 * time.Millisecond }, "fell behind its schedule by up to 700ms"},
		{"killed nodes", func(s *observation) { s.cut = 2 }, "2 recordings end in a kill: what these nodes did in up to 2s before it is missing"},
		{"small blocks", func(s *observation) {
			for n := range s.input.Nodes {
				for i := range s.input.Nodes[n].Events {
					s.input.Nodes[n].Events[i].Size /= 2
				}
			}
		}, "Blocks are 50 % full"},
	}
	for _, tt := range tests {
		r, err := Measure(t.Context(), MeasureConfig{Experiment: smallSpec(), Out: t.TempDir(), engine: scriptedEngine(tt.bend)}, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, tt.want) {
			t.Errorf("%s: notes %q lack %q", tt.name, notes, tt.want)
		}
	}
	r, err := Measure(t.Context(), MeasureConfig{Experiment: smallSpec(), Out: t.TempDir(), engine: scriptedEngine(nil)}, nil)
	if err != nil || len(r.Notes) != 0 {
		t.Errorf("an ordinary run has the notes %q, %v", r.Notes, err)
	}
}

func TestSeveralSeedsAreSeveralRuns(t *testing.T) {
	spec := smallSpec()
	spec.Seeds = []int64{1, 2, 3}
	var seeds []int64
	cfg := MeasureConfig{Experiment: spec, Out: t.TempDir()}
	cfg.engine = func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (*observation, error) {
		seeds = append(seeds, seed)
		return scriptedEngine(nil)(ctx, s, seed, p)
	}
	r, err := Measure(t.Context(), cfg, nil)
	if err != nil || len(r.Runs) != 3 || len(seeds) != 3 || r.Summary["block.coverage"].N != 45 {
		t.Fatalf("%d runs of seeds %v, n = %d, %v", len(r.Runs), seeds, r.Summary["block.coverage"].N, err)
	}
}

// What is not as expected is reported all the same, and said with exit code 3.
func TestExpectationMissed(t *testing.T) {
	spec := smallSpec()
	spec.Expect = map[string]experiment.Expectation{"block.coverage": ">= 1", "tx.p50_ms": "< 2"}
	var table bytes.Buffer
	r, err := Measure(t.Context(), MeasureConfig{Experiment: spec, Out: t.TempDir(), Table: &table, engine: scriptedEngine(nil)}, nil)
	var missed *MissedError
	if !errors.As(err, &missed) || missed.ExitCode() != 3 || !strings.Contains(err.Error(), "missed  tx.p50_ms < 2: 2") || strings.Contains(err.Error(), "coverage") {
		t.Errorf("Measure() = %v, want exit code 3 and the one expectation missed", err)
	}
	if r == nil || len(r.Expected) != 2 || !strings.Contains(table.String(), "expected        met     block.coverage >= 1: 1\n                missed  tx.p50_ms < 2: 2") {
		t.Errorf("the table does not show both:\n%s", table.String())
	}
	spec.Expect = map[string]experiment.Expectation{"block.c98_ms": "< 2"}
	if _, err := Measure(t.Context(), MeasureConfig{Experiment: spec, Out: t.TempDir(), engine: scriptedEngine(nil)}, nil); !errors.Is(err, experiment.ErrInvalid) || !strings.Contains(err.Error(), `"block.c98_ms" is no figure`) {
		t.Errorf("an unknown figure: %v, want it refused before the run", err)
	}
}

// Seeds are added until the interval is tight, or no more are allowed.
func TestUntilCI(t *testing.T) {
	spec := smallSpec()
	spec.Seeds = []int64{4, 2}
	var table bytes.Buffer
	run := func(share float64, most int) (seeds []int64, notes string) {
		table.Reset()
		spec.Report = experiment.Report{UntilCI: share, UntilFigure: "block.p50_ms", UntilSeeds: most}
		cfg := MeasureConfig{Experiment: spec, Out: t.TempDir(), Table: &table}
		cfg.engine = func(ctx context.Context, s experiment.Spec, seed int64, p *progress) (*observation, error) {
			seeds = append(seeds, seed)
			return scriptedEngine(nil)(ctx, s, seed, p)
		}
		r, err := Measure(t.Context(), cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		return seeds, strings.Join(r.Notes, "\n")
	}
	if seeds, notes := run(.9, 9); len(seeds) != 2 || !strings.Contains(notes, "2 seeds until the interval of block.p50_ms was within 90 % of it") {
		t.Errorf("a wide interval took the seeds %v: %s", seeds, notes)
	}
	if seeds, notes := run(.0001, 4); len(seeds) != 4 || seeds[2] != 5 || seeds[3] != 6 || !strings.Contains(notes, "After 4 seeds the interval of block.p50_ms is still") {
		t.Errorf("an impossible interval took the seeds %v: %s", seeds, notes)
	}
	page, err := os.ReadFile(regexp.MustCompile(`report  (.*)`).FindStringSubmatch(table.String())[1])
	if err != nil || !bytes.Contains(page, []byte(">4 seeds<")) || !strings.Contains(table.String(), "process engine, 4 seeds, links") {
		t.Errorf("the page, %v, or the table does not say that 4 seeds were run:\n%s", err, table.String())
	}
}

func TestUpRefuses(t *testing.T) {
	for _, cfg := range []UpConfig{{Nodes: -1}, {Nodes: 65}, {Slot: time.Millisecond}, {Port: 65_535}} {
		var usage *UsageError
		if err := Up(t.Context(), cfg, &bytes.Buffer{}); !errors.As(err, &usage) || usage.ExitCode() != 2 {
			t.Errorf("Up(%+v) = %v, want a complaint with exit code 2", cfg, err)
		}
	}
}
